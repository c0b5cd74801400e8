"""Whether the instructions are emulated: times taken under an emulator say nothing about the machine."""

from __future__ import annotations

from harness.platform.auxv import AuxVector
from harness.platform.cpu import is_power
from harness.platform.cpuinfo import CpuInfo
from harness.platform.facts import EmulationFacts
from harness.platform.sysroot import SysRoot


def collect(
    sysroot: SysRoot, machine: str | None, info: CpuInfo, vector: AuxVector | None, hypervisor: str | None
) -> EmulationFacts:
    """Evidence is listed sign by sign; ``emulated`` is ``None`` when nothing tells either way.

    Args:
        sysroot: where the rest was read.
        machine: machine name as programs see it (``uname -m``).
        info: parsed ``/proc/cpuinfo``, which user-mode QEMU passes through from its host.
        vector: auxiliary vector; user-mode QEMU leaves AT_PLATFORM null for Power.
        hypervisor: the hypervisor found.
    """
    evidence: list[str] = []
    sources: dict[str, str] = {}
    if is_power(machine) and info.kind != "power" and info.processors:
        other = info.vendor_id or "another processor"
        evidence.append(f"programs run as {machine}, but /proc/cpuinfo is of {other}")
        if sysroot.live and vector is not None and vector.platform is None:
            evidence.append("AT_PLATFORM is null, which a Linux kernel on Power sets")
        sources.update(emulated="uname, cpuinfo", emulator="uname, cpuinfo")
        return EmulationFacts(True, "qemu-user", tuple(evidence), sources)
    if hypervisor == "QEMU TCG":
        evidence.append("a QEMU pseries machine without the node that KVM leaves in the device tree")
        sources.update(emulated="device-tree:hypervisor", emulator="device-tree:hypervisor")
        return EmulationFacts(True, "QEMU TCG", tuple(evidence), sources)
    if info.kind == "x86" and "QEMU TCG" in (info.model_name or ""):
        evidence.append(f"the processor calls itself {info.model_name}")
        sources.update(emulated="cpuinfo:model name", emulator="cpuinfo:model name")
        return EmulationFacts(True, "QEMU TCG", tuple(evidence), sources)
    if hypervisor is None or info.kind is None:
        return EmulationFacts()
    sources["emulated"] = "cpuinfo, hypervisor"
    return EmulationFacts(False, None, (), sources)
