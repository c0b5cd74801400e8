"""CPUs, cores and SMT from sysfs; nothing is derived from CPU numbers that a file tells."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.platform import parse
from harness.platform.cpuinfo import CpuInfo
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import CacheFacts, Core, Smt, Topology
from harness.platform.gather import Gathered
from harness.platform.nodes import Node
from harness.platform.sysroot import SysRoot

_CPUS = "sys/devices/system/cpu"
_HALF_THREADS = 4  # of the half of an eight-thread core, and of a whole core with four
_SIBLING_FILES = (  # newest kernels name them core_cpus, old ones have only the masks
    ("thread_siblings_list", parse.cpu_list),
    ("core_cpus_list", parse.cpu_list),
    ("thread_siblings", parse.cpu_mask),
    ("core_cpus", parse.cpu_mask),
)


@dataclass(frozen=True)
class CpuSets:
    """Which CPUs there are. ``firmware_cores`` are the cores of the device tree, by kernel CPU numbers."""

    online: tuple[int, ...]
    present: tuple[int, ...]
    firmware_cores: tuple[tuple[int, ...], ...]
    firmware_packages: tuple[int | None, ...]
    sources: dict[str, str]


def cpu_sets(sysroot: SysRoot, info: CpuInfo, tree: DeviceTree) -> CpuSets:
    """CPUs online and present, from the best place that tells."""
    gathered = Gathered()
    directories = sysroot.numbered(_CPUS, "cpu")
    cores, packages, booted = _firmware_cores(tree)
    online = gathered.first(
        "cpus_online",
        (_listed(sysroot, "online"), "sysfs:devices/system/cpu/online"),
        (_switched_on(sysroot, directories), "sysfs:devices/system/cpu/cpu*/online"),
        (info.processors or None, "cpuinfo:processor"),
        (booted or None, "device-tree:cpus"),
    )
    present = gathered.first(
        "cpus_present",
        (_listed(sysroot, "present"), "sysfs:devices/system/cpu/present"),
        (directories or None, "sysfs:devices/system/cpu/cpu*"),
        (tuple(cpu for core in cores for cpu in core) or None, "device-tree:cpus"),
    )
    online = online or ()
    return CpuSets(online, tuple(sorted({*online, *(present or ())})), cores, packages, gathered.sources)


def _listed(sysroot: SysRoot, name: str) -> tuple[int, ...] | None:
    return parse.cpu_list(sysroot.read_text(f"{_CPUS}/{name}")) or None


def _switched_on(sysroot: SysRoot, directories: tuple[int, ...]) -> tuple[int, ...] | None:
    """CPU directories whose ``online`` is 1 or missing, as it is for a CPU that cannot be switched off."""
    return tuple(cpu for cpu in directories if sysroot.read_text(f"{_CPUS}/cpu{cpu}/online") in (None, "1")) or None


def _firmware_cores(tree: DeviceTree) -> tuple[tuple[tuple[int, ...], ...], tuple[int | None, ...], tuple[int, ...]]:
    """Cores, their chips, and the CPUs the kernel would start; it numbers threads in the order of the nodes."""
    cores: list[tuple[int, ...]] = []
    packages: list[int | None] = []
    booted: list[int] = []
    number = 0
    for node in tree.cpus():
        numbers = tuple(range(number, number + len(node.threads)))
        number += len(node.threads)
        cores.append(numbers)
        packages.append(node.chip_id)
        if node.available:
            booted.extend(numbers)
    return tuple(cores), tuple(packages), tuple(booted)


def collect(
    sysroot: SysRoot,
    sets: CpuSets,
    info: CpuInfo,
    caches: CacheFacts,
    nodes: tuple[Node, ...],
    *,
    power: bool,
    machine_threads: int | None,
    has_halves: bool | None,
) -> Topology:
    """Cores with their threads, halves, nodes and chips.

    Args:
        sysroot: where to read.
        sets: result of :func:`cpu_sets`.
        info: parsed ``/proc/cpuinfo``; its core ids are the last resort on x86.
        caches: who shares the innermost cache.
        nodes: NUMA nodes.
        power: whether this is a Power machine, where the threads of a core have consecutive numbers.
        machine_threads: threads that every core has by silicon, mode and hypervisor; ``None`` in a guest, which may
            be given fewer.
        has_halves: whether cores are made of two halves, see :func:`harness.platform.cpu.has_halves`.
    """
    gathered = Gathered()
    gathered.sources.update(sets.sources)
    groups = _siblings(sysroot, sets, info, gathered)
    width = _threads_per_core(sets, groups, gathered, machine_threads) if power else None
    cores = _cores(sysroot, sets, groups, width, _innermost_sharing(caches, has_halves=has_halves), nodes, gathered)
    if nodes:
        gathered.note("nodes", nodes, "sysfs:devices/system/node")
    return Topology(
        cpus_online=sets.online,
        cpus_present=sets.present,
        cores=cores,
        nodes=nodes,
        smt=_smt(sysroot, cores, width, gathered, power=power),
        sources=gathered.sources,
    )


def _siblings(sysroot: SysRoot, sets: CpuSets, info: CpuInfo, gathered: Gathered) -> list[tuple[int, ...]]:
    """Online CPUs by core, in the order of the first CPU; a CPU whose siblings no place tells is in none."""
    online = frozenset(sets.online)
    fallback: dict[int, tuple[tuple[int, ...], str]] | None = None
    assigned: set[int] = set()
    unknown: list[int] = []
    groups: list[tuple[int, ...]] = []
    for cpu in sets.online:
        if cpu in assigned:
            continue
        siblings = _told_siblings(sysroot, cpu)
        if siblings is not None and cpu in siblings:
            gathered.sources.setdefault("cores", "sysfs:devices/system/cpu/cpu*/topology")
        else:
            if fallback is None:
                fallback = _fallback_groups(sysroot, sets, info)
            if cpu not in fallback:
                unknown.append(cpu)
                continue
            siblings, source = fallback[cpu]
            gathered.sources.setdefault("cores", source)
        group = tuple(sorted(other for other in siblings if other in online and other not in assigned))
        assigned.update(group)
        groups.append(group)
    if unknown:
        gathered.sources["unknown"] = f"thread siblings of CPUs {parse.format_cpulist(tuple(unknown))} are not known"
    return groups


def _told_siblings(sysroot: SysRoot, cpu: int) -> tuple[int, ...] | None:
    for name, parser in _SIBLING_FILES:
        siblings = parser(sysroot.read_text(f"{_CPUS}/cpu{cpu}/topology/{name}"))
        if siblings:
            return siblings
    return None


def _fallback_groups(sysroot: SysRoot, sets: CpuSets, info: CpuInfo) -> dict[int, tuple[tuple[int, ...], str]]:
    """Siblings where sysfs lists none: the device tree, then core ids of sysfs or of ``/proc/cpuinfo``."""
    groups: dict[int, tuple[tuple[int, ...], str]] = {}
    for key_source, keys in (
        ("sysfs:devices/system/cpu/cpu*/topology/core_id", _core_ids(sysroot, sets.online)),
        ("cpuinfo:core id", info.core_keys),
    ):
        by_key: dict[object, list[int]] = {}
        for cpu, key in keys.items():
            by_key.setdefault(key, []).append(cpu)
        for members in by_key.values():
            for cpu in members:
                groups.setdefault(cpu, (tuple(members), key_source))
    for core in sets.firmware_cores:
        for cpu in core:
            groups.setdefault(cpu, (core, "device-tree:cpus"))
    return groups


def _core_ids(sysroot: SysRoot, online: tuple[int, ...]) -> dict[int, tuple[int, int]]:
    keys: dict[int, tuple[int, int]] = {}
    for cpu in online:
        base = f"{_CPUS}/cpu{cpu}/topology"
        core, package = sysroot.read_int(f"{base}/core_id"), sysroot.read_int(f"{base}/physical_package_id")
        if core is not None and core >= 0 and package is not None:
            keys[cpu] = package, core
    return keys


def _threads_per_core(
    sets: CpuSets, groups: list[tuple[int, ...]], gathered: Gathered, machine_threads: int | None
) -> int | None:
    """Threads a Power core has, offline ones included; ``None`` where that is not certain.

    Firmware tells it in the device tree, which is not believed where a core shows more. Without one it follows from how
    the kernel numbers threads: those of a core are consecutive and aligned, so a core is no wider than the widest block
    that never holds two. That width is certain when some core shows all of it, or when it is what every core of such a
    machine has.
    """
    shown = max((len(group) for group in groups), default=1)
    firmware = Counter(len(core) for core in sets.firmware_cores)
    if firmware and firmware.most_common(1)[0][0] >= shown:
        width = firmware.most_common(1)[0][0]
        return gathered.note("smt.max", width, "device-tree:cpus/*/ibm,ppc-interrupt-server#s")
    if not groups:
        return None
    widest = _widest_block(groups, frozenset(sets.present), machine_threads)
    if widest is None or widest not in (machine_threads, shown):
        return None
    return gathered.note("smt.max", widest, "sysfs:devices/system/cpu/present and thread siblings")


def _widest_block(groups: list[tuple[int, ...]], present: frozenset[int], limit: int | None) -> int | None:
    for width in (8, 4, 2, 1):
        blocks = [group[0] // width for group in groups]
        if (
            (limit is None or width <= limit)
            and len(set(blocks)) == len(blocks)
            and all(group[-1] // width == block for group, block in zip(groups, blocks, strict=True))
            and all(cpu in present for block in blocks for cpu in range(block * width, (block + 1) * width))
        ):
            return width
    return None


def _cores(
    sysroot: SysRoot,
    sets: CpuSets,
    groups: list[tuple[int, ...]],
    width: int | None,
    half_of: dict[int, tuple[int, ...]],
    nodes: tuple[Node, ...],
    gathered: Gathered,
) -> tuple[Core, ...]:
    node_of: dict[int, int] = {}
    for node in nodes:
        for cpu in node.cpus:
            node_of.setdefault(cpu, node.id)
    package_of: dict[int, int | None] = {}
    if gathered.sources.get("cores") == "device-tree:cpus":
        package_of = dict(zip((core[0] for core in sets.firmware_cores), sets.firmware_packages, strict=True))
    present = frozenset(sets.present)
    if half_of:
        gathered.sources["halves"] = "sysfs:devices/system/cpu/cpu*/cache/index*/shared_cpu_*"
    cores: list[Core] = []
    for group in groups:
        first = group[0]
        base = f"{_CPUS}/cpu{first}/topology"
        package = sysroot.read_int(f"{base}/physical_package_id")
        die = sysroot.read_int(f"{base}/die_id")
        cores.append(
            Core(
                id=len(cores),
                kernel_id=sysroot.read_int(f"{base}/core_id"),
                node=node_of.get(first),
                package=package if package is not None and package >= 0 else package_of.get(first),
                die=die if die is not None and die >= 0 else None,
                cpus=group,
                cpus_present=_present_threads(group, width, present),
                halves=_halves(group, half_of),
            )
        )
    return tuple(cores)


def _present_threads(group: tuple[int, ...], width: int | None, present: frozenset[int]) -> tuple[int, ...]:
    """Threads of the core including offline ones; where numbering does not tell them, the online ones."""
    if width is None or group[0] // width != group[-1] // width:
        return group
    start = group[0] // width * width
    return tuple(cpu for cpu in range(start, start + width) if cpu in present)


def _innermost_sharing(caches: CacheFacts, *, has_halves: bool | None) -> dict[int, tuple[int, ...]]:
    """CPU -> the CPUs it shares its first data cache with, or the next cache out where that is not known.

    Kernels that know no thread groups show one cache for all threads of a core of two halves. Such a cache, of even
    and odd threads or of more than a half has, says nothing.
    """
    sharing: dict[int, tuple[int, ...]] = {}
    for cache in caches.caches:  # innermost first
        if cache.type != "Instruction":
            for members in cache.instances:
                for cpu in members:
                    sharing.setdefault(cpu, members)
    whole = {cpu for cpu, members in sharing.items() if has_halves is not False and _spans_halves(members, has_halves)}
    return {cpu: members for cpu, members in sharing.items() if cpu not in whole}


def _spans_halves(members: tuple[int, ...], has_halves: bool | None) -> bool:
    mixed = len({cpu % 2 for cpu in members}) > 1
    return len(members) > _HALF_THREADS or (mixed and has_halves is True)


def _halves(group: tuple[int, ...], half_of: dict[int, tuple[int, ...]]) -> tuple[tuple[int, ...], ...] | None:
    halves: list[tuple[int, ...]] = []
    for cpu in group:
        members = half_of.get(cpu)
        if members is None:
            return None
        half = tuple(other for other in group if other in members)
        if half not in halves:
            halves.append(half)
    return tuple(halves)


def _smt(sysroot: SysRoot, cores: tuple[Core, ...], width: int | None, gathered: Gathered, *, power: bool) -> Smt:
    control = gathered.note(
        "smt.control", sysroot.read_text(f"{_CPUS}/smt/control") or None, "sysfs:devices/system/cpu/smt/control"
    )
    counts = Counter(len(core.cpus) for core in cores)
    online = max(counts) if counts else None
    maximum = width
    if maximum is None and not power:
        # An x86 core shows its siblings only while they are online.
        hidden = control in ("off", "forceoff")
        maximum = gathered.note("smt.max", None if hidden else online, gathered.sources.get("cores", ""))
    return Smt(
        max=maximum,
        online=gathered.note("smt.online", online, gathered.sources.get("cores", "")),
        mixed=gathered.note("smt.mixed", len(counts) > 1 if counts else None, gathered.sources.get("cores", "")),
        cores_by_threads=dict(sorted(counts.items())),
        control=control,
        subcores_per_core=gathered.note(
            "smt.subcores_per_core",
            sysroot.read_int(f"{_CPUS}/subcores_per_core"),
            "sysfs:devices/system/cpu/subcores_per_core",
        ),
    )
