"""Waiting lines: formulas of Erlang, Halfin and Whitt, Crommelin, and a replay of measured service times.

Times are in units of the mean service time. ``load`` is the arrival rate over the service rate of one server (erlangs).
A formula assumes Poisson arrivals and, where it says M/M, exponential service: what is measured is answered from a
replay; the formulas are what the replay is tested by.
"""

from __future__ import annotations

import heapq
import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_TAIL = 0.01


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request waits in M/M/c.

    Raises:
        ValueError: the load is not below the number of servers.
    """
    if servers < 1 or not 0 <= load < servers:
        raise ValueError(f"a load of {load:g} on {servers} servers has no steady state")
    blocking = 1.0
    for count in range(1, servers + 1):
        blocking = load * blocking / (count + load * blocking)
    utilisation = load / servers
    return blocking / (1 - utilisation * (1 - blocking))


def mean_wait(servers: int, load: float) -> float:
    """Mean wait in M/M/c."""
    return erlang_c(servers, load) / (servers - load)


def mean_wait_general(servers: int, load: float, *, arrivals_cv2: float, service_cv2: float) -> float:
    """Mean wait by Allen and Cunneen, an approximation: squared coefficients of variation of gaps and services."""
    return mean_wait(servers, load) * (arrivals_cv2 + service_cv2) / 2


def response_tail(servers: int, load: float, time: float) -> float:
    """Probability that wait and service together take longer than ``time`` in M/M/c."""
    waits, spare = erlang_c(servers, load), servers - load
    if abs(spare - 1) < 1e-9:
        return math.exp(-time) * (1 + waits * time)
    mixed = (spare * math.exp(-time) - math.exp(-spare * time)) / (spare - 1)
    return (1 - waits) * math.exp(-time) + waits * mixed


def response_percentile(servers: int, load: float, *, tail: float = _TAIL) -> float:
    """The time that a share ``tail`` of the requests of M/M/c exceeds."""
    from scipy.optimize import brentq

    high = 1.0
    while response_tail(servers, load, high) > tail:
        high *= 2
    return float(brentq(lambda time: response_tail(servers, load, time) - tail, 0.0, high, xtol=1e-12))


def deterministic_wait_tail(load: float, time: float) -> float:
    """Probability of waiting longer than ``time`` in M/D/1.

    Source: Franx (2001), "A simple solution for the M/D/c waiting time distribution": unlike Erlang's formula it has no
    alternating signs, so that nothing cancels.

    Raises:
        ValueError: the load is not below 1.
    """
    from scipy.special import gammaln

    if not 0 < load < 1:
        raise ValueError(f"a load of {load:g} on one server has no steady state")
    whole = math.floor(time) + 1
    queued = np.cumsum(_deterministic_states(load, whole))[1:]  # P(at most m wait) = P(at most m + 1 in the system)
    still = load * (whole - time)
    counts = np.arange(whole)
    arrived = np.exp(counts * math.log(still) - still - gammaln(counts + 1))
    return max(0.0, 1.0 - float(arrived @ queued[::-1]))


def deterministic_response_percentile(load: float, *, tail: float = _TAIL) -> float:
    """The time that a share ``tail`` of the requests of M/D/1 exceeds, service included."""
    from scipy.optimize import brentq

    if load <= tail:  # so few wait at all
        return 1.0
    high = 1.0
    while deterministic_wait_tail(load, high) > tail:
        high *= 2
    return 1.0 + float(brentq(lambda time: deterministic_wait_tail(load, time) - tail, 0.0, high, xtol=1e-10))


def _deterministic_states(load: float, most: int) -> Array:
    """Probabilities of 0 to ``most`` requests in M/D/1, by Ramaswami's recursion, whose terms are all positive."""
    from scipy.special import gammainc

    # Probability of at least k arrivals during a service.
    least = np.array([1.0, *(float(gammainc(count, load)) for count in range(1, most + 2))])
    states = np.zeros(most + 1)
    states[0] = 1 - load
    for count in range(1, most + 1):
        earlier = states[1:count] @ least[count:1:-1]
        states[count] = (states[0] * least[count] + earlier) / math.exp(-load)
    return states


def waiting_probability(beta: float) -> float:
    """Probability of waiting with a + beta sqrt(a) servers under a large load a.

    Source: Halfin and Whitt (1981), doi 10.1287/opre.29.3.567.
    """
    cumulated = 0.5 * (1 + math.erf(beta / math.sqrt(2)))
    density = math.exp(-(beta**2) / 2) / math.sqrt(2 * math.pi)
    return 1 / (1 + beta * cumulated / density)


def servers_for(load: float, waiting: float) -> int:
    """Servers with which at most a share ``waiting`` of the requests waits, by square-root staffing."""
    from scipy.optimize import brentq

    beta = float(brentq(lambda guess: waiting_probability(guess) - waiting, 1e-9, 30.0))
    return math.ceil(load + beta * math.sqrt(load))


def replay(
    gaps: ArrayLike, services: ArrayLike, servers: int, *, queue: Literal["shared", "separate"], seed: int = 0
) -> Array:
    """Latencies of requests served first come, first served: the Kiefer-Wolfowitz recursion.

    Args:
        gaps: between arrivals, shape (n,).
        services: time of each request, shape (n,).
        servers: that work at once.
        queue: ``shared`` by all servers, or ``separate``: each request goes to a server at random, free or not, as
            where instances have sockets of their own.
        seed: of that choice.
    """
    arrivals = np.cumsum(np.asarray(gaps, dtype=np.float64))
    times = np.asarray(services, dtype=np.float64)
    latencies = np.empty(len(arrivals))
    if queue == "separate":
        chosen = np.random.default_rng(seed).integers(servers, size=len(arrivals))
        for server in range(servers):
            mine = np.flatnonzero(chosen == server)
            latencies[mine] = _single(arrivals[mine], times[mine])
        return latencies
    if servers == 1:
        return _single(arrivals, times)
    free = [0.0] * servers
    pairs = zip(arrivals.tolist(), times.tolist(), strict=True)
    for index, (arrived, service) in enumerate(pairs):
        ended = max(arrived, free[0]) + service
        heapq.heapreplace(free, ended)
        latencies[index] = ended - arrived
    return latencies


def _single(arrivals: Array, services: Array) -> Array:
    """One server: Lindley's recursion as a running maximum."""
    ends = np.cumsum(services)
    return np.asarray(np.maximum.accumulate(arrivals - (ends - services)) + ends - arrivals)
