"""Queues against published values, exact arithmetic, and a replay of arrivals."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest

from harness.sizing import queues


@pytest.mark.parametrize(
    ("servers", "load", "waits"),
    [(1, 0.8, 0.8), (2, 1, 1 / 3), (3, 2, 4 / 9), (8, 6.4, 0.457645), (10, 8, 0.409180), (16, 12.8, 0.304884),
     (100, 90, 0.216940)],
)  # fmt: skip
def test_erlang_c(servers: int, load: float, waits: float) -> None:
    assert queues.erlang_c(servers, load) == pytest.approx(waits, abs=1e-6)


@pytest.mark.parametrize(("beta", "waits"), [(0.5, 0.50454), (1, 0.22336), (1.5, 0.08469), (2, 0.02688)])
def test_halfin_whitt(beta: float, waits: float) -> None:
    assert queues.waiting_probability(beta) == pytest.approx(waits, abs=1e-5)


def test_square_root_staffing_agrees_with_the_exact_count() -> None:
    exact = next(count for count in range(101, 200) if queues.erlang_c(count, 100) <= 0.2)
    assert queues.servers_for(100, 0.2) == exact == 111


@pytest.mark.parametrize(
    ("servers", "p99", "wait"),
    [(1, 23.026, 4), (2, 11.937, 1.7778), (4, 6.893, 0.74554), (8, 5.152, 0.28603), (16, 4.735, 0.09528)],
)
def test_m_m_c_at_eighty_percent(servers: int, p99: float, wait: float) -> None:
    assert queues.response_percentile(servers, 0.8 * servers) == pytest.approx(p99, abs=6e-4)
    assert queues.mean_wait(servers, 0.8 * servers) == pytest.approx(wait, abs=5e-5)


def test_m_d_1_waits_half_as_long_as_m_m_1() -> None:
    assert queues.mean_wait_general(1, 0.8, arrivals_cv2=1, service_cv2=0) == pytest.approx(2)


@pytest.mark.parametrize("load", [0.3, 0.8, 0.95])
@pytest.mark.parametrize("time", [0.0, 0.4, 1.0, 3.7, 12.5, 40.0])
def test_m_d_1_against_erlang_in_eighty_digits(load: float, time: float) -> None:
    """Erlang's own series cancels to nothing in floating point; with enough digits it is exact."""
    getcontext().prec = 80
    rate, at = Decimal(load), Decimal(time)
    below, factorial = Decimal(0), Decimal(1)
    for count in range(int(at) + 1):
        factorial *= max(count, 1)
        left = rate * (at - count)
        power = (-left) ** count if count else Decimal(1)
        below += left.exp() * power / factorial
    assert queues.deterministic_wait_tail(load, time) == pytest.approx(float(1 - (1 - rate) * below), abs=1e-9)


def test_m_d_1_percentile_is_where_its_tail_is() -> None:
    p99 = queues.deterministic_response_percentile(0.8)
    assert queues.deterministic_wait_tail(0.8, p99 - 1) == pytest.approx(0.01, abs=1e-8)
    assert queues.deterministic_response_percentile(0.005) == 1.0


@pytest.fixture(scope="module")
def arrivals() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    return generator.exponential(1.0, 200_000), generator.exponential(1.0, 200_000)


@pytest.mark.parametrize("servers", [1, 4])
def test_a_replay_gives_what_the_formulas_do(servers: int, arrivals: tuple[np.ndarray, np.ndarray]) -> None:
    gaps, services = arrivals
    latencies = queues.replay(gaps / (0.6 * servers), services, servers, queue="shared")
    waits = float(np.mean(latencies - services > 1e-9))
    assert waits == pytest.approx(queues.erlang_c(servers, 0.6 * servers), rel=0.02)
    assert np.percentile(latencies, 99) == pytest.approx(queues.response_percentile(servers, 0.6 * servers), rel=0.04)


def test_a_replay_of_one_server_is_lindley_exactly(arrivals: tuple[np.ndarray, np.ndarray]) -> None:
    gaps, services = (each[:2000] for each in arrivals)
    wait, expected = 0.0, []
    for at, service in enumerate(services):
        wait = 0.0 if at == 0 else max(0.0, wait + services[at - 1] - gaps[at])
        expected.append(wait + service)
    assert queues.replay(gaps, services, 1, queue="shared") == pytest.approx(np.array(expected), rel=1e-9)


def test_separate_queues_stay_as_slow_as_one(arrivals: tuple[np.ndarray, np.ndarray]) -> None:
    """What shares a queue must not stand for what does not: 5.15 service times against 23."""
    gaps, services = arrivals
    shared = np.percentile(queues.replay(gaps / 6.4, services, 8, queue="shared"), 99)
    separate = np.percentile(queues.replay(gaps / 6.4, services, 8, queue="separate"), 99)
    assert shared == pytest.approx(5.152, rel=0.05)
    assert separate == pytest.approx(23.026, rel=0.1)


def test_fixed_services_are_m_d_1() -> None:
    gaps = np.random.default_rng(3).exponential(1 / 0.7, 200_000)
    latencies = queues.replay(gaps, np.ones(200_000), 1, queue="shared")
    assert np.percentile(latencies, 99) == pytest.approx(queues.deterministic_response_percentile(0.7), rel=0.04)


def test_overload_has_no_steady_state() -> None:
    for servers, load in ((1, 1.0), (4, 4.5), (0, 0.1)):
        with pytest.raises(ValueError, match="no steady state"):
            queues.erlang_c(servers, load)
