"""Sampling on a fake clock: every duration, count and flag has a known answer."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from harness.measure.causes import Cause, Watch
from harness.measure.clock import FakeClock, SystemClock, clock_cost_ns
from harness.measure.estimates import process_estimate
from harness.measure.overhead import measure_overhead
from harness.measure.percentiles import percentile
from harness.measure.sampling import Limits, calibrate, collect, collect_calls, collect_each
from harness.platform.counters import CounterReading

MS = 1_000_000


class Quiet:
    """Counters on which nothing ever happens."""

    def read(self) -> CounterReading:
        return CounterReading(involuntary_switches=0, cpu=3, major_faults=0)


class Timeline:
    """Counters that are a function of the fake clock's time."""

    def __init__(self, clock: FakeClock, at: Callable[[int], CounterReading]) -> None:
        self._clock, self._at = clock, at

    def read(self) -> CounterReading:
        return self._at(self._clock.now_ns())


def test_clock_cost_is_the_cost_of_one_reading() -> None:
    assert clock_cost_ns(FakeClock(read_cost_ns=130)) == 130.0


def test_fake_clock_sleeps_exactly_and_never_goes_back() -> None:
    clock = FakeClock()
    clock.sleep(0.05)
    clock.wait_until(10)
    assert clock.now_ns() == 50 * MS
    with pytest.raises(ValueError, match="monotonic"):
        clock.advance(-1)


def test_system_clock_waits_no_less_than_asked() -> None:
    clock = SystemClock()
    due = clock.now_ns() + 3 * MS
    clock.wait_until(due)
    assert clock.now_ns() >= due


@pytest.mark.parametrize(
    ("call_ns", "read_cost_ns", "inner"),
    [
        (100 * MS, 0, 1),  # long enough alone
        (MS, 0, 1),
        (MS - 1, 0, 2),
        (1000, 0, 1024),  # 1 ms rule
        (1000, 5000, 8192),  # 1000 readings of a 5 µs clock are 5 ms: doubling ends at 8192 calls
    ],
)
def test_calibration_doubles_until_a_sample_is_long_enough(call_ns: int, read_cost_ns: int, inner: int) -> None:
    clock = FakeClock(read_cost_ns=read_cost_ns)
    assert calibrate(lambda: clock.advance(call_ns), clock, read_cost_ns) == inner


def test_calibration_is_not_fooled_by_a_cold_first_call() -> None:
    clock = FakeClock()
    cold = iter([5 * MS])
    assert calibrate(lambda: clock.advance(next(cold, 10_000)), clock, 0) == 128


def test_durations_are_exact_and_cover_inner_calls() -> None:
    clock = FakeClock()
    samples = collect(
        clock.work([1, 2, 3, 10, 20, 30]), clock=clock, counters=Quiet(), inner=3, limits=Limits(samples=2)
    )
    assert samples.durations_ns.tolist() == [6, 60]
    assert samples.clean_share == 1.0
    assert samples.wall_ns == 66


def test_a_budget_ends_sampling_but_not_before_the_least_count() -> None:
    clock = FakeClock()
    limits = Limits(samples=100, budget_s=0.010)
    assert len(collect(lambda: clock.advance(3 * MS), clock=clock, counters=Quiet(), inner=1, limits=limits)) == 4
    limits = Limits(samples=100, budget_s=0.010, at_least=7)
    assert len(collect_each(lambda: clock.advance(3 * MS), clock=clock, counters=Quiet(), limits=limits)) == 7


def test_slow_calls_end_before_the_least_count() -> None:
    clock = FakeClock()
    limits = Limits(samples=100, budget_s=0.010, at_least=50, most_s=0.020)
    assert len(collect(lambda: clock.advance(6 * MS), clock=clock, counters=Quiet(), inner=1, limits=limits)) == 4
    assert len(collect_each(lambda: clock.advance(6 * MS), clock=clock, counters=Quiet(), limits=limits)) == 4


@pytest.mark.parametrize(
    ("reading", "cause"),
    [
        (CounterReading(1, 3, 0), Cause.PREEMPTED),
        (CounterReading(0, 4, 0), Cause.MIGRATED),
        (CounterReading(0, 3, 2), Cause.FAULTED),
        (CounterReading(1, 4, 2), Cause.PREEMPTED | Cause.MIGRATED | Cause.FAULTED),
    ],
)
def test_only_the_disturbed_sample_is_flagged_and_none_is_dropped(reading: CounterReading, cause: Cause) -> None:
    clock = FakeClock()
    counters = Timeline(clock, lambda now: reading if now > 5 * MS else CounterReading(0, 3, 0))
    samples = collect(lambda: clock.advance(2 * MS), clock=clock, counters=counters, inner=1, limits=Limits(5))
    assert samples.flags.tolist() == [0, 0, cause, 0, 0]
    assert len(samples) == 5


