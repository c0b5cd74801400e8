"""Measured ceilings of a set of CPUs: arithmetic in registers, memory bandwidth and latency per node; and kernel rates.

Every probe runs on threads of its own, one pinned to each CPU, so that the caller's affinity and memory policy stay as
they are. A ceiling is the best of many repetitions, because everything that disturbs a probe only lowers it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.native import Dtype, Isa

# Takes the memory of the calling thread from one node from now on; returns None, or why that is refused.
BindMemory = Callable[[int], "str | None"]

T = TypeVar("T")
_CLOCK_SHARE = 0.2  # of the time of the peak
_STREAMS = 3  # arrays of the triad
_PATIENCE = 120.0  # seconds that threads wait for each other before one of them must have failed


@dataclass(frozen=True)
class ComputeRoof:
    """Operations per second, an addition and a multiplication counting one each, of all CPUs at the same time.

    ``clock_hz``: mean of the CPUs' clocks under these instructions; None where it is not measured (Power).
    ``rounds``: rate of each round, of which ``ops_per_s`` is the highest.
    """

    dtype: Dtype
    ops_per_s: float
    isa: str
    kernel: str
    cpus: tuple[int, ...]
    clock_hz: float | None = None
    rounds: tuple[float, ...] = ()


@dataclass(frozen=True)
class MemoryRoof:
    """What the CPUs of one node reach in the memory of another; None: wherever the process's memory policy places it.

    ``triad_bytes_per_s``: a[i] = b[i] + s c[i], reads and writes counted once each, without write allocation.
    ``latency_s``: one dependent load by one CPU.
    Each is the best of its rounds.
    """

    cpu_node: int | None
    memory_node: int | None
    triad_bytes_per_s: float
    read_bytes_per_s: float
    latency_s: float
    refused: str | None  # why memory could not be bound, in which case the kernel placed it
    triad_rounds: tuple[float, ...] = ()
    read_rounds: tuple[float, ...] = ()
    latency_rounds: tuple[float, ...] = ()

    @property
    def best_bytes_per_s(self) -> float:
        """The roof for a kernel of any mixture of reads and writes."""
        return max(self.triad_bytes_per_s, self.read_bytes_per_s)


def compute_roof(
    cpus: Sequence[int], dtype: Dtype = "float32", *, isa: str | None = None, seconds: float = 0.2, rounds: int = 1
) -> ComputeRoof | None:
    """The peak of a loop of independent multiply-adds on registers, on every CPU at once; None without such a loop.

    Args:
        cpus: at work at the same time.
        dtype: number format.
        isa: instruction set; None: the best here.
        seconds: of all rounds together.
        rounds: as many rates, of which the highest is the peak.

    Raises:
        InputError: the native kernels are not built, the instruction set is not here, or a CPU is not allowed.
    """
    selected = native.select(isa)
    kernel = selected.kernel(dtype)
    if kernel is None:
        return None
    assert native.extension is not None
    extension, number = native.extension, native.extension.DTYPES[dtype]

    def probe(_cpu: int) -> tuple[list[float], float]:
        rates = [extension.peak_ops(selected.index, number, seconds / rounds) for _ in range(rounds)]
        return rates, extension.clock_hz(selected.index, number, _CLOCK_SHARE * seconds)

    rates, clocks = zip(*on_each(cpus, probe), strict=True)
    clock_hz = sum(clocks) / len(clocks) if all(clocks) else None
    totals = tuple(map(sum, zip(*rates, strict=True)))
    best = max(totals)
    return ComputeRoof(dtype, best, selected.name, kernel, tuple(cpus), clock_hz, totals) if best > 0.0 else None


def memory_roof(
    cpus: Sequence[int],
    *,
    cpu_node: int | None,
    memory_node: int | None,
    bind: BindMemory,
    cache_bytes: int,
    seconds: float = 0.3,
    rounds: int = 1,
) -> MemoryRoof:
    """Bandwidth and latency of ``cpus`` in the memory of ``memory_node``.

    Args:
        cpus: CPUs of ``cpu_node``; all take part in the bandwidth, the first alone measures the latency.
        cpu_node: their node, for the record.
        memory_node: where the arrays lie; None leaves that to the process's policy.
        bind: binds the calling thread's memory to a node.
        cache_bytes: of the last level that these CPUs have; every array is four times as large, over all CPUs.
        seconds: for each of the three probes, all rounds together.
        rounds: as many rates of each, of which the best counts.
    """
    if native.extension is None:
        raise InputError(str(native.missing()))
    extension = native.extension
    count = max(1 << 16, 4 * cache_bytes // len(cpus) // 4)
    ready = threading.Barrier(len(cpus), timeout=_PATIENCE)
    refusals: list[str] = []

    def bound(_cpu: int) -> None:
        refusal = None if memory_node is None else bind(memory_node)
        if refusal is not None:
            refusals.append(refusal)

    def bandwidth(cpu: int) -> list[tuple[float, float]]:
        bound(cpu)
        a, b, c = (np.full(count, value, np.float32) for value in range(_STREAMS))  # first touch is here
        rates = []
        for _ in range(rounds):
            ready.wait()
            triad = extension.triad_bandwidth(a, b, c, seconds / rounds)
            ready.wait()
            rates.append((triad, extension.read_bandwidth(a, seconds / rounds)))
        return rates

    def latency(cpu: int) -> list[float]:
        bound(cpu)
        memory = np.zeros(max(count, cache_bytes), np.float32)
        return [extension.load_latency(memory, seconds / rounds) for _ in range(rounds)]

    of_rounds = list(zip(*on_each(cpus, bandwidth), strict=True))  # per round, a pair of rates per CPU
    triads, reads = (tuple(sum(rate[index] for rate in rates) for rates in of_rounds) for index in range(2))
    waits = tuple(on_each(cpus[:1], latency)[0])
    refused = refusals[0] if refusals else None
    return MemoryRoof(
        cpu_node, memory_node, max(triads), max(reads), min(waits), refused, triads, reads, waits
    )  # fmt: skip


def on_each(cpus: Sequence[int], work: Callable[[int], T]) -> list[T]:
    """Run ``work(cpu)`` on a new thread pinned to each CPU, all at the same time.

    Raises:
        InputError: a CPU is offline or not allowed to this process.
    """
    if not cpus:
        raise InputError("a roof needs at least one CPU")
    before = os.sched_getaffinity(0)
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
    except OSError as error:
        raise InputError(f"CPU {cpu} is offline or not allowed to this process: {error.strerror}") from error
    finally:
        os.sched_setaffinity(0, before)

    work_of = _Work(cpus, work)
    threads = [threading.Thread(target=work_of.pinned, args=(at,), daemon=True) for at in range(len(cpus))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:  # a signal: nothing is waited for, and the process may end
        work_of.stop()
        raise
    return work_of.outcomes()


def heeding_signals(work: Callable[[], T]) -> T:
    """What ``work`` gives, from a thread of its own.

    The caller's thread is then free to heed a signal at once, which it is not while a library fills or reads memory.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.result()


