"""The processor: generation, mode and usable instructions. Capability, silicon and name are three different facts."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from harness.platform import cpuinfo
from harness.platform.auxv import AT_HWCAP, AT_HWCAP2, AuxVector
from harness.platform.cpuinfo import CpuInfo
from harness.platform.devicetree import CpuNode, DeviceTree
from harness.platform.facts import CpuFacts, Topology
from harness.platform.gather import Gathered
from harness.platform.sysroot import SysRoot

_X86_FEATURES = (
    "sse2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
# The instruction-set level each generation brought: what a partition in that mode has, and what it cannot have.
_LEVELS = {"arch_2_07": 8, "arch_3_00": 9, "arch_3_1": 10, "mma": 10}


def is_power(architecture: str | None) -> bool:
    """Whether a uname machine name is a Power one."""
    return architecture is not None and architecture.startswith("ppc")


def architecture(sysroot: SysRoot, info: CpuInfo, vector: AuxVector | None) -> tuple[str | None, str]:
    """The machine name as ``uname -m`` gives it, and where it was read.

    A stored tree is never given the name of the machine that reads it. Where a Power tree does not tell its byte
    order the name is "ppc64".
    """
    if sysroot.live:
        return os.uname().machine, "uname"
    name = sysroot.read_text("proc/sys/kernel/arch")
    if name:
        return name, "procfs:sys/kernel/arch"
    for path in ("proc/sys/kernel/osrelease", "proc/version"):
        match = re.search(r"[._-](ppc64le|ppc64|x86_64)(?![A-Za-z0-9_])", sysroot.read_text(path) or "")
        if match:
            return match[1], path.replace("proc/", "procfs:", 1)
    if info.kind == "power" or (info.kind is None and DeviceTree(sysroot).cpus()):
        order = _byte_order(sysroot, vector)
        if info.is_32_bit:
            return "ppc", "cpuinfo"
        return ("ppc64le" if order == "little" else "ppc64"), "cpuinfo" if info.kind else "device-tree:cpus"
    if info.kind == "x86":
        return ("x86_64" if "lm" in (info.flags or ()) else "i686"), "cpuinfo:flags"
    return None, ""


def _byte_order(sysroot: SysRoot, vector: AuxVector | None) -> str | None:
    text = sysroot.read_text("sys/kernel/cpu_byteorder")
    if text in ("little", "big"):
        return text
    return None if vector is None else vector.byte_order


def machine_threads(processor: CpuFacts, hypervisor: str | None) -> int | None:
    """Threads that every core has where no hypervisor may give fewer: on bare metal and under PowerVM."""
    if processor.part_threads is None or hypervisor not in ("bare metal", "PowerVM"):
        return None
    return min(processor.part_threads, cpuinfo.mode_threads(processor.generation_mode) or processor.part_threads)


def has_halves(processor: CpuFacts) -> bool | None:
    """Whether a core is two halves, of its even and its odd threads, as eight-thread cores of POWER9 and later are.

    False: an older core, or none of Power. None: a part with four threads, or it is not known which one.
    """
    generation = processor.generation_hw or processor.generation_mode
    if generation not in ("POWER9", "POWER10", "POWER11"):
        return False
    return True if processor.part_threads == 8 else None


def consistent(processor: CpuFacts, topology: Topology) -> CpuFacts:
    """Without the part's threads where the kernel shows more on a core: an emulator makes its version register up."""
    part, core = processor.part_threads, topology.smt.max
    if part is None or core is None or part >= core:
        return processor
    sources = {key: source for key, source in processor.sources.items() if key != "part_threads"}
    return replace(processor, part_threads=None, sources=sources)


def collect(
    sysroot: SysRoot, machine: tuple[str | None, str], info: CpuInfo, vector: AuxVector | None, tree: DeviceTree
) -> CpuFacts:
    """The processor's facts.

    Args:
        sysroot: where to read.
        machine: result of :func:`architecture`.
        info: parsed ``/proc/cpuinfo``; passed over when it is that of another architecture (an emulator's host).
        vector: auxiliary vector of this process, or the one stored in the tree.
        tree: device tree.
    """
    name, source = machine
    if is_power(name):
        return _power(sysroot, name, source, info if info.kind == "power" else CpuInfo(), vector, tree)
    if name is not None and info.kind == "x86":
        return _x86(sysroot, name, source, info)
    gathered = Gathered()
    gathered.note("architecture", name, source)
    return CpuFacts(architecture=name, sources=gathered.sources)


