"""The stop-watch that a training loop calls."""

from __future__ import annotations

from harness.measure.causes import Cause, Watch
from harness.measure.clock import FakeClock
from harness.measure.laps import Laps
from harness.measure.sampling import Limits
from harness.platform.counters import CounterReading


class Script:
    """Counters that tell of a preemption whenever asked to."""

    def __init__(self) -> None:
        self.switches = 0

    def read(self) -> CounterReading:
        return CounterReading(self.switches, 0, 0)


def test_laps_are_timed_from_the_first_call_and_flagged_by_cause() -> None:
    clock, counters = FakeClock(), Script()
    laps = Laps(clock, counters, Watch(), inner=8, limits=Limits(samples=10))
    clock.advance(5_000_000)  # set-up: not a lap
    assert laps.lap(8)
    for duration in (1_000, 2_000):
        clock.advance(duration)
        assert laps.lap(8)
    clock.advance(700)
    assert laps.lap(3)  # the short lap at the end of an epoch
    clock.advance(3_000)
    counters.switches += 1
    assert laps.lap(8)
    samples = laps.samples()
    assert samples.durations_ns.tolist() == [1_000, 2_000, 3_000]
    assert samples.flags.tolist() == [0, 0, Cause.PREEMPTED]
    assert samples.inner == 8


def test_laps_stop_at_the_budget_once_enough_were_taken() -> None:
    clock = FakeClock()
    laps = Laps(clock, Script(), Watch(), inner=1, limits=Limits(samples=100, budget_s=1.0, at_least=3))
    calls = 0
    while True:
        clock.advance(400_000_000)
        calls += 1
        if not laps.lap(1):
            break
    assert calls == 4  # the first starts the watch; 3 laps of 0.4 s exceed 1 s
    assert len(laps.samples()) == 3


def test_slow_laps_stop_before_enough_were_taken() -> None:
    clock = FakeClock()
    limits = Limits(samples=100, budget_s=1.0, at_least=50, most_s=30.0)
    laps = Laps(clock, Script(), Watch(), inner=1, limits=limits)
    while laps.lap(1):
        clock.advance(9_000_000_000)
    assert len(laps.samples()) == 4  # 36 s


def test_nothing_timed_gives_no_samples() -> None:
    laps = Laps(FakeClock(), Script(), Watch(), inner=8, limits=Limits(samples=4))
    assert len(laps.samples()) == 0
