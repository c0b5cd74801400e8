"""What the native module is given: arguments that overlap, do not fit, change under it, or ask for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.backends import backend
from harness.linalg.chain import DenseChain
from harness.linalg.interface import BACKENDS, Epilogue
from harness.linalg.trainer import DenseTrainer, epoch_together
from harness.roofline.probes import on_each

ROOT = Path(__file__).resolve().parents[2]
kernels = native.extension
ISA = next((isa.index for isa in native.isas() if isa.supported), 0)
pytestmark = pytest.mark.skipif(kernels is None, reason="the native kernels are not built")


class AlarmError(Exception):
    pass


def floats(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


OVERLAPS = {
    "left": lambda a, b: a,
    "right": lambda a, b: b,
    "its transpose": lambda a, b: a.T,
    "shifted": lambda a, b: a.base[4:-4].reshape(a.shape),
}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("where", OVERLAPS)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_an_output_that_overlaps_an_operand_gets_the_product_of_the_old_values(name, where, beta):
    n = 48
    base = floats(n * n + 8)
    a, b = base[:-8].reshape(n, n) if where != "shifted" else base[8:].reshape(n, n), floats(n, n, seed=2)
    out = OVERLAPS[where](a, b)
    wanted = a.astype(float) @ b.astype(float) + beta * out.astype(float)
    result = backend(name).matmul(a, b, out, Epilogue(beta=beta))
    assert result is out
    np.testing.assert_allclose(out, wanted, atol=1e-4)


@pytest.mark.parametrize("name", BACKENDS)
def test_an_output_that_overlaps_the_bias_or_a_part_of_a_batch(name):
    batch = floats(3, 20, 20)
    wanted = batch[1].astype(float) @ batch[2].astype(float) + batch[0, 0].astype(float)
    out = batch[0]
    backend(name).matmul(batch[1], batch[2], out, Epilogue(bias=batch[0, 0]))
    np.testing.assert_allclose(out, wanted, atol=1e-4)


@pytest.mark.parametrize("name", BACKENDS)
def test_an_output_that_overlaps_itself_or_is_read_only_is_refused(name):
    a, line = floats(4, 4), floats(4)
    folded = np.lib.stride_tricks.as_strided(line, (4, 4), (0, 4))
    frozen = floats(4, 4)
    frozen.flags.writeable = False
    for out in (folded, frozen):
        with pytest.raises(InputError, match="read-only or overlaps itself"):
            backend(name).matmul(a, a, out)


@pytest.mark.parametrize("rows", [3, 500])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_a_chain_may_write_over_its_rows(rows, dtype):
    chain = DenseChain([(floats(6, 6), floats(6), "relu", 0.0)], dtype=dtype)
    x = floats(rows, 6)
    wanted = chain.score(x.copy())
    assert chain.score(x, x) is x
    np.testing.assert_array_equal(x, wanted)


def trainer(loss: str) -> DenseTrainer:
    outputs = 1 if loss == "bce" else 4
    return DenseTrainer([(floats(outputs, 4), floats(outputs), "identity", 0.0)], loss, learning_rate=0.1)


@pytest.mark.parametrize("losses", [("bce", "mse"), ("mse", "bce")])
def test_trainers_that_disagree_about_labels_are_refused(losses):
    x, y, orders = floats(8, 4), np.ones(8, np.float32), [np.arange(8)] * 2
    trainers = [trainer(loss) for loss in losses]
    with pytest.raises(InputError, match="some take labels and some do not"):
        epoch_together(trainers, x, y, orders=orders, batch_size=4)
    own = [each._native for each in trainers]
    with pytest.raises(ValueError, match="some take labels"):
        kernels.epoch_many(own, x, y, orders, [None, None], 4, [floats(2), floats(2)], 1)


def raw_chain(*, dtype: int = 0, layers: object = None) -> object:
    return kernels.Chain(ISA, [(floats(2, 3), floats(2), 0, 0.0)] if layers is None else layers, 0, dtype, 1)


@pytest.mark.parametrize("dtype", [3, 7, -1, 2**40, -(2**62)])
def test_an_unknown_number_format_is_refused(dtype):
    with pytest.raises(ValueError, match="has no kernel"):
        raw_chain(dtype=dtype)


@pytest.mark.parametrize("layers", [3, None, "ab", {}, [3], [[]], [()], iter([])])
def test_what_is_no_list_of_layers_is_refused(layers):
    with pytest.raises((TypeError, ValueError)):
        kernels.Chain(ISA, layers, 0, 0, 1)


def test_arrays_too_small_for_a_trainer_are_refused():
    own = trainer("mse")._native
    for pair in (
        (floats(1, 1), floats(1)),
        (floats(4, 4), floats(1)),
        (floats(5, 4), floats(4)),
        (floats(4, 8)[:, ::2], floats(4)),
    ):
        with pytest.raises(ValueError, match="contiguous weight 4 x 4"):
            own.read([pair])
        with pytest.raises(ValueError, match="contiguous weight 4 x 4"):
            own.gradients(floats(2, 4), None, None, [pair])


def test_losses_that_share_memory_with_the_data_are_refused():
    x = floats(8, 4)
    with pytest.raises(ValueError, match="share memory"):
        trainer("mse")._native.epoch(x, None, np.arange(8), None, 4, x.reshape(-1)[:2])


def test_the_largest_batch_size_is_one_batch():
    losses = floats(1)
    trainer("mse")._native.epoch(floats(8, 4), None, np.arange(8), None, 2**63 - 1, losses)
    assert np.isfinite(losses).all()


def test_lists_and_orders_that_another_thread_changes_do_no_harm():
    """What is given is taken as it is at the call: lists that lose their items, row numbers that change."""
    x, rows = floats(4000, 4), 4000
    trainers = [trainer("mse")._native for _ in range(4)]
    lists: list[list] = [[], [], [], []]
    stop = threading.Event()

    def spoil() -> None:
        while not stop.is_set():
            for order in lists[1][:]:
                order[:] = 2**40
            for each in lists:
                each.clear()

    thread = threading.Thread(target=spoil)
    thread.start()
    try:
        for _ in range(150):
            fresh = [np.arange(rows) for _ in trainers]
            lists[:] = [list(trainers), fresh, [None] * 4, [np.empty(rows // 40, np.float32) for _ in trainers]]
            try:
                kernels.epoch_many(lists[0], x, None, lists[1], lists[2], 40, lists[3], 2)
            except (ValueError, IndexError):
                continue
    finally:
        stop.set()
        thread.join()


PROBES = {
    "peak_ops": lambda s: kernels.peak_ops(ISA, 0, s),
    "clock_hz": lambda s: kernels.clock_hz(ISA, 0, s),
    "triad_bandwidth": lambda s: kernels.triad_bandwidth(*(floats(1000, seed=at) for at in range(3)), s),
    "read_bandwidth": lambda s: kernels.read_bandwidth(floats(1000), s),
    "load_latency": lambda s: kernels.load_latency(floats(1000), s),
}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_refuses_to_run_for_ever_and_ends_on_a_signal(name):
    for seconds in (float("inf"), float("nan"), -1.0, 1e300):
        with pytest.raises(ValueError, match="seconds: expected 0 to 3600"):
            PROBES[name](seconds)
    assert PROBES[name](0.0) > 0

    def alarm(*_: object) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(AlarmError):
            PROBES[name](3600.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_the_probes_of_all_threads_at_once():
    def alarm(*_: object) -> None:
        raise AlarmError

    cpus = sorted(os.sched_getaffinity(0))[:2]
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(AlarmError):
            on_each(cpus, lambda _cpu: kernels.peak_ops(ISA, 0, 3600.0))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + 60
    while threading.active_count() > 1 and time.monotonic() < deadline:  # they are not waited for
        time.sleep(0.01)
    assert kernels.peak_ops(ISA, 0, 0.0) > 0  # later ones are not stopped


def test_hostile_calls_neither_crash_nor_hang():
    """1,000 calls in processes of their own; tests/bench/hostile_calls.py makes 100,000."""
    script = ROOT / "tests" / "bench" / "hostile_calls.py"
    started = time.monotonic()
    done = subprocess.run([sys.executable, script, "1000", "7"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    made, answered, refused, crashes, defects = (
        int(part.split()[0].replace(",", "")) for part in done.stdout.strip().split(", ")
    )
    assert (made, crashes, defects) == (1000, 0, 0), time.monotonic() - started
    assert answered > 150
    assert refused > 500
