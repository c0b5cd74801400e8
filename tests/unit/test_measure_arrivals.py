"""Open-loop load against queueing theory, exactly on a fake clock."""

from __future__ import annotations

import numpy as np
import pytest
from support.queueing import lindley_latencies, md1_mean_wait

from harness.measure.arrivals import poisson_schedule, serve_open_loop
from harness.measure.clock import FakeClock
from harness.measure.overlap import InstanceTrace, overlap_throughput


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
