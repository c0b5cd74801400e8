"""Queueing theory that measured latencies are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def lindley_latencies(schedule_ns: ArrayLike, services_ns: ArrayLike) -> NDArray[np.int64]:
    """Latencies of one first-come-first-served server: the recursion w' = max(0, w + s - gap), plus service.

    Args:
        schedule_ns: arrival times, shape (n,), ascending.
        services_ns: service times, shape (n,).

    Source: Lindley (1952), "The theory of queues with a single server".
    """
    schedule = np.asarray(schedule_ns, dtype=np.int64)
    services = np.asarray(services_ns, dtype=np.int64)
    latencies = np.zeros(len(schedule), dtype=np.int64)
    wait = 0
    for index, service in enumerate(services.tolist()):
        if index:
            gap = int(schedule[index] - schedule[index - 1])
            wait = max(0, int(latencies[index - 1]) - gap)
        latencies[index] = wait + service
    return latencies


def md1_mean_wait(rate: float, service_s: float) -> float:
    """Mean waiting time in seconds of an M/D/1 queue, rho S / (2 (1 - rho)); infinite at or above saturation."""
    load = rate * service_s
    return load * service_s / (2 * (1 - load)) if load < 1 else float("inf")
