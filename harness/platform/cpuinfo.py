"""``/proc/cpuinfo`` of Power and x86 kernels, as text to values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.platform import parse

# Linux, arch/powerpc/include/asm/reg.h (PVR_*): the high half of the processor version register.
_GENERATIONS = {
    0x0035: "POWER4",
    0x0038: "POWER4",
    0x0039: "PPC970",
    0x003A: "POWER5",
    0x003B: "POWER5",
    0x003C: "PPC970",
    0x003E: "POWER6",
    0x003F: "POWER7",
    0x0044: "PPC970",
    0x0045: "PPC970",
    0x004A: "POWER7",
    0x004B: "POWER8",
    0x004C: "POWER8",
    0x004D: "POWER8",
    0x004E: "POWER9",
    0x004F: "POWER9",
    0x0066: "POWER8",
    0x0080: "POWER10",
    0x0082: "POWER11",
}
_THREADS = {"POWER5": 2, "POWER6": 2, "POWER7": 4, "POWER8": 8}
_SMT4_PART = 0x1000  # PVR bit 12, POWER9 and later: made of four-thread cores, not of fused pairs
_REVISION = re.compile(r"\(pvr\s+([0-9a-fA-F]{4})\s+([0-9a-fA-F]{4})\)")
_MODE = re.compile(r"power\s?([0-9]{1,2})(?![0-9])|ppc970", re.IGNORECASE)


@dataclass(frozen=True)
class CpuInfo:
    """The parts of ``/proc/cpuinfo`` that matter. ``kind`` is "power", "x86", or ``None`` for anything else."""

    kind: str | None = None
    processors: tuple[int, ...] = ()
    model_name: str | None = None
    pvr: int | None = None
    clock_hz: float | None = None
    # trailer of Power
    timebase_hz: float | None = None
    platform: str | None = None  # pSeries, PowerNV
    machine: str | None = None  # "CHRP IBM,9080-HEX", "PowerNV 8247-22L"
    model: str | None = None  # "IBM,9080-HEX", "8247-22L"
    mmu: str | None = None
    is_32_bit: bool = False  # only such kernels print bogomips
    # x86
    vendor_id: str | None = None
    family: int | None = None
    model_number: int | None = None
    flags: frozenset[str] | None = None
    core_keys: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # CPU -> (physical id, core id)


def parse_cpuinfo(text: str | None) -> CpuInfo:
    """All of the file; an unknown or broken text leaves fields ``None``."""
    blocks = list(parse.stanzas(text))
    power: dict[str, str] = {}
    x86: dict[str, str] = {}
    processors: list[int] = []
    core_keys: dict[int, tuple[int, int]] = {}
    for block in blocks:
        cpu = parse.integer(block.get("processor"))
        if cpu is not None and 0 <= cpu < 1 << 16:
            processors.append(cpu)
        target = x86 if "vendor_id" in block and "cpu family" in block else power
        for key, value in block.items():
            target.setdefault(key, value)
        package, core = parse.integer(block.get("physical id")), parse.integer(block.get("core id"))
        if cpu is not None and package is not None and core is not None:
            core_keys[cpu] = package, core
    cpus = tuple(sorted(set(processors)))
    if x86:
        return _x86(x86, cpus, core_keys)
    if "cpu" in power and ("revision" in power or "timebase" in power):
        return _power(power, cpus)
    return CpuInfo(processors=cpus)


def _power(values: Mapping[str, str], processors: tuple[int, ...]) -> CpuInfo:
    revision = _REVISION.search(values.get("revision", ""))
    clock = re.fullmatch(r"([0-9.]+)\s*MHz", values.get("clock", ""))
    return CpuInfo(
        kind="power",
        processors=processors,
        model_name=values.get("cpu") or None,
        pvr=int(revision[1] + revision[2], 16) if revision else None,
        clock_hz=_scaled(parse.number(clock[1]) if clock else None, 1e6),
        timebase_hz=_scaled(parse.number(values.get("timebase")), 1.0),
        platform=values.get("platform") or None,
        machine=values.get("machine") or None,
        model=values.get("model") or None,
        mmu=values.get("MMU") or None,
        is_32_bit="bogomips" in values,
    )


def _x86(values: Mapping[str, str], processors: tuple[int, ...], core_keys: Mapping[int, tuple[int, int]]) -> CpuInfo:
    flags = values.get("flags")
    return CpuInfo(
        kind="x86",
        processors=processors,
        model_name=values.get("model name") or None,
        clock_hz=_scaled(parse.number(values.get("cpu MHz")), 1e6),
        vendor_id=values.get("vendor_id") or None,
        family=parse.integer(values.get("cpu family")),
        model_number=parse.integer(values.get("model")),
        flags=frozenset(flags.split()) if flags else None,
        core_keys=core_keys,
    )


def _scaled(value: float | None, factor: float) -> float | None:
    return value * factor if value else None


def generation_of_pvr(pvr: int | None) -> str | None:
    """The processor generation of a PVR; ``None`` for a logical (architected) or unknown version."""
    return None if pvr is None else _GENERATIONS.get(pvr >> 16)


def generation_of_text(text: str | None) -> str | None:
    """The generation named by a ``cpu`` line, a device-tree node or AT_PLATFORM: "POWER11" of ``Power11 (raw)``."""
    match = _MODE.search(text or "")
    if match is None:
        return None
    return f"POWER{match[1]}" if match[1] else "PPC970"


def part_threads(pvr: int | None) -> int | None:
    """Threads of a core as the silicon was made, which may be more than a guest is given."""
    generation = generation_of_pvr(pvr)
    if pvr is None or generation is None:
        return None
    if generation in ("POWER9", "POWER10", "POWER11"):
        return 4 if pvr & _SMT4_PART else 8
    return _THREADS.get(generation)


def mode_threads(generation_mode: str | None) -> int | None:
    """Threads of a core that a compatibility mode knows of: a POWER7 mode shows four of the eight of later silicon."""
    return _THREADS.get(generation_mode or "")
