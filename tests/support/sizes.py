"""Sizings without a machine: capacity series made from a law, with the noise that blocks have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.record.model import Validity, Verdict
from harness.record.size_model import CapacityBlock, CapacityPoint, CapacitySeries, Layout
from harness.sizing.answer import Bench, instances_of
from harness.sizing.curves import curve_of
from harness.sizing.usl import Usl

LAW = Usl(0.02, 0.0005, 1000.0)
VALID = Validity(Verdict.VALID)


def series_of(
    rate: Callable[[int], float],
    cores: Sequence[int] = (1, 2, 4, 8),
    *,
    blocks: int = 6,
    noise: float = 0.03,
    seed: int = 1,
    threads_per_core: int = 1,
    layout: Layout = "per-core",
    service_s: float | None = 0.0009,
    physical_cores: Callable[[int], float] | None = None,
) -> CapacitySeries:
    """A series whose every block is ``rate`` of its cores, times a lognormal factor of ``noise``."""
    generator = np.random.default_rng(seed)
    points = []
    for count in cores:
        measured = []
        for block in range(blocks):
            capacity = rate(count) * float(np.exp(generator.normal(0, noise)))
            # p99 rises along the trials from a fifth of the bound to twice it
            trials = tuple((share * capacity, 0.005 * share**4) for share in (0.5, 0.8, 0.95, 1.0, 1.05, 1.2))
            used = None if physical_cores is None else physical_cores(count)
            measured.append(CapacityBlock(block, capacity, service_s, trials=trials, physical_cores=used))
        points.append(CapacityPoint(count, instances_of(layout, count, threads_per_core), tuple(measured), VALID))
    return CapacitySeries(threads_per_core, layout, 0, "native", "float32", tuple(points))


def bench_of(
    *series: CapacitySeries, node_cores: int = 12, p99_s: float | None = 0.005, entitled: float | None = None
) -> Bench:
    """What questions are answered from."""
    return Bench(tuple(curve_of(each, entitled=entitled) for each in series), node_cores, p99_s)