def _power(
    sysroot: SysRoot, name: str | None, source: str, info: CpuInfo, vector: AuxVector | None, tree: DeviceTree
) -> CpuFacts:
    gathered = Gathered()
    gathered.note("architecture", name, source)
    node = next(iter(tree.cpus()), None)
    pvr = gathered.first(
        "pvr", (info.pvr, "cpuinfo:revision"), (node.pvr if node else None, "device-tree:cpus/*/cpu-version")
    )
    mode = _mode(gathered, info, vector, node)
    silicon = cpuinfo.generation_of_pvr(pvr)
    if silicon is None and "(architected)" not in (info.model_name or "(architected)"):
        silicon = mode  # a raw name is the silicon's own
    gathered.note("generation_hw", silicon, gathered.sources.get("pvr", "cpuinfo:cpu"))
    threads = gathered.note("part_threads", cpuinfo.part_threads(pvr), gathered.sources.get("pvr", ""))
    order = "little" if name == "ppc64le" else _byte_order(sysroot, vector)
    if name == "ppc64" and source not in ("cpuinfo", "device-tree:cpus"):
        order = "big"  # named by the kernel itself, which calls the other order ppc64le
    return CpuFacts(
        architecture=name,
        byte_order=gathered.note("byte_order", order, source if order and name == "ppc64le" else "sysfs, auxv"),
        vendor=gathered.note("vendor", "IBM" if silicon or mode else None, "cpuinfo:cpu"),
        model_name=gathered.note("model_name", info.model_name, "cpuinfo:cpu"),
        generation_hw=silicon,
        generation_mode=mode,
        pvr=pvr,
        part_threads=threads,
        clock_hz=gathered.first(
            "clock_hz",
            (info.clock_hz, "cpuinfo:clock"),
            (node.clock_hz if node else None, "device-tree:cpus/*/clock-frequency"),
        ),
        clock_max_hz=_clock_max(sysroot, gathered),
        timebase_hz=gathered.first(
            "timebase_hz",
            (info.timebase_hz, "cpuinfo:timebase"),
            (node.timebase_hz if node else None, "device-tree:cpus/*/timebase-frequency"),
        ),
        mmu=gathered.note("mmu", info.mmu, "cpuinfo:MMU"),
        at_platform=gathered.note("at_platform", vector.platform if vector else None, "auxv:AT_PLATFORM"),
        at_base_platform=gathered.note(
            "at_base_platform", vector.base_platform if vector else None, "auxv:AT_BASE_PLATFORM"
        ),
        hwcap=gathered.note("hwcap", vector.entries.get(AT_HWCAP) if vector else None, "auxv:AT_HWCAP"),
        hwcap2=gathered.note("hwcap2", vector.entries.get(AT_HWCAP2) if vector else None, "auxv:AT_HWCAP2"),
        isa=_power_isa(gathered, mode, info, vector, tree),
        sources=gathered.sources,
    )


def _mode(gathered: Gathered, info: CpuInfo, vector: AuxVector | None, node: CpuNode | None) -> str | None:
    return gathered.first(
        "generation_mode",
        (cpuinfo.generation_of_text(info.model_name), "cpuinfo:cpu"),
        (cpuinfo.generation_of_text(vector.platform if vector else None), "auxv:AT_PLATFORM"),
        (cpuinfo.generation_of_text(node.name if node else None), "device-tree:cpus/*"),
    )


def _power_isa(
    gathered: Gathered, mode: str | None, info: CpuInfo, vector: AuxVector | None, tree: DeviceTree
) -> dict[str, bool | None]:
    features: dict[str, bool | None] = dict.fromkeys(("altivec", "vsx", *_LEVELS), None)
    if vector is not None:
        bits = vector.power_features()
        features.update(bits)
        for name, value in bits.items():
            gathered.note(f"isa.{name}", value, "auxv:AT_HWCAP" if name in ("altivec", "vsx") else "auxv:AT_HWCAP2")
    if features["altivec"] is None and "altivec supported" in (info.model_name or ""):
        features["altivec"] = gathered.note("isa.altivec", True, "cpuinfo:cpu")
    if features["mma"] is None and tree.exists("cpus/ibm,powerpc-cpu-features/matrix-multiply-accumulate"):
        features["mma"] = gathered.note("isa.mma", True, "device-tree:cpus/ibm,powerpc-cpu-features")
    number = int(mode[5:]) if mode is not None and mode.startswith("POWER") else None
    for name, level in _LEVELS.items():
        if features[name] is None and number is not None and (number < level or name != "mma"):
            # The mode bounds the instruction set; having MMA is more than having its level, so that stays unknown.
            features[name] = gathered.note(f"isa.{name}", number >= level, f"the mode {mode}")
    return features


def _x86(sysroot: SysRoot, name: str, source: str, info: CpuInfo) -> CpuFacts:
    gathered = Gathered()
    flags = info.flags
    isa = {feature: None if flags is None else feature in flags for feature in _X86_FEATURES}
    gathered.note("isa", flags, "cpuinfo:flags")
    return CpuFacts(
        architecture=gathered.note("architecture", name, source),
        byte_order=gathered.note("byte_order", "little", source),
        vendor=gathered.note("vendor", info.vendor_id, "cpuinfo:vendor_id"),
        model_name=gathered.note("model_name", info.model_name, "cpuinfo:model name"),
        family=gathered.note("family", info.family, "cpuinfo:cpu family"),
        model=gathered.note("model", info.model_number, "cpuinfo:model"),
        clock_hz=gathered.note("clock_hz", info.clock_hz, "cpuinfo:cpu MHz"),
        clock_max_hz=_clock_max(sysroot, gathered),
        isa=isa,
        sources=gathered.sources,
    )


def _clock_max(sysroot: SysRoot, gathered: Gathered) -> float | None:
    for policy in sysroot.numbered("sys/devices/system/cpu/cpufreq", "policy"):
        path = f"devices/system/cpu/cpufreq/policy{policy}/cpuinfo_max_freq"
        kilohertz = sysroot.read_int(f"sys/{path}")
        if kilohertz is not None and kilohertz > 0:
            return gathered.note("clock_max_hz", kilohertz * 1e3, f"sysfs:{path}")
    return None
