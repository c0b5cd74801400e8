"""All facts of one machine, collector by collector."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import InputError
from harness.platform import (
    affinity,
    auxv,
    caches,
    cpu,
    crosscheck,
    emulation,
    energy,
    kernel,
    limits,
    load,
    lpar,
    machine,
    memory,
    nodes,
    software,
    topology,
)
from harness.platform.cpuinfo import CpuInfo, parse_cpuinfo
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import CacheFacts, CpuFacts, CrossCheck, Facts, KernelFacts, Topology
from harness.platform.sysroot import SysRoot


def probe(sysroot: SysRoot, *, cross_checked: bool = True) -> Facts:
    """Everything that can be known below ``sysroot``; what cannot is ``None``.

    Software and the second readings of other tools are of the live machine only.

    Args:
        sysroot: the machine.
        cross_checked: whether other tools are asked too, which takes half a second.

    Raises:
        InputError: the prefix is not a directory with ``proc`` or ``sys`` in it.
    """
    laid_out = _read(sysroot)
    return Facts(
        sysroot=sysroot.name,
        cpu=laid_out.processor,
        topology=laid_out.topology,
        caches=laid_out.caches,
        memory=memory.collect(sysroot, laid_out.vector),
        kernel=laid_out.kernel,
        limits=limits.collect(sysroot),
        lpar=lpar.collect(sysroot, laid_out.tree),
        machine=machine.collect(lpar.read(sysroot), laid_out.own, laid_out.tree),
        energy=energy.collect(sysroot),
        emulation=emulation.collect(sysroot, laid_out.machine, laid_out.info, laid_out.vector, laid_out.kernel),
        load=load.collect(sysroot),
        software=software.collect(sysroot),
        crosscheck=crosscheck.collect(sysroot, laid_out.topology, laid_out.processor)
        if cross_checked
        else CrossCheck(),
    )


def read_topology(sysroot: SysRoot) -> Topology:
    """Cores, threads and NUMA nodes alone: no other tool is asked and no library looked at.

    Raises:
        InputError: the prefix is not a directory with ``proc`` or ``sys`` in it.
    """
    return _read(sysroot).topology


@dataclass(frozen=True)
class _Reading:
    """The processor and the topology, and what they were read from.

    Attributes:
        machine: its name as programs see it (``uname -m``).
        info: parsed ``/proc/cpuinfo``.
        own: the same, where it is not that of an emulator's host.
    """

    machine: str | None
    info: CpuInfo
    own: CpuInfo
    vector: auxv.AuxVector | None
    tree: DeviceTree
    processor: CpuFacts
    caches: CacheFacts
    kernel: KernelFacts
    topology: Topology


def _read(sysroot: SysRoot) -> _Reading:
    if not (sysroot.list_dir("proc") or sysroot.list_dir("sys")):
        raise InputError(
            f"{sysroot.path}: not a directory with proc or sys in it.",
            remedy="Give the top of a stored tree, the directory that stands for /.",
        )
    info = parse_cpuinfo(sysroot.read_text("proc/cpuinfo"))
    vector = auxv.read(sysroot)
    tree = DeviceTree(sysroot)
    named = cpu.architecture(sysroot, info, vector)
    power = cpu.is_power(named[0])
    own = info if power == (info.kind == "power") else CpuInfo(processors=info.processors)
    processor = cpu.collect(sysroot, named, own, vector, tree)
    sets = topology.cpu_sets(sysroot, own, tree)
    shared = caches.collect(sysroot, sets.online, tree)
    core = kernel.collect(sysroot, info, tree)
    layout = topology.collect(
        sysroot,
        sets,
        own,
        shared,
        nodes.collect(sysroot, sets.online),
        power=power,
        machine_threads=cpu.machine_threads(processor, core.hypervisor),
        has_halves=cpu.has_halves(processor),
    )
    moved = affinity.with_moves(layout, sysroot, tree)
    return _Reading(named[0], info, own, vector, tree, cpu.consistent(processor, layout), shared, core, moved)
