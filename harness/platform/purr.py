"""Physical cores that a partition consumes, from the processor utilisation of resources register (PURR)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from harness.platform import lpar, parse
from harness.platform.sysroot import SysRoot


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


def consumption(before: Clock | None, after: Clock | None, *, entitled: float | None = None) -> Consumption | None:
    """As ``lparstat`` reckons; None where the counters are not there, stand still or went back, as over a migration.

    ``entitled`` is the present ``partition_entitled_capacity``, which differs from the desired one after a change.
    Idle time comes from other files than the PURR, read a moment later, so that it is held to the total.
    """
    if before is None or after is None:
        return None
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


def of_cpus(sysroot: SysRoot, cpus: Collection[int]) -> tuple[int, int] | None:
    """PURR and SPURR of some CPUs, summed; None where a CPU has none, or its files are for root only."""
    place = "sys/devices/system/cpu/cpu"
    readings = [
        parse.hexadecimal(sysroot.read_text(f"{place}{cpu}/{name}")) for name in ("purr", "spurr") for cpu in cpus
    ]
    known = [reading for reading in readings if reading is not None]
    half = len(cpus)
    return (sum(known[:half]), sum(known[half:])) if known and len(known) == len(readings) else None


def frequency_ratio(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """Effective over nominal clock between two readings of `of_cpus`; None where the registers stood still."""
    if before is None or after is None or after[0] <= before[0] or after[1] < before[1]:
        return None
    return (after[1] - before[1]) / (after[0] - before[0])


def read(sysroot: SysRoot) -> Clock | None:
    """The partition's counters of this moment; None off PowerVM.

    Source: Linux, arch/powerpc/platforms/pseries/lparcfg.c (``purr``, ``tbr``); sysfs ``cpu*/idle_purr`` and ``spurr``
    are per CPU and too many to be read around a measurement.
    """
    values = lpar.read(sysroot)
    timebase, purr = parse.integer(values.get("tbr") or ""), parse.integer(values.get("purr") or "")
    return None if timebase is None or purr is None else Clock(timebase, purr)
