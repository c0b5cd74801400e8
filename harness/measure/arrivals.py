"""Open-loop load: requests arrive when the schedule says, whether or not the server is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.measure.clock import Clock


@dataclass(frozen=True)
class OpenLoop:
    """Outcome of one open-loop run, in schedule order.

    Attributes:
        latencies_ns: int64, shape (n,); from the scheduled time to completion, queueing included.
        services_ns: int64, shape (n,); from the actual start to completion.
        wall_ns: from the start of the schedule to the last completion.
    """

    latencies_ns: NDArray[np.int64]
    services_ns: NDArray[np.int64]
    wall_ns: int


def poisson_schedule(rate: float, requests: int, *, seed: int) -> NDArray[np.int64]:
    """Arrival times in nanoseconds from the start, shape (requests,): a Poisson process of ``rate`` per second."""
    if not rate > 0:
        raise ValueError(f"rate must be positive, got {rate}")
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, size=requests)
    return np.cumsum(gaps).astype(np.int64)


def constant_schedule(rate: float, requests: int) -> NDArray[np.int64]:
    """Arrival times in nanoseconds from the start, shape (requests,): evenly spaced, the first at once."""
    return (np.arange(requests) * (1e9 / rate)).astype(np.int64)


def serve_open_loop(call: Callable[[], object], schedule_ns: ArrayLike, *, clock: Clock) -> OpenLoop:
    """Serve requests one at a time in order, each no earlier than scheduled, and time each from its schedule.

    Latency counts from the scheduled time: a slow request delays those behind it and they say so (no coordinated
    omission).
    """
    schedule = np.asarray(schedule_ns, dtype=np.int64)
    latencies = np.zeros(len(schedule), dtype=np.int64)
    services = np.zeros(len(schedule), dtype=np.int64)
    now = clock.now_ns
    origin = now()
    ended = origin
    for index, offset in enumerate(schedule.tolist()):
        due = origin + offset
        clock.wait_until(due)
        began = now()
        call()
        ended = now()
        latencies[index] = ended - due
        services[index] = ended - began
    return OpenLoop(latencies, services, ended - origin)
