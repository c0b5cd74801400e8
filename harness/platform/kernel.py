"""The kernel, and what it runs on: PowerVM, KVM, bare metal, or an x86 hypervisor."""

from __future__ import annotations

import os

from harness.platform import parse
from harness.platform.cpuinfo import CpuInfo
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import KernelFacts
from harness.platform.gather import Gathered
from harness.platform.pasted import HYPERVISOR
from harness.platform.sysroot import SysRoot

TCG_CLOCK_HZ = 1e9  # QEMU's pseries machine tells this clock unless KVM gives it the host's (hw/ppc/spapr.c)

# Boot parameters that bear on measurements; the others are not kept, for a command line can hold secrets.
_PARAMETERS = frozenset(
    (
        "default_hugepagesz",
        "disable_radix",
        "hugepages",
        "hugepagesz",
        "idle",
        "intel_pstate",
        "irqaffinity",
        "isolcpus",
        "maxcpus",
        "mem",
        "mitigations",
        "nohz",
        "nohz_full",
        "noradix",
        "nosmt",
        "nospectre_v1",
        "nospectre_v2",
        "no_stf_barrier",
        "nr_cpus",
        "numa",
        "numa_balancing",
        "powersave",
        "ppc_tm",
        "processor.max_cstate",
        "rcu_nocbs",
        "smt-enabled",
        "transparent_hugepage",
        "xmon",
    )
)

# Node or maker in the device tree of a simulated bare-metal machine (skiboot, core/chip.c)
_POWERNV_EMULATORS = {"qemu": "QEMU TCG", "mambo": "IBM Mambo", "awan": "IBM Awan", "simics": "Simics"}
EMULATORS = frozenset(_POWERNV_EMULATORS.values())

UNTOLD_QEMU = "QEMU"  # with KVM that hides its clock, or without KVM

# /sys/class/dmi/id/sys_vendor or product_name of virtual machines
_DMI = (
    ("KVM", "KVM"),
    ("QEMU", "KVM"),
    ("Amazon EC2", "KVM"),
    ("Google", "KVM"),
    ("VMware", "VMware"),
    ("Microsoft Corporation", "Hyper-V"),
    ("Xen", "Xen"),
)


def collect(sysroot: SysRoot, info: CpuInfo, tree: DeviceTree) -> KernelFacts:
    """Release and hypervisor; the release of a stored tree is the one stored in it."""
    gathered = Gathered()
    version = (sysroot.read_text("proc/version") or "").split()
    release = gathered.first(
        "release",
        (os.uname().release if sysroot.live else None, "uname"),
        (sysroot.read_text("proc/sys/kernel/osrelease") or None, "procfs:sys/kernel/osrelease"),
        (version[2] if version[:2] == ["Linux", "version"] and len(version) > 2 else None, "procfs:version"),
    )
    platform, hypervisor = _platform(sysroot, info, tree, gathered)
    return KernelFacts(
        release=release,
        platform=platform,
        hypervisor=hypervisor,
        parameters=gathered.note("parameters", _parameters(sysroot.read_text("proc/cmdline")), "procfs:cmdline"),
        isolated_cpus=gathered.note(
            "isolated_cpus",
            parse.cpu_list(sysroot.read_text("sys/devices/system/cpu/isolated")),
            "sysfs:devices/system/cpu/isolated",
        ),
        sources=gathered.sources,
    )


