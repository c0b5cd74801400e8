"""The server scenario against queues whose answer is known, on a clock that moves only when told to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.queueing import lindley_latencies

from harness.measure.arrivals import poisson_schedule
from harness.measure.clock import FakeClock
from harness.record.model import Served
from harness.scenarios.capacity import PATIENCE_S, Group
from harness.scenarios.server import server
from harness.serving.arrival_trace import arrivals_of
from harness.workers.rendezvous import FileGroup

SERVICE_NS = 1_000_000
BOUND_S = 0.01


def fixed_service(clock: FakeClock, service_ns: int = SERVICE_NS):
    return lambda: clock.advance(service_ns)


def true_p99_s(rate: float) -> float:
    """Of a queue with fixed service, from a long run of its own by Lindley's recursion."""
    schedule = poisson_schedule(rate, 200_000, seed=99)
    return float(np.percentile(lindley_latencies(schedule, np.full(200_000, SERVICE_NS)), 99)) * 1e-9


def test_the_rate_found_meets_the_bound_in_truth_and_wastes_little() -> None:
    clock = FakeClock()
    series, served = server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=4.0, seed=5)
    assert served.rate is not None
    assert true_p99_s(served.rate) <= 1.1 * BOUND_S
    assert true_p99_s(1.15 * served.rate) > BOUND_S
    assert served.rate_low is not None
    assert served.rate_high is not None
    assert 0.8 * served.rate < served.rate_low < served.rate < served.rate_high < 1.3 * served.rate
    assert served.service_s == pytest.approx(1e-3)
    assert served.latencies["p99_s"] is not None
    assert served.latencies["p99_s"] <= BOUND_S
    (one,) = series
    assert served.requests == len(one.durations_ns)
    assert min(one.durations_ns) == SERVICE_NS


def test_the_latencies_are_those_of_the_trial_next_to_the_rate_that_met_the_bound() -> None:
    clock = FakeClock()
    (one,), served = server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=1.0, seed=1)
    assert served.rate is not None
    nearest = min((abs(rate - served.rate), at) for at, (rate, met) in enumerate(served.tried) if met)[1]
    assert served.latencies["p99_s"] == served.tried_p99_s[nearest]
    assert abs(served.tried[nearest][0] / served.rate - 1) < 0.05
    assert len(one.durations_ns) == pytest.approx(served.tried[nearest][0], rel=0.01)  # of one second


def test_a_pause_is_no_limit() -> None:
    """One in ten trials stands still for 60 ms: hundreds of requests are late, whatever the rate."""
    rates = []
    for seed in range(12):
        clock, generator = FakeClock(), np.random.default_rng(seed)
        pauses = np.cumsum(generator.exponential(10.0, 100)).tolist()

        def paused(clock: FakeClock = clock, pauses: list[float] = pauses) -> None:
            clock.advance(SERVICE_NS)
            if pauses[0] < clock.now_ns() * 1e-9:
                clock.advance(60 * SERVICE_NS)
                pauses.pop(0)

        _, served = server(paused, clock, bound_s=BOUND_S, seconds=1.0, seed=seed)
        rates.append(served.rate or 0.0)
    clock = FakeClock()
    _, calm = server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=4.0, seed=5)
    assert rates == pytest.approx([calm.rate] * len(rates), rel=0.15)


def _bursts(folder: Path, size: int) -> Path:
    """200 bursts of so many requests at once, 20 ms apart."""
    path = folder / "arrivals.csv"
    path.write_text("time\n" + "".join(f"{0.02 * burst:.3f}\n" * size for burst in range(200)))
    return path


def test_constant_arrivals_are_served_up_to_the_rate_at_which_the_server_is_always_busy() -> None:
    clock = FakeClock()
    _, served = server(
        fixed_service(clock), clock, bound_s=BOUND_S, seconds=1.0, seed=1, arrivals=arrivals_of("constant")
    )
    assert served.rate == pytest.approx(1000, rel=0.03)


@pytest.mark.parametrize(("size", "meets"), [(8, True), (12, False)])
def test_recorded_bursts_are_met_as_far_as_the_last_request_of_one_is_served_in_time(
    size: int, meets: bool, tmp_path: Path
) -> None:
    """Of n requests at once the last one takes n services, at any rate at which bursts do not meet."""
    clock = FakeClock()
    recorded = arrivals_of(str(_bursts(tmp_path, size)))
    assert recorded.least == 200 * size
    _, served = server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=0.5, seed=1, arrivals=recorded)
    assert served.requests >= 200 * size or not meets
    assert (served.rate is not None) == meets
    if meets:
        assert served.rate == pytest.approx(1000, rel=0.25)  # beyond it bursts meet


def test_the_same_seed_gives_the_same_answer() -> None:
    answers = []
    for _ in range(2):
        clock = FakeClock()
        answers.append(server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=1.0, seed=7))
    assert answers[0] == answers[1]


