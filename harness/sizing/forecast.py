"""What a sizing is going to measure, if every setting gives again about what it gave so far. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from statistics import median

from harness.record.model import Validity, Verdict
from harness.record.size_model import CapacityBlock, CapacityPoint, CapacitySeries, SizeQuestion
from harness.sizing.answer import Bench, instances_of
from harness.sizing.choice import Setting, next_block

_SPREAD = 0.03  # of a capacity from block to block, as in the simulated studies
_VALID = Validity(Verdict.VALID, ())

Series = tuple[CapacitySeries, ...]


def ahead(
    bench_of: Callable[[Series], Bench], series: Series, question: SizeQuestion, settings: Sequence[Setting], done: int
) -> list[Setting]:
    """The setting of each measurement that follows ``done`` blocks, by the rule that chooses them.

    Args:
        bench_of: what the rule chooses from, of measured series.
        series: measured so far.
        settings: that may be measured.
    """
    following: list[Setting] = []
    while True:
        bench = bench_of(series)
        choice = next_block(bench, question, settings, done)
        if choice.ended_by is not None:
            return following
        following += choice.settings
        series = tuple(_measured(bench, each, choice.settings, question.confidence, done) for each in series)
        done += 1


def _measured(
    bench: Bench, series: CapacitySeries, chosen: Collection[Setting], confidence: float, block: int
) -> CapacitySeries:
    """The series with a block more of the chosen settings, which lie above and below their median in turn."""
    points = {point.cores: point for point in series.points}
    for setting in chosen:
        if (setting.threads_per_core, setting.layout) != (series.threads_per_core, series.layout):
            continue
        known = points.get(setting.cores)
        if known is None:
            instances = instances_of(series.layout, setting.cores, series.threads_per_core)
            known = CapacityPoint(setting.cores, instances, (), _VALID)
        rate = _rate(bench, series, known, confidence)
        changed = 1 + _SPREAD if block % 2 else 1 - _SPREAD
        like = known.blocks[0] if known.blocks else CapacityBlock(block, None)
        more = replace(like, block=block, capacity=None if rate is None else rate * changed)
        points[setting.cores] = replace(known, blocks=(*known.blocks, more))
    return replace(series, points=tuple(points[cores] for cores in sorted(points)))


def _rate(bench: Bench, series: CapacitySeries, point: CapacityPoint, confidence: float) -> float | None:
    """What the point gave, or what its neighbours say of one that was not measured."""
    rates = [block.capacity for block in point.blocks if block.capacity is not None]
    if rates or point.blocks:
        return median(rates) if rates else None
    curve = next(each for each in bench.curves if each.series is series)
    capacity = curve.capacity(point.cores, confidence)
    return None if capacity is None else capacity.value
