"""The part of a machine that a process may use: its topology within affinity, cpusets and quota."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.platform.facts import Core, LimitFacts, Smt, Topology
from harness.platform.nodes import Node

NO_LIMITS = LimitFacts()
HALVED_THREADS = 8  # of a core of two halves, where it is one of POWER9 or later
_ROOM = 1 / 8  # of the free memory of the node that has most: with less, a node is one to avoid


@dataclass(frozen=True)
class Usable(Topology):
    """A topology without the CPUs and the memory that a process may not use.

    A node whose memory is withheld has none here; ``smt`` counts the threads online on the cores that are left,
    those of them that may not be used included. Limits that are not known withhold nothing.

    Attributes:
        whole: every CPU online and every node's memory may be used, from outside any container.
        cpu_time: CPUs' worth of time: the quota, where that is less than the CPUs.
        best_node: of the nodes with CPUs and memory, the one with most cores; None where no node has both. One whose
            memory is all but taken, as by huge pages, only where the others are no better.
        best_cpus: CPUs to keep to: those of ``best_node``, or else of the node with most cores.
        best_cores: number of cores ``best_cpus`` are on.
        run_threads: threads on each of ``run_cores`` to start from: one per half, as far as they may be used.
        run_cores: cores of ``best_cpus`` to use with so many threads, within ``cpu_time``.
        memory_nodes: where memory for ``best_cpus`` is to come from, see :func:`memory_near`.
        pin: of ``best_cpus`` the first on each half of a core, no more than ``cpu_time``; where halves are not known
            the first two of a core with eight threads, which are on two halves if it has them.
    """

    whole: bool = True
    cpu_time: float | None = None
    best_node: int | None = None
    best_cpus: tuple[int, ...] = ()
    best_cores: int = 0
    run_threads: int = 1
    run_cores: int = 0
    memory_nodes: tuple[int, ...] = ()
    pin: tuple[int, ...] = ()


def usable(topology: Topology, limits: LimitFacts = NO_LIMITS) -> Usable:
    """What of ``topology`` a process with these ``limits`` may use."""
    allowed = limits.cpuset_cpus if limits.allowed_cpus is None else limits.allowed_cpus
    cpus = tuple(cpu for cpu in topology.cpus_online if allowed is None or cpu in frozenset(allowed))
    cores = tuple(core for core in (_cut(core, frozenset(cpus)) for core in topology.cores) if core.cpus)
    withheld = _withheld(topology, limits)
    nodes = tuple(_cut_node(node, frozenset(cpus), withheld) for node in topology.nodes)
    kept = {core.id for core in cores}
    whole = cpus == topology.cpus_online and not withheld
    part = Usable(
        cpus_online=cpus,
        cpus_present=topology.cpus_present,
        cores=cores,
        nodes=tuple(node for node in nodes if node.cpus or node.memory_bytes != 0),
        smt=_smt(topology.smt, [len(core.cpus) for core in topology.cores if core.id in kept]),
        sources=_sources(topology, NO_LIMITS if whole else limits),
        whole=whole and limits.container in (None, "none"),
        cpu_time=min(float(len(cpus)), limits.cpu_quota_cores or float(len(cpus))) if cpus else None,
    )
    return _with_best(part)


def memory_near(topology: Topology, node_id: int | None) -> tuple[int, ...]:
    """Where memory for a node's CPUs comes from: the node, or where it has none, all that are nearest and have some."""
    node = topology.node(node_id) if node_id is not None else None
    if node is None:
        return ()
    if node.memory_bytes != 0:
        return (node.id,)
    distances = {other.id: (node.distances or {}).get(other.id, 1 << 30) for other in topology.nodes}
    others = [other.id for other in topology.nodes if other.memory_bytes]
    nearest = min((distances[other] for other in others), default=0)
    return tuple(other for other in others if distances[other] == nearest)


def room(topology: Topology, memory_nodes: Sequence[int]) -> int | None:
    """Bytes that processes bound to these nodes can still be given; None where it is not known."""
    amounts = [node.memory_available_bytes for node in topology.nodes if node.id in memory_nodes]
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if amounts and len(known) == len(amounts) else None


def _withheld(topology: Topology, limits: LimitFacts) -> frozenset[int]:
    """Nodes with memory that may not be used; a list without any of them is of another machine and says nothing."""
    allowed = limits.cpuset_mems if limits.allowed_mems is None else limits.allowed_mems
    with_memory = frozenset(node.id for node in topology.nodes if node.memory_bytes)
    return with_memory.difference(allowed or ()) if with_memory.intersection(allowed or ()) else frozenset()


def _cut(core: Core, cpus: frozenset[int]) -> Core:
    def within(some: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(cpu for cpu in some if cpu in cpus)

    halves = None if core.halves is None else tuple(half for half in map(within, core.halves) if half)
    return replace(core, cpus=within(core.cpus), halves=halves)


def _cut_node(node: Node, cpus: frozenset[int], withheld: frozenset[int]) -> Node:
    left = replace(node, cpus=tuple(cpu for cpu in node.cpus if cpu in cpus))
    return replace(left, memory_bytes=0, memory_free_bytes=0, memory_available_bytes=0) if node.id in withheld else left


def _smt(smt: Smt, threads: list[int]) -> Smt:
    counts = dict(sorted(Counter(threads).items()))
    return replace(
        smt,
        online=max(counts, default=None),
        mixed=len(counts) > 1 if counts else None,
        cores_by_threads=counts,
    )


def _with_best(part: Usable) -> Usable:
    free = {node.id: node.memory_available_bytes for node in part.nodes if node.cpus}
    most_free = max((amount for amount in free.values() if amount is not None), default=0)

    def rank(node: Node) -> tuple[bool, bool, int, int, int, int]:
        amount = free[node.id]
        return (
            node.memory_bytes != 0,
            amount is None or amount >= _ROOM * most_free,
            len(part.cores_of(node.id)),
            len(node.cpus),
            node.memory_bytes or 0,
            -node.id,
        )

    best = max((node for node in part.nodes if node.cpus), key=rank, default=None)
    cores = part.cores if best is None else part.cores_of(best.id)
    per_core = 2 if part.smt.max == HALVED_THREADS else 1
    firsts = [
        cpu
        for core in cores
        for cpu in (core.cpus[:per_core] if core.halves is None else [half[0] for half in core.halves])
    ]
    most = max(1, int(part.cpu_time or 1))
    threads = min([2, most, *(len(core.cpus if core.halves is None else core.halves) for core in cores)])
    best_node = best.id if best is not None and best.memory_bytes != 0 else None
    return replace(
        part,
        best_node=best_node,
        best_cpus=part.cpus_online if best is None else best.cpus,
        best_cores=len(cores),
        run_threads=threads,
        run_cores=min(len(cores), most // threads),
        memory_nodes=memory_near(part, None if best is None else best.id),
        pin=tuple(firsts[:most]),
    )


def _sources(topology: Topology, limits: LimitFacts) -> dict[str, str]:
    """Those of the topology, and for what is derived the places it rests on."""
    by = {name: limits.sources[name] for name in ("allowed_cpus", "allowed_mems") if name in limits.sources}
    sources = {name: "; ".join((source, *by.values())) for name, source in topology.sources.items()}
    derived = {"best_node": "nodes", "best_cpus": "nodes", "memory_nodes": "nodes", "pin": "cores"}
    sources.update({name: sources[rests] for name, rests in derived.items() if rests in sources})
    return sources
