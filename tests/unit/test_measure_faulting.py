"""Page faults of calls: counted where they happen, and said where they take time."""

from __future__ import annotations

import pytest

from harness.measure.causes import Watch
from harness.measure.clock import FakeClock
from harness.measure.faulting import faulting
from harness.measure.sampling import Limits, collect, collect_each
from harness.measure.steady import steady_state
from harness.platform.counters import CounterReading
from harness.scenarios.series import as_series, joined

WHY = "because memory that it frees goes back to the kernel"


class Quiet:
    def read(self) -> CounterReading:
        return CounterReading(involuntary_switches=0, cpu=3, major_faults=0)


@pytest.mark.parametrize("each", [False, True])
def test_faults_are_counted_per_call_over_all_samples(each: bool) -> None:
    clock, faults = FakeClock(), [1000]

    def call() -> None:
        faults[0] += 3
        clock.advance(2_000_000)

    def taken(watch: Watch) -> object:
        limits = Limits(samples=40)
        if each:
            return collect_each(call, clock=clock, counters=Quiet(), limits=limits, watch=watch)
        return collect(call, clock=clock, counters=Quiet(), inner=5, limits=limits, watch=watch)

    watch = Watch(page_faults=lambda: faults[0])
    both = joined(taken(watch), taken(watch))
    assert as_series("call", both, steady_state(both.durations_ns), 64).page_faults == 3.0
    unknown = taken(Watch())
    assert unknown.page_faults is None
    assert joined(both, unknown).page_faults is None


def test_what_takes_a_noteworthy_part_of_a_call_is_said() -> None:
    usual, slow = 0.43e-3, 0.55e-3
    assert faulting([0.1, 2.0, 0.0], [usual] * 3) is None
    assert faulting([None, None], [usual, usual]) is None
    assert faulting([112.0], [slow]) == f"each call faulted 112 pages, {WHY}."
    assert faulting([0.1, 112.0, None, 114.0, 0.0], [usual, slow, usual, slow, None]) == (
        f"in 2 of 4 processes each call faulted 113 pages, {WHY}; in the others it stays, so that these times are of "
        "two kinds."
    )
    assert faulting([112.0, 112.0], [slow, slow]) == f"in 2 of 2 processes each call faulted 112 pages, {WHY}."
    assert faulting([112.0, 112.0], [1.0, 1.0]) is None, "28 microseconds of a second"
