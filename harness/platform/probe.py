"""All facts of one machine, collector by collector."""

from __future__ import annotations

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
from harness.platform.facts import CrossCheck, Facts
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
    return Facts(
        sysroot=sysroot.name,
        cpu=processor,
        topology=affinity.with_moves(layout, sysroot, tree),
        caches=shared,
        memory=memory.collect(sysroot, vector),
        kernel=core,
        limits=limits.collect(sysroot),
        lpar=lpar.collect(sysroot, tree),
        machine=machine.collect(lpar.read(sysroot), own, tree),
        energy=energy.collect(sysroot),
        emulation=emulation.collect(sysroot, named[0], info, vector, core),
        load=load.collect(sysroot),
        software=software.collect(sysroot),
        crosscheck=crosscheck.collect(sysroot, layout, processor) if cross_checked else CrossCheck(),
    )
