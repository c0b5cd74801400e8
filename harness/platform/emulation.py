"""Whether the instructions are emulated: times taken under an emulator say nothing about the machine."""

from __future__ import annotations

from harness.platform.auxv import AuxVector
from harness.platform.cpu import is_power
from harness.platform.cpuinfo import CpuInfo
from harness.platform.facts import EmulationFacts, KernelFacts
from harness.platform.kernel import EMULATORS, UNTOLD_QEMU
from harness.platform.sysroot import SysRoot

_X86_NAMES = (  # beginnings of /proc/cpuinfo's "model name" -> emulator
    ("QEMU TCG", "QEMU TCG"),
    ("VirtualApple", "Rosetta"),
    ("Box64", "Box64"),
    ("Fake M5", "gem5"),
)


def collect(
    sysroot: SysRoot, machine: str | None, info: CpuInfo, vector: AuxVector | None, kernel: KernelFacts
) -> EmulationFacts:
    """Evidence is listed sign by sign; ``emulated`` is ``None`` when nothing tells either way.

    Args:
        sysroot: where the rest was read.
        machine: machine name as programs see it (``uname -m``).
        info: parsed ``/proc/cpuinfo``, which user-mode QEMU passes through from its host.
        vector: auxiliary vector; user-mode QEMU leaves AT_PLATFORM null for Power.
        kernel: the platform and the hypervisor found.
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
    if kernel.hypervisor in EMULATORS:
        bare = kernel.platform == "PowerNV"
        evidence.append(
            f"a bare-metal machine that {kernel.hypervisor} imitates"
            if bare
            else "a QEMU pseries machine without the node that KVM leaves in the device tree"
        )
        source = kernel.sources.get("hypervisor", "") if bare else "device-tree:hypervisor"
        return EmulationFacts(True, kernel.hypervisor, tuple(evidence), dict.fromkeys(("emulated", "emulator"), source))
    for beginning, emulator in _X86_NAMES if info.kind == "x86" else ():
        if (info.model_name or "").startswith(beginning):
            evidence.append(f"the processor calls itself {info.model_name}")
            sources.update(emulated="cpuinfo:model name", emulator="cpuinfo:model name")
            return EmulationFacts(True, emulator, tuple(evidence), sources)
    if kernel.hypervisor == UNTOLD_QEMU:
        return EmulationFacts(None, None, ("a QEMU machine whose clock sources lack kvm-clock, so perhaps no KVM",))
    if kernel.hypervisor is None or info.kind is None:
        return EmulationFacts()
    sources["emulated"] = "cpuinfo, hypervisor"
    return EmulationFacts(False, None, (), sources)
