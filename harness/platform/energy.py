"""EnergyScale settings (``/sys/firmware/papr/energy_scale_info``) and, where the kernel sets clocks, its governor."""

from __future__ import annotations

import re

from harness.platform.facts import EnergyAttribute, EnergyFacts
from harness.platform.gather import Gathered
from harness.platform.sysroot import SysRoot

_ROOT = "sys/firmware/papr/energy_scale_info"


def collect(sysroot: SysRoot) -> EnergyFacts:
    """Attributes are found by firmware's own descriptions; their numbers are kept as they come."""
    gathered = Gathered()
    attributes = _attributes(sysroot)
    gathered.note("attributes", attributes or None, "sysfs:firmware/papr/energy_scale_info")

    def attribute_of(field: str, pattern: str) -> EnergyAttribute | None:
        match = next((item for item in attributes if re.search(pattern, item.description, re.IGNORECASE)), None)
        if match is not None:
            gathered.sources[field] = f"sysfs:firmware/papr/energy_scale_info/{match.id}"
        return match

    def words(field: str, pattern: str) -> str | None:
        attribute = attribute_of(field, pattern)
        return None if attribute is None else attribute.value_description

    def hertz(field: str, pattern: str) -> float | None:
        attribute = attribute_of(field, pattern)
        value = None if attribute is None else attribute.value
        if value is None or not 100 <= value <= 10_000:  # in MHz; an impossible figure is dropped
            gathered.sources.pop(field, None)
            return None
        return value * 1e6

    return EnergyFacts(
        attributes=attributes,
        power_performance_mode=words("power_performance_mode", r"performance mode"),
        idle_power_saver=words("idle_power_saver", r"idle power saver"),
        processor_folding=words("processor_folding", r"processor folding"),
        frequency_min_hz=hertz("frequency_min_hz", r"min\w* freq"),
        frequency_static_hz=hertz("frequency_static_hz", r"stat\w* freq"),
        frequency_max_hz=hertz("frequency_max_hz", r"max\w* freq"),
        governor=_governor(sysroot, gathered),
        sources=gathered.sources,
    )


def _attributes(sysroot: SysRoot) -> tuple[EnergyAttribute, ...]:
    listed: list[EnergyAttribute] = []
    for number in sysroot.numbered(_ROOT, ""):
        base = f"{_ROOT}/{number}"
        description = sysroot.read_text(f"{base}/desc")
        if description:
            value = sysroot.read_int(f"{base}/value")
            listed.append(EnergyAttribute(number, description, value, sysroot.read_text(f"{base}/value_desc") or None))
    return tuple(listed)


def _governor(sysroot: SysRoot, gathered: Gathered) -> str | None:
    for policy in sysroot.numbered("sys/devices/system/cpu/cpufreq", "policy"):
        path = f"devices/system/cpu/cpufreq/policy{policy}/scaling_governor"
        governor = sysroot.read_text(f"sys/{path}")
        if governor:
            return gathered.note("governor", governor, f"sysfs:{path}")
    return None
