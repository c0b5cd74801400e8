"""What the figures of a sizing must not be read without: whose rows they are, idle siblings, clocks that differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from harness.measure.validity import MAX_CLOCK_FALL
from harness.record.size_model import CapacityPoint, CapacitySeries
from harness.runs.design import Design
from harness.sweeps.result import idle_siblings
from harness.wording import percentage, plural
from harness.workers.opened import MADE


def notes_of(design: Design, series: Sequence[CapacitySeries]) -> Iterator[str]:
    """Of a sizing from its design and what was measured."""
    if design.spec.bundle is not None:
        yield f"Of the bundle {design.spec.bundle}: {MADE}."
    yield from idle_siblings(design)
    for each in series:
        yield from _clocks(each)


def _clocks(series: CapacitySeries) -> Iterator[str]:
    """Points that ran at another clock than that of the fewest cores: a law takes the difference for contention."""
    known = [(point, clock) for point in series.points if (clock := _clock(point)) is not None]
    if not known:
        return
    first, reference = known[0]
    for point, clock in known[1:]:
        if (fall := 1 - clock / reference) > MAX_CLOCK_FALL:
            yield (
                f"SMT {series.threads_per_core}, {series.layout}: at {plural(point.cores, 'core')} the clock was "
                f"{percentage(fall, 1)} lower than at {plural(first.cores, 'core')}; the law holds that for contention."
            )


def _clock(point: CapacityPoint) -> float | None:
    known = [block.frequency_ratio for block in point.blocks if block.frequency_ratio is not None]
    return median(known) if known else None