def test_a_stall_counts_against_every_request_behind_it() -> None:
    """One request in 500 takes 50 ms: few are slow, but all that wait behind one miss a bound of 10 ms."""
    clock = FakeClock()
    calls = 0

    def stalling() -> None:
        nonlocal calls
        calls += 1
        clock.advance(50 * SERVICE_NS if calls % 500 == 0 else SERVICE_NS)

    _, stalled = server(stalling, clock, bound_s=BOUND_S, seconds=4.0, seed=5)
    clock = FakeClock()
    _, steady = server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=4.0, seed=5)
    assert steady.rate is not None
    assert stalled.rate is None or stalled.rate < 0.5 * steady.rate


def test_a_rate_that_only_a_short_trial_survives_is_not_sustained() -> None:
    """No backlog of one trial reaches so long a bound; a server of 1 ms still does not serve 1000 a second."""
    clock = FakeClock()
    _, served = server(fixed_service(clock), clock, bound_s=1.0, seconds=0.1, seed=3)
    assert served.rate is not None
    assert 900 < served.rate < 1000


def test_a_request_longer_than_the_bound_has_no_rate_and_says_so() -> None:
    clock = FakeClock()
    series, served = server(fixed_service(clock, 20_000_000), clock, bound_s=BOUND_S, seconds=1.0, seed=1)
    assert (series, served.rate, served.tried) == ([], None, ())
    assert "0.02 s" in str(served.note)


def test_a_search_that_takes_too_long_is_given_up() -> None:
    clock = FakeClock()
    _, served = server(fixed_service(clock, 2_000_000_000), clock, bound_s=10.0, seconds=1.0, seed=1)
    assert served.rate is None
    assert f"{PATIENCE_S:g} s" in str(served.note)


class _Threads:
    """Instances as threads, each on a clock of its own, that meet at a barrier."""

    def __init__(self, instances: int) -> None:
        self.barrier = threading.Barrier(instances, timeout=20)
        self.given: list[dict[int, np.ndarray]] = [{} for _ in range(10_000)]

    def member(self, index: int) -> Group:
        outer = self

        class Member:
            instances = outer.barrier.parties
            round = 0

            def exchange(self, values: np.ndarray) -> list[np.ndarray]:
                outer.given[self.round][index] = values
                outer.barrier.wait()
                shared = outer.given[self.round]
                self.round += 1
                return [shared[each] for each in sorted(shared)]

        return Member()


def serve_together(services_ns: list[int], bound_s: float = BOUND_S) -> list[Served]:
    threads = _Threads(len(services_ns))

    def serve(index: int) -> Served:
        clock = FakeClock()
        call = fixed_service(clock, services_ns[index])
        return server(call, clock, bound_s=bound_s, seconds=2.0, seed=5 + index, group=threads.member(index))[1]

    with ThreadPoolExecutor(len(services_ns)) as pool:
        return list(pool.map(serve, range(len(services_ns))))


def test_instances_with_queues_of_their_own_serve_the_sum_of_one_each() -> None:
    """Not what they would with a common queue: the bound is reached at the same load as by one alone."""
    both = serve_together([SERVICE_NS, SERVICE_NS])
    assert both[0] == both[1]
    assert both[0].rate is not None
    assert true_p99_s(both[0].rate / 2) <= 1.1 * BOUND_S
    assert true_p99_s(1.35 * both[0].rate / 2) > BOUND_S


def test_a_slow_instance_holds_the_others_back() -> None:
    """An equal part of the rate goes to each: three times the slowest, not the sum of the speeds."""
    served = serve_together([SERVICE_NS, SERVICE_NS, 2 * SERVICE_NS])
    assert served[0] == served[1] == served[2]
    assert served[0].service_s == pytest.approx(2e-3)
    assert served[0].rate is not None
    assert served[0].rate < 3 * 500


def test_the_percentile_of_every_rate_tried_is_kept() -> None:
    clock = FakeClock()
    _, served = server(fixed_service(clock), clock, bound_s=BOUND_S, seconds=1.0, seed=1)
    assert len(served.tried_p99_s) == len(served.tried)
    for (_, met), p99_s in zip(served.tried, served.tried_p99_s, strict=True):
        assert p99_s is not None
        assert not met or p99_s <= BOUND_S


def test_files_carry_what_instances_exchange(tmp_path: Path) -> None:
    groups = [FileGroup(tmp_path, index, 2) for index in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for at in range(3):
            given = [np.array([at, index, -1], dtype=np.int64) for index in range(2)]
            received = list(pool.map(lambda pair: pair[0].exchange(pair[1]), zip(groups, given, strict=True)))
            for values in received:
                assert [each.tolist() for each in values] == [each.tolist() for each in given]
