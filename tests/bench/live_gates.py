"""Whole gates on this machine as it is now: ``python tests/bench/live_gates.py [A/A gates] [gates with +10 %]``.

A real computation in fresh pinned processes, both sides in the same blocks; the slower side spins for a tenth of the
time its computation took, in every call.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from harness.compare.observations import Key, Side, observe_processes
from harness.errors import ExitCode, MeasurementError
from harness.gates.baseline import make_baseline
from harness.gates.gate import BaselineSource, Pair, gate
from harness.gates.live import measure_enough
from harness.gates.policy import Policy
from harness.record.model import ProcessRecord
from harness.record.series import Series

KEY = Key("matrix product", "function", "numpy", "float32", 64)
FINGERPRINT = {"arch": "this", "cpu": "this"}
MARGIN = 0.03
MAX_BLOCKS = 30


def worker(slowdown: float, cpu: int) -> None:
    """Time 64 x 128 x 512 matrix products and print the series."""
    os.sched_setaffinity(0, {cpu})
    import numpy as np

    from harness.measure.causes import Watch
    from harness.measure.clock import SystemClock, clock_cost_ns
    from harness.platform.counters import ThreadCounters, steal_ns
    from harness.platform.sysroot import SysRoot
    from harness.scenarios.series import Bench, batch_series

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((64, 512), np.float32), rng.standard_normal((512, 128), np.float32)
    now = time.perf_counter_ns
    # The undisturbed cost of the product, so that the slowdown is of the code and not of the noise.
    cost = sorted(_timed(partial(np.matmul, a, b), now) for _ in range(300))[100]
    extra = int(cost * slowdown)

    def call() -> None:
        np.matmul(a, b)
        if extra:
            end = now() + extra
            while now() < end:
                pass

    read = partial(steal_ns, SysRoot("/"), (cpu,))
    clock = SystemClock()
    bench = Bench(clock, clock_cost_ns(clock), ThreadCounters(), Watch(steal_ns=read), 0.25)
    began, stolen = now(), read()
    series = batch_series("call", call, 64, bench)
    share = None if stolen is None else ((read() or stolen) - stolen) / (now() - began)
    print(json.dumps({"series": asdict(series), "steal_share": share}))


def _timed(call: Callable[[], object], now: Callable[[], int]) -> int:
    began = now()
    call()
    return now() - began


def process(slowdown: float, index: int) -> ProcessRecord:
    """One fresh process."""
    cpu = max(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--worker", str(slowdown), str(cpu)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    values = json.loads(done.stdout)
    series = values["series"]
    return ProcessRecord(
        index, 0, 0, steal_share=values["steal_share"],
        series=(Series(**{**series, "durations_ns": tuple(series["durations_ns"]), "flags": tuple(series["flags"])}),),
    )  # fmt: skip


def measured(slowdown: float) -> Pair:
    """Both sides in shuffled blocks until precise enough."""
    blocks: dict[float, list[ProcessRecord]] = {0.0: [], 1.0: []}

    def add(count: int) -> Pair:
        for index in range(len(blocks[0.0]), len(blocks[0.0]) + count):
            for side in random.sample((0.0, 1.0), 2):
                blocks[side].append(process(slowdown * side, index))
        return side_of("baseline", blocks[0.0]), side_of("candidate", blocks[1.0])

    return measure_enough(add, {KEY: MARGIN}, max_blocks=MAX_BLOCKS)


def side_of(name: str, blocks: list[ProcessRecord]) -> Side:
    """The processes of one side so far."""
    observation = observe_processes(KEY, blocks, lambda _: True, conditions={})
    return Side(name, "", FINGERPRINT, {KEY: observation})


def live_gate(slowdown: float) -> tuple[ExitCode, str]:
    """The verdict of one live gate, and why."""
    pair = measured(slowdown)
    try:
        baseline = make_baseline(pair[0])
    except MeasurementError as error:
        return ExitCode.INCONCLUSIVE, str(error)
    report = gate(
        baseline, pair, Policy(), source=BaselineSource.CONCURRENT, measure_again=lambda _: measured(slowdown)
    )
    return report.exit_code, report.results[0].why


def main(same: int, slower: int) -> int:
    """Print every gate and the counts; 1 when unchanged code was failed or slower code was passed."""
    wrong = 0
    for slowdown, gates in ((0.0, same), (0.1, slower)):
        codes = []
        for number in range(gates):
            began = time.perf_counter()
            code, why = live_gate(slowdown)
            codes.append(code)
            load = os.getloadavg()[0]
            seconds = time.perf_counter() - began
            print(
                f"{slowdown:+.0%} gate {number + 1}: {code.name} ({seconds:.0f} s, load {load:.1f}) {why}", flush=True
            )
        counts = {code.name: codes.count(code) for code in ExitCode if code in codes}
        print(f"{slowdown:+.0%}: {gates} gates, {counts}", flush=True)
        wrong += codes.count(ExitCode.GOOD if slowdown else ExitCode.REGRESSION)
    return int(wrong > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(float(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, int(sys.argv[2]) if len(sys.argv) > 2 else 20))