class _Work(Generic[T]):
    """What threads do, one pinned to each CPU, all at the same time."""

    def __init__(self, cpus: Sequence[int], work: Callable[[int], T]) -> None:
        self._cpus, self._work = cpus, work
        self._together = threading.Barrier(len(cpus), timeout=_PATIENCE)  # also keeps a thread from taking two CPUs
        self._lock = threading.Lock()
        self._running = len(cpus)
        self._done: dict[int, T] = {}
        self._errors: list[Exception] = []

    def pinned(self, at: int) -> None:
        """The work of one thread."""
        try:
            os.sched_setaffinity(0, {self._cpus[at]})  # of the calling thread alone
            self._together.wait()
            self._done[at] = self._work(self._cpus[at])
        except Exception as error:  # noqa: BLE001 - raised where the outcomes are asked for
            self._errors.append(error)
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    _stop_probes(False)

    def stop(self) -> None:
        """Have the threads end as soon as they can."""
        self._together.abort()
        with self._lock:
            if self._running:
                _stop_probes(True)

    def outcomes(self) -> list[T]:
        """Of all threads, in the order of the CPUs; raises the first error of one."""
        for error in self._errors:
            raise error
        return [self._done[at] for at in range(len(self._cpus))]


def _stop_probes(whether: bool) -> None:
    if native.extension is not None:
        native.extension.stop_probes(whether)


def best_rate(call: Callable[[], object], operations: float, seconds: float = 0.1) -> float:
    """``operations`` per second of the fastest of many calls: comparable with a roof, which is a best, too."""
    best = float("inf")
    calls = 1
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        elapsed = time.perf_counter() - start
        if elapsed < 2e-4:  # the clock's own cost must not show
            calls *= 2
            continue
        best = min(best, elapsed / calls)
        if start + elapsed > end:
            return operations / best


def mma_evidence(isa: Isa, best_ops_per_s: float, vector_roof: ComputeRoof | None) -> str:
    """What shows that products really ran on the matrix unit, from one thread's best rate and its vector roof.

    Nothing where the processor's family has none of that name (x86).
    """
    if not isa.name.startswith(("vsx", "mma")):
        return ""
    if isa.name != "mma":
        return f"Products ran on {isa.name}; this processor, in the mode the system runs it, offers no MMA."
    if vector_roof is None or best_ops_per_s <= vector_roof.ops_per_s:
        return (
            "The MMA kernels were chosen (HWCAP2 offers MMA), but no rate here exceeds what vector instructions "
            "reach, so the rates alone do not prove that the matrix unit ran."
        )
    ratio = best_ops_per_s / vector_roof.ops_per_s
    return (
        f"MMA ran: {best_ops_per_s / 1e9:.1f} GFLOP/s on one thread, {ratio:.2f} times the "
        f"{vector_roof.ops_per_s / 1e9:.1f} GFLOP/s that {vector_roof.isa} multiply-adds reach in registers."
    )