def test_calls_are_flagged_by_the_millisecond() -> None:
    clock = FakeClock()
    counters = Timeline(clock, lambda now: CounterReading(int(now > 1.2 * MS), 3, 0))
    call = lambda: clock.advance(MS // 4)  # noqa: E731
    samples = collect_each(call, clock=clock, counters=counters, limits=Limits(10))
    assert samples.flags.tolist() == [0] * 4 + [Cause.PREEMPTED] * 4 + [0] * 2


def test_steal_is_blamed_on_the_samples_of_its_chunk() -> None:
    clock = FakeClock()
    steal = lambda: 10 * MS if clock.now_ns() > 60 * MS else 0  # noqa: E731
    samples = collect(
        lambda: clock.advance(10 * MS),
        clock=clock,
        counters=Quiet(),
        inner=1,
        limits=Limits(15),
        watch=Watch(steal_ns=steal),
    )
    assert samples.flags.tolist() == [0] * 5 + [Cause.STOLEN] * 5 + [0] * 5
    assert samples.stolen_ns == 10 * MS


def test_unknown_steal_is_unknown_and_not_zero() -> None:
    clock = FakeClock()
    samples = collect(
        lambda: clock.advance(MS), clock=clock, counters=Quiet(), inner=1, limits=Limits(3), watch=Watch(lambda: None)
    )
    assert samples.stolen_ns is None
    assert samples.flags.tolist() == [0, 0, 0]


def test_steal_after_the_last_full_chunk_is_not_lost() -> None:
    clock = FakeClock()
    samples = collect_each(
        lambda: clock.advance(MS),
        clock=clock,
        counters=Quiet(),
        limits=Limits(4),
        watch=Watch(steal_ns=lambda: clock.now_ns() // 2),
    )
    assert samples.flags.tolist() == [Cause.STOLEN] * 4
    assert samples.stolen_ns == 2 * MS


def test_a_frequency_change_above_two_percent_is_flagged() -> None:
    clock = FakeClock()
    frequency = lambda: 4.0e9 if clock.now_ns() < 60 * MS else 3.9e9  # noqa: E731
    samples = collect(
        lambda: clock.advance(25 * MS),
        clock=clock,
        counters=Quiet(),
        inner=1,
        limits=Limits(6),
        watch=Watch(frequency_hz=frequency),
    )
    assert samples.flags.tolist() == [0, 0, Cause.FREQUENCY, Cause.FREQUENCY, 0, 0]


def test_slow_steal_readings_make_longer_chunks() -> None:
    clock = FakeClock()
    reads: list[int] = []

    def slow_steal() -> int:
        reads.append(clock.now_ns())
        clock.advance(MS)
        return 0

    watch = Watch(steal_ns=slow_steal)
    limits = Limits(2500)
    collect(lambda: clock.advance(MS), clock=clock, counters=Quiet(), inner=1, limits=limits, watch=watch)
    assert reads[1] - reads[0] >= 1000 * MS  # 0.1 % of the time
    assert len(reads) == 4


def test_preparation_is_not_timed_and_not_blamed() -> None:
    clock = FakeClock()
    evictions = 0

    def evict() -> None:
        nonlocal evictions
        evictions += 1
        clock.advance(7 * MS)

    samples = collect_calls(
        lambda: clock.advance(1000),
        clock=clock,
        counters=Timeline(clock, lambda _: CounterReading(evictions, 3, 0)),
        clock_cost_ns=100,
        limits=Limits(4),
        prepare=evict,
    )
    assert samples.durations_ns.tolist() == [1000] * 4
    assert samples.flags.tolist() == [0] * 4
    assert samples.inner == 1
    with pytest.raises(ValueError, match="inner must be 1"):
        collect(evict, clock=clock, counters=Quiet(), inner=2, limits=Limits(1), prepare=evict)


def test_requests_too_short_for_the_clock_give_batch_means_and_no_percentile() -> None:
    clock = FakeClock()
    samples = collect_calls(
        lambda: clock.advance(9_000), clock=clock, counters=Quiet(), clock_cost_ns=100, limits=Limits(700)
    )
    assert samples.inner == 128
    estimate = percentile(samples, 99)
    assert estimate.value_s is None
    assert "too short" in (estimate.note or "")
    assert process_estimate(samples.durations_ns, samples.flags, inner=samples.inner).undisturbed_s == pytest.approx(
        9e-6, rel=1e-12
    )


def test_requests_long_enough_are_timed_one_by_one() -> None:
    clock = FakeClock()
    call = clock.work([10_000] * 3 + [10_000 + index for index in range(662)])
    samples = collect_calls(call, clock=clock, counters=Quiet(), clock_cost_ns=100, limits=Limits(662))
    assert samples.inner == 1
    assert samples.durations_ns.tolist() == [10_000 + index for index in range(662)]


@pytest.mark.parametrize("spin_ns", [100_000, 1_000_000])
def test_a_spin_until_a_deadline_never_measures_below_it(spin_ns: int) -> None:
    def spin() -> None:
        deadline = time.perf_counter_ns() + spin_ns
        while time.perf_counter_ns() < deadline:
            pass

    clock = SystemClock()
    samples = collect(spin, clock=clock, counters=Quiet(), inner=2, limits=Limits(20))
    assert samples.durations_ns.min() >= 2 * spin_ns


def test_overhead_counts_the_clock_and_the_counters() -> None:
    clock = FakeClock(read_cost_ns=50)

    class Costly(Quiet):
        def read(self) -> CounterReading:
            clock.advance(600)
            return super().read()

    overhead = measure_overhead(clock, Costly())
    assert overhead.clock_cost_s == pytest.approx(50e-9)
    assert overhead.per_call_s == pytest.approx(2 * 50e-9, rel=0.1)  # two readings of the clock
    assert overhead.per_flagged_sample_s == pytest.approx((2 * 50 + 600) * 1e-9, rel=0.01)


def test_limits_and_inner_are_checked() -> None:
    with pytest.raises(ValueError, match="samples"):
        Limits(0)
    with pytest.raises(ValueError, match="inner"):
        collect(lambda: None, clock=FakeClock(), counters=Quiet(), inner=0, limits=Limits(1))


def test_no_samples_are_not_called_clean() -> None:
    clock = FakeClock()
    samples = collect(lambda: None, clock=clock, counters=Quiet(), inner=1, limits=Limits(1))
    empty = type(samples)(samples.durations_ns[:0], np.zeros(0, np.uint8), 1, 0)
    assert empty.clean_share == 0.0
