"""What the timing loops cost, against their budget; run with ``pytest tests/bench --benchmark-only``."""

from __future__ import annotations

import resource
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.measure.clock import SystemClock
from harness.measure.estimates import process_estimate
from harness.measure.sampling import Limits, collect, collect_each
from harness.platform.counters import CounterReading

CALLS = 20_000


class ThreadUsage:
    """The counters every Linux has, read the way the platform reads them."""

    def read(self) -> CounterReading:
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        return CounterReading(usage.ru_nivcsw, 0, usage.ru_majflt)


def nothing() -> None:
    return None


def test_bench_a_recorded_call(benchmark: BenchmarkFixture) -> None:
    def calls() -> None:
        collect_each(nothing, clock=SystemClock(), counters=ThreadUsage(), limits=Limits(CALLS))

    benchmark.pedantic(calls, rounds=20, warmup_rounds=2)
    assert benchmark.stats.stats.min / CALLS <= 0.3e-6


def test_bench_a_flagged_sample(benchmark: BenchmarkFixture) -> None:
    def samples() -> None:
        collect(nothing, clock=SystemClock(), counters=ThreadUsage(), inner=1, limits=Limits(CALLS))

    benchmark.pedantic(samples, rounds=20, warmup_rounds=2)
    assert benchmark.stats.stats.min / CALLS <= 2e-6


@pytest.mark.parametrize("spin_ns", [100_000, 1_000_000, 10_000_000])
def test_bench_a_spin_of_known_length(benchmark: BenchmarkFixture, spin_ns: int) -> None:
    def spin() -> None:
        deadline = time.perf_counter_ns() + spin_ns
        while time.perf_counter_ns() < deadline:
            pass

    inner = max(1, 1_000_000 // spin_ns)

    def measure() -> float:
        samples = collect(spin, clock=SystemClock(), counters=ThreadUsage(), inner=inner, limits=Limits(40))
        return process_estimate(samples.durations_ns, samples.flags, inner=samples.inner).undisturbed_s or float("nan")

    measured_s = benchmark.pedantic(measure, rounds=1)
    assert 1.0 <= measured_s / (spin_ns * 1e-9) <= 1.01
