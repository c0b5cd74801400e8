"""Arithmetic of a logical partition: physical cores from PURR, entitlement, and what a cap does to latency."""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 0.010  # of PowerVM's dispatcher: a virtual processor gets its share once in each
LEAST_PER_PROCESSOR = 0.05  # processing units, POWER7+ and later
USUAL_PER_PROCESSOR = 0.6  # of practice, not of the hypervisor
_LATENCY_BOUND_S = 2 * WINDOW_S  # below it a cap is not for latency
_UNIT = 0.01


@dataclass(frozen=True)
class Clock:
    """Readings of one moment, in ticks of the timebase; ``idle`` is part of ``purr``."""

    timebase: int
    purr: int
    idle: int | None = None
    spurr: int | None = None


@dataclass(frozen=True)
class Consumption:
    """What a partition consumed between two moments.

    Attributes:
        physical_cores: consumed.
        busy_cores: of these, not idle; None where idle time is not counted.
        frequency_ratio: effective over nominal; None where it is not counted.
        entitled_share: consumed over entitled; None without an entitlement.
    """

    physical_cores: float
    busy_cores: float | None
    frequency_ratio: float | None
    entitled_share: float | None


def consumption(before: Clock, after: Clock, *, entitled: float | None = None) -> Consumption | None:
    """As ``lparstat`` reckons; None where the counters stand still or went back, as over a migration.

    ``entitled`` is the present ``partition_entitled_capacity``, which differs from the desired one after a change.
    Idle time comes from other files than the PURR, read a moment later, so that it is held to the total.
    """
    ticks, purr = after.timebase - before.timebase, after.purr - before.purr
    if ticks <= 0 or purr < 0:
        return None
    busy = frequency = None
    if before.idle is not None and after.idle is not None and after.idle >= before.idle:
        busy = (purr - min(purr, after.idle - before.idle)) / ticks
    if before.spurr is not None and after.spurr is not None and purr > 0 and after.spurr >= before.spurr:
        frequency = (after.spurr - before.spurr) / purr
    cores = purr / ticks
    return Consumption(cores, busy, frequency, cores / entitled if entitled else None)


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
