"""Projections where they can be checked: from one machine to another that are both this one.

    python tests/bench/projection_figures.py [--pairs 9] [--only mlp,knn]

Every detector that scores natively is projected from the portable kernels to the best ones of this processor, at 1,
64 and 256 rows, and from one core to two; then it is measured there. Prints each with its bounds, and exits 1 if fewer
than 95 % are inside. Kernels in pairs by CPU time; cores by the time that passes, so on a quiet machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from kernel_pairs import Call, take_turns

from harness.detectors.published import NOT_NATIVE, PUBLISHED, exported
from harness.linalg import native
from harness.record.size_model import Capacity
from harness.roofline.probes import compute_roof
from harness.scoring import plan
from harness.sizing.project import OTHER_KERNELS, Resources, Span, bounds

BAR = 0.95
BATCHES = (1, 64, 256)
CORE_ROWS = 256
SECONDS = 0.4


@dataclass(frozen=True)
class Projected:
    """A rate in rows per second with its bounds from elsewhere."""

    name: str
    low: float
    high: float
    measured: float

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high

    def line(self) -> str:
        """For people."""
        mark = "ok  " if self.inside else "MISS"
        return f"{mark} {self.name:48s} [{self.low:12,.0f}, {self.high:12,.0f}] rows/s, measured {self.measured:12,.0f}"


def capacity(times: list[float], rows: int) -> Capacity:
    """From the times of calls: the median, and the whole range as limits."""
    low, high = rows / max(times), rows / min(times)
    return Capacity(rows / statistics.median(times), low, high, low, len(times), "measured")


def kernels(name: str, call: dict[str, Call], rows: int, pairs: int, peaks: dict[str, float], work: float) -> Projected:
    """From the portable kernels to the best."""
    here, there = call
    found = take_turns(call[there], call[here], pairs)
    resources = [Resources(Span(peaks[isa], peaks[isa]), Span(1, 1), Span(1, 1)) for isa in (here, there)]
    limits = bounds(capacity(list(found.theirs), rows), *resources, work or None, OTHER_KERNELS)
    title = f"{name}, {rows} rows, {here} -> {there}"
    return Projected(title, limits.low, limits.high, rows / statistics.median(found.ours))


def cores(name: str, call: Call, peak: float, work: float) -> Projected:
    """From one core to two."""
    single = [_seconds(call, (cpu,)) for cpu in sorted(os.sched_getaffinity(0))[:2] for _ in range(3)]
    both = statistics.median(_seconds(call, tuple(sorted(os.sched_getaffinity(0))[:2])) for _ in range(3))
    one, two = (Resources(Span(n * peak, n * peak), Span(1, n), Span(n, n)) for n in (1, 2))
    limits = bounds(capacity(single, CORE_ROWS), one, two, work or None)
    return Projected(f"{name}, {CORE_ROWS} rows, 1 -> 2 cores", limits.low, limits.high, CORE_ROWS / both)


def _seconds(call: Call, cpus: tuple[int, ...]) -> float:
    """Seconds per call of processes that work side by side, one on each CPU."""
    context = multiprocessing.get_context("fork")
    start, counts = context.Barrier(len(cpus)), context.Queue()

    def repeat(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        call()
        start.wait()
        began, done = time.monotonic(), 0
        while time.monotonic() - began < SECONDS:
            call()
            done += 1
        counts.put(done / (time.monotonic() - began))

    processes = [context.Process(target=repeat, args=(cpu,)) for cpu in cpus]
    for process in processes:
        process.start()
    rates = [counts.get() for _ in processes]
    for process in processes:
        process.join()
    return 1 / sum(rates)


def figures(names: list[str], pairs: int) -> Iterator[Projected]:
    """All that can be checked here."""
    here, there = "portable", native.select().name
    peaks = {isa: _peak(isa) for isa in (here, there)}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            artifacts, rows = exported(PUBLISHED[name], Path(folder), 2000)
            program = artifacts.program()
        work = 2.0 * (program.macs_per_row or 0)
        runs = {isa: plan.compiled(program, isa=isa) for isa in (here, there)}
        for count in BATCHES:
            x = np.ascontiguousarray(rows[:count].reshape(count, -1))
            yield kernels(name, {isa: partial(run, x) for isa, run in runs.items()}, count, pairs, peaks, work)
        if len(os.sched_getaffinity(0)) > 1:
            yield cores(name, partial(runs[there], x), peaks[there], work)


def _peak(isa: str) -> float:
    roof = compute_roof(sorted(os.sched_getaffinity(0))[:1], isa=isa)
    if roof is None:
        sys.exit(f"{isa} has no loop of multiply-adds here: nothing to project with.")
    return roof.ops_per_s


def main() -> int:
    """Print the table; 1 if too few are inside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", default=",".join(name for name in PUBLISHED if name not in NOT_NATIVE))
    chosen = parser.parse_args()
    made = []
    for projected in figures(chosen.only.split(","), chosen.pairs):
        made.append(projected)
        print(projected.line(), flush=True)
    inside = sum(projected.inside for projected in made)
    print(f"{inside} of {len(made)} inside their bounds; bar {BAR:.0%}")
    return 0 if inside >= BAR * len(made) else 1


if __name__ == "__main__":
    sys.exit(main())