def _parameters(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(word for word in text.split() if word.partition("=")[0] in _PARAMETERS)


def _platform(sysroot: SysRoot, info: CpuInfo, tree: DeviceTree, gathered: Gathered) -> tuple[str | None, str | None]:
    named, where = (sysroot.read_text(HYPERVISOR) or "").partition("\t")[::2]
    if info.kind == "x86":
        hypervisor, source = _x86_hypervisor(sysroot, info)
        if named and hypervisor in (None, "other"):
            hypervisor, source = named, where
        return gathered.note("platform", "x86", "cpuinfo"), gathered.note("hypervisor", hypervisor, source)
    compatible = tree.strings("compatible")
    if info.platform == "PowerNV" or "ibm,powernv" in compatible:
        source = "cpuinfo:platform" if info.platform == "PowerNV" else "device-tree:compatible"
        emulator = _powernv_emulator(info, tree, compatible)
        hypervisor = gathered.note("hypervisor", *(emulator or ("bare metal", source)))
        return gathered.note("platform", "PowerNV", source), hypervisor
    platform = info.platform or ("pSeries" if tree.text("device_type") == "chrp" else None)
    gathered.note("platform", platform, "cpuinfo:platform" if info.platform else "device-tree:device_type")
    hypervisor, source = _power_hypervisor(sysroot, info, tree, compatible)
    if named and hypervisor is None:
        hypervisor, source = named, where
    return platform, gathered.note("hypervisor", hypervisor, source)


def _powernv_emulator(info: CpuInfo, tree: DeviceTree, compatible: tuple[str, ...]) -> tuple[str, str] | None:
    """The program that plays bare metal, and where that was read; QEMU's powernv machines know no KVM."""
    if "emulated by qemu" in " ".join((info.machine or "", info.model or "")):
        return "QEMU TCG", "cpuinfo:machine"
    if "emulated by qemu" in (tree.text("model") or ""):
        return "QEMU TCG", "device-tree:model"
    for mark, emulator in _POWERNV_EMULATORS.items():
        if any(name.startswith((f"{mark},", f"ibm,{mark}")) for name in compatible):
            return emulator, "device-tree:compatible"
        if tree.exists(mark):
            return emulator, f"device-tree:{mark}"
    return None


def _power_hypervisor(
    sysroot: SysRoot, info: CpuInfo, tree: DeviceTree, compatible: tuple[str, ...]
) -> tuple[str | None, str]:
    if "linux,kvm" in tree.strings("hypervisor/compatible"):
        return "KVM", "device-tree:hypervisor/compatible"
    if "emulated by qemu" in (info.machine or info.model or "") or "qemu,pseries" in compatible:
        if emulates_pseries(tree):
            return "QEMU TCG", "device-tree:hypervisor"
        if info.clock_hz == TCG_CLOCK_HZ:
            return "QEMU TCG", "cpuinfo:clock"
        return "KVM", "cpuinfo:machine"
    model = tree.text("model") or info.model or (info.machine or "").removeprefix("CHRP ")
    if model.startswith("IBM,") and info.platform in (None, "pSeries"):
        return "PowerVM", "device-tree:model" if tree.text("model") else "cpuinfo:machine"
    if parse.key_values(sysroot.read_text("proc/ppc64/lparcfg"), "=").get("system_type", "").startswith("IBM,"):
        return "PowerVM", "lparcfg:system_type"
    return None, ""


def emulates_pseries(tree: DeviceTree) -> bool:
    """Whether QEMU's pseries machine runs without KVM, which would have left its node in a whole tree.

    A part of a tree, saved by some tool, proves nothing.
    """
    return tree.exists("chosen") and "linux,kvm" not in tree.strings("hypervisor/compatible")


def _x86_hypervisor(sysroot: SysRoot, info: CpuInfo) -> tuple[str | None, str]:
    if info.flags is None:
        return None, ""
    if "hypervisor" not in info.flags:
        return "bare metal", "cpuinfo:flags"
    if sysroot.read_text("sys/hypervisor/type") == "xen":
        return "Xen", "sysfs:hypervisor/type"
    clocks = (sysroot.read_text("sys/devices/system/clocksource/clocksource0/available_clocksource") or "").split()
    if "kvm-clock" in clocks:
        return "KVM", "sysfs:devices/system/clocksource"
    if any(clock.startswith("hyperv") for clock in clocks):
        return "Hyper-V", "sysfs:devices/system/clocksource"
    for name in ("sys_vendor", "product_name"):
        text = sysroot.read_text(f"sys/class/dmi/id/{name}") or ""
        for prefix, hypervisor in _DMI:
            if text.startswith(prefix):
                imitated = prefix == "QEMU" and clocks  # KVM's guests are offered its clock, those of TCG are not
                return UNTOLD_QEMU if imitated else hypervisor, f"sysfs:class/dmi/id/{name}"
    return "other", "cpuinfo:flags"
