"""Arithmetic of a logical partition: entitlement, and what a cap does to latency."""

from __future__ import annotations

import math

WINDOW_S = 0.010  # of PowerVM's dispatcher: a virtual processor gets its share once in each
LEAST_PER_PROCESSOR = 0.05  # processing units, POWER7+ and later
USUAL_PER_PROCESSOR = 0.6  # of practice, not of the hypervisor
_LATENCY_BOUND_S = 2 * WINDOW_S  # below it a cap is not for latency
_UNIT = 0.01


def entitlement(physical_cores: float, headroom: float, virtual_processors: int) -> float:
    """Processing units for a mean consumption, rounded up to a hundredth; never below the hypervisor's least."""
    wanted = max(physical_cores * (1 + headroom), LEAST_PER_PROCESSOR * virtual_processors)
    return round(math.ceil(round(wanted / _UNIT, 6)) * _UNIT, 2)


def longest_pause_s(entitled: float, virtual_processors: int) -> float:
    """How long a capped virtual processor may wait for its next share while its neighbours are busy."""
    return WINDOW_S * max(0.0, 1 - entitled / virtual_processors)


def cap_objection(p99_s: float | None, entitled: float, virtual_processors: int) -> str | None:
    """Why this entitlement does not go with a latency bound; None where it does."""
    pause = longest_pause_s(entitled, virtual_processors)
    if p99_s is None or p99_s >= _LATENCY_BOUND_S or pause <= 0:
        return None
    return (
        f"p99 of {1e3 * p99_s:.3g} ms is below {1e3 * _LATENCY_BOUND_S:.0f} ms: a capped virtual processor may pause "
        f"{1e3 * pause:.1f} ms of each {1e3 * WINDOW_S:.0f} ms window; give {virtual_processors} processing units, or "
        "dedicated cores"
    )
