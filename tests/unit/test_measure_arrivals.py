"""Open-loop load against queueing theory, exactly on a fake clock."""

from __future__ import annotations

import numpy as np
import pytest
from support.queueing import lindley_latencies, md1_mean_wait

from harness.measure.arrivals import poisson_schedule, serve_open_loop
from harness.measure.clock import FakeClock
from harness.measure.overlap import InstanceTrace, overlap_throughput
from harness.measure.rate_search import highest_rate


def test_the_schedule_is_poisson_and_repeatable() -> None:
    schedule = poisson_schedule(500.0, 20_000, seed=3)
    assert schedule.tolist() == poisson_schedule(500.0, 20_000, seed=3).tolist()
    gaps = np.diff(schedule) * 1e-9
    assert gaps.mean() == pytest.approx(1 / 500, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)  # an exponential's mean is its deviation
    with pytest.raises(ValueError, match="rate"):
        poisson_schedule(0, 10, seed=1)


def test_latency_counts_from_the_schedule_exactly_as_lindley_says() -> None:
    service = np.random.default_rng(5).integers(200_000, 3_000_000, 2000)
    schedule = poisson_schedule(600.0, 2000, seed=9)
    clock = FakeClock()
    served = serve_open_loop(clock.work(service.tolist()), schedule, clock=clock)
    assert served.latencies_ns.tolist() == lindley_latencies(schedule, service).tolist()
    assert served.services_ns.tolist() == service.tolist()


def test_one_slow_request_delays_those_behind_it() -> None:
    clock = FakeClock()
    served = serve_open_loop(clock.work([100, 5, 5]), [0, 10, 200], clock=clock)
    assert served.latencies_ns.tolist() == [100, 95, 5]
    assert served.wall_ns == 205


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_mean_wait_of_fixed_service_is_that_of_m_d_1(load: float) -> None:
    service_s = 1e-3
    schedule = poisson_schedule(load / service_s, 200_000, seed=11)
    clock = FakeClock()
    served = serve_open_loop(lambda: clock.advance(1_000_000), schedule, clock=clock)
    waits = (served.latencies_ns - served.services_ns) * 1e-9
    assert waits.mean() == pytest.approx(md1_mean_wait(load / service_s, service_s), rel=0.05)


def test_a_saturated_server_has_no_mean_wait() -> None:
    assert md1_mean_wait(1000.0, 1e-3) == float("inf")


def test_the_highest_rate_is_found_and_confirmed_three_times() -> None:
    found = highest_rate(lambda rate: rate <= 730, 100, 400, tolerance=0.01)
    assert found.rate is not None
    assert 730 / 1.01 <= found.rate <= 730
    assert [rate for rate, _ in found.tried[-3:]] == [found.rate] * 3


def test_a_rate_that_fails_its_confirmation_is_not_published() -> None:
    lucky: list[float] = []

    def meets(rate: float) -> bool:  # above 500 the bound is met once, by luck
        if rate > 500 and rate not in lucky:
            lucky.append(rate)
            return rate < 800
        return rate <= 500

    found = highest_rate(meets, 100, 1000)
    assert found.rate is not None
    assert found.rate <= 500


def test_a_noisy_bound_still_has_an_answer_below_its_lucky_rates() -> None:
    """Above 500 a trial passes four times in five, so bisection ends far too high; 500 and less always pass."""
    generator = np.random.default_rng(3)
    for _ in range(50):
        found = highest_rate(lambda rate: rate <= 500 or (rate < 1000 and generator.random() < 0.8), 100, 1100)
        assert found.rate is not None
        assert 300 < found.rate < 1000
        assert [met for rate, met in found.tried if rate == found.rate] == [True] * 4


def test_searches_agree_where_trials_are_met_by_chance() -> None:
    """2 % below the middle of the slope trials are met in 3 of 4 cases, as were those of 2 s on a virtual machine."""
    generator = np.random.default_rng(5)

    def meets(rate: float) -> bool:
        return bool(generator.random() < 1 / (1 + np.exp(min((rate - 53_000) / 1_000, 50.0))))

    spreads = []
    for _ in range(100):
        rates = [highest_rate(meets, 200, 4000, misses=2).rate or 0.0 for _ in range(3)]
        spreads.append(max(rates) / min(rates) - 1)
    assert np.mean(np.array(spreads) <= 0.05) >= 0.9


def test_no_rate_is_published_when_the_lowest_fails() -> None:
    assert highest_rate(lambda rate: False, 10, 20).rate is None
    with pytest.raises(ValueError, match="low < high"):
        highest_rate(lambda rate: True, 20, 10)


def test_a_search_that_never_fails_ends() -> None:
    assert highest_rate(lambda rate: True, 1, 2).rate is None


def test_the_slow_instances_tail_is_not_counted() -> None:
    fast = InstanceTrace(0, np.arange(1, 101) * 10_000_000)  # 100 per second for one second
    slow = InstanceTrace(0, np.arange(1, 101) * 20_000_000)  # 50 per second for two seconds
    together = overlap_throughput([fast, slow])
    assert together.total == pytest.approx(150.0)
    assert (together.least, together.most) == (pytest.approx(50.0), pytest.approx(100.0))
    assert together.window_s == pytest.approx(1.0)
    assert together.window_share == pytest.approx(0.5)


def test_instances_that_never_ran_together_have_no_throughput() -> None:
    first, second = InstanceTrace(0, np.array([10])), InstanceTrace(20, np.array([30]))
    assert overlap_throughput([first, second]).total == 0.0
    with pytest.raises(ValueError, match="at least one"):
        overlap_throughput([first, InstanceTrace(0, np.array([], dtype=np.int64))])
