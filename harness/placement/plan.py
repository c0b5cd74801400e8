"""Which CPUs and which memory a run gets, from sibling lists and NUMA nodes only: a pure choice, nothing is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.errors import InputError
from harness.placement.model import MemoryBinding, Placement, process_environment
from harness.platform.facts import Core, LimitFacts, Topology
from harness.platform.parse import format_cpulist
from harness.platform.usable import HALVED_THREADS, NO_LIMITS, Usable, memory_near, room, usable
from harness.wording import cpu_time, plural


def plan(
    topology: Topology,
    *,
    cores: int,
    threads_per_core: int,
    node: int | None = None,
    limits: LimitFacts = NO_LIMITS,
    memory_bytes: int = 0,
) -> Placement:
    """Choose CPUs for ``cores`` cores with ``threads_per_core`` threads each, all of one NUMA node.

    Threads of a core that has halves go to the halves in turn: two threads of an SMT8 core are one on each half,
    which is what reaches all of its matrix engines.

    Args:
        topology: the machine.
        cores: number of distinct cores.
        threads_per_core: threads on each, of those that are online.
        node: the node to use; by default, of those that have enough cores, the one with most memory available.
        limits: what this process may use; CPUs and memory outside are never chosen.
        memory_bytes: what the work needs: binding is strict, so the nodes bound to must have room for it.

    Raises:
        InputError: the request cannot be honoured; the message says what there is.
    """
    if cores < 1 or threads_per_core < 1:
        raise InputError("--cores and --threads-per-core must be at least 1.")
    if not topology.cores:
        raise InputError(
            "Which CPUs share a core is not known here, so none can be chosen.",
            remedy="See `lparbench probe`: thread siblings come from /sys/devices/system/cpu/cpu*/topology.",
        )
    part = usable(topology, limits)
    if node is not None:
        _check_node(topology, part, node)
    chosen_node, chosen = _choose(topology, part, cores, threads_per_core, node, memory_bytes)
    memory_nodes = memory_near(part, chosen_node)
    return Placement(
        cpus=chosen,
        node=chosen_node,
        nodes=() if chosen_node is None else (chosen_node,),
        memory_nodes=memory_nodes,
        memory_policy=MemoryBinding.to(memory_nodes),
        threads=len(chosen),
        threads_per_core=threads_per_core,
        cores=cores,
        env=process_environment(chosen),
        notes=(
            *_memory_notes(topology, chosen_node, memory_nodes),
            *_half_notes(part, chosen),
            *_quota_notes(limits, len(chosen)),
        ),
    )


def plan_apart(topology: Topology, placement: Placement, *, limits: LimitFacts = NO_LIMITS) -> Placement:
    """One thread on a core that ``placement`` does not touch, on its node where that has one: for what loads a server.

    Raises:
        InputError: every core is taken.
    """
    part = usable(topology, limits)
    free = [core for core in part.cores if not set(core.cpus) & set(placement.cpus)]
    if not free:
        raise InputError(
            f"The generator of HTTP load needs a core of its own; the server has all {len(part.cores)}.",
            remedy="Use fewer --cores, or leave out the http scenario.",
        )
    near = [core for core in free if core.node == placement.node] or free
    rest = replace(limits, allowed_cpus=tuple(sorted(cpu for core in near for cpu in core.cpus)))
    return plan(topology, cores=1, threads_per_core=1, limits=rest)


def _preferred(core: Core) -> list[int]:
    """The core's threads, halves in turn; where halves are not known, in the order of their numbers."""
    halves = core.halves or (core.cpus,)
    ranked = [(rank, index, cpu) for index, half in enumerate(halves) for rank, cpu in enumerate(half)]
    return [cpu for _, _, cpu in sorted(ranked)]


def _pick(cores: Sequence[Core], number: int, threads_per_core: int) -> tuple[int, ...] | None:
    """CPUs of the first cores that have enough threads; ``None`` when there are too few such cores."""
    fitting = [_preferred(core)[:threads_per_core] for core in cores if len(core.cpus) >= threads_per_core]
    if len(fitting) < number:
        return None
    return tuple(cpu for group in fitting[:number] for cpu in group)


def _choose(
    topology: Topology, part: Usable, cores: int, threads_per_core: int, only: int | None, memory_bytes: int
) -> tuple[int | None, tuple[int, ...]]:
    """The node with most memory available of those that can honour the request, and its CPUs; or just node ``only``."""
    fitting: list[tuple[int, int, int | None, tuple[int, ...]]] = []
    for order, node_id in enumerate(_nodes_with_cores(part)):
        picked = _pick(part.cores_of(node_id), cores, threads_per_core) if only in (None, node_id) else None
        if picked is not None:
            fitting.append((-_available(part, node_id), order, node_id, picked))
    who = "No NUMA node can" if only is None else f"Node {only} cannot"
    if not fitting:
        asked = f"{plural(cores, 'core')} with {plural(threads_per_core, 'usable thread')} each"
        raise InputError(f"{who} give {asked}.", remedy=_offer(topology, part, only))
    rooms = {entry[2]: room(part, memory_near(part, entry[2])) for entry in fitting}
    roomy = [entry for entry in fitting if (free := rooms[entry[2]]) is None or free >= memory_bytes]
    if not roomy:
        there = "; ".join(f"node {node_id}: {_gib(free)}" for node_id, free in rooms.items() if free is not None)
        raise InputError(
            f"{who} give {_gib(memory_bytes)} of memory to bound processes.",
            remedy=f"Available with these cores: {there}. Or run unbound, with memory of several nodes.",
        )
    _, _, node_id, chosen = min(roomy)
    return node_id, chosen


def _gib(amount: int) -> str:
    return f"{amount / 2**30:.3g} GiB"


def _nodes_with_cores(part: Usable) -> list[int | None]:
    return sorted({core.node for core in part.cores}, key=lambda node: -1 if node is None else node)


def _available(part: Usable, node_id: int | None) -> int:
    node = part.node(node_id) if node_id is not None else None
    if node is None:
        return 0
    return (node.memory_bytes or 0) if node.memory_available_bytes is None else node.memory_available_bytes


def _check_node(topology: Topology, part: Usable, node: int) -> None:
    known = topology.node(node)
    if known is None:
        ids = format_cpulist(tuple(item.id for item in topology.nodes)) or "none"
        raise InputError(f"There is no NUMA node {node}.", remedy=f"Nodes here: {ids}.")
    if not known.cpus:
        with_cpus = format_cpulist(tuple(item.id for item in part.nodes if item.cpus)) or "none"
        raise InputError(f"Node {node} has no CPUs online.", remedy=f"Nodes with CPUs: {with_cpus}.")
    if not part.cores_of(node):
        raise InputError(f"This process may use no CPU of node {node}.", remedy=_offer(topology, part, None))


def _memory_notes(topology: Topology, node_id: int | None, memory_nodes: tuple[int, ...]) -> tuple[str, ...]:
    """What is to be said when memory does not come from the node itself."""
    node = topology.node(node_id) if node_id is not None else None
    if node is not None and node.id in memory_nodes and node.memory_bytes is None:
        return (f"How much memory node {node.id} has is not known here; binding to it may fail.",)
    if node is None or node.id in memory_nodes:
        return ()
    reason = f"Node {node.id} has no memory"
    if node.memory_bytes:
        reason = f"This process may take no memory of node {node.id}"
    if not memory_nodes:
        return (f"{reason}, and no other node is known to have some.",)
    distance = (node.distances or {}).get(memory_nodes[0])
    away = f" at distance {distance} (10 is local)" if distance is not None else ""
    which = "node" if len(memory_nodes) == 1 else "nodes"
    return (f"{reason}; it is taken from {which} {format_cpulist(memory_nodes)}{away}.",)


def _half_notes(part: Usable, chosen: Sequence[int]) -> tuple[str, ...]:
    """A word on cores whose halves get different numbers of threads."""
    for core in part.cores:
        counts = [len({*half} & {*chosen}) for half in core.halves or ()]
        if sum(counts) > 1 and len(set(counts)) > 1:
            shares = " and ".join(str(count) for count in counts)
            return (
                f"The halves of a core get {shares} threads, so that the fuller half sets the pace; an even number of "
                "threads per core fills both alike.",
            )
        halved = part.smt.max == HALVED_THREADS and len({cpu % 2 for cpu in core.cpus}) == 1
        if halved and len(counts) == 1 and counts[0] > 1:
            cpus = format_cpulist(tuple(cpu for cpu in core.cpus if cpu in chosen))
            return (f"CPUs {cpus} are on one half of their core; no thread of the other half may be used.",)
    return ()


def _quota_notes(limits: LimitFacts, threads: int) -> tuple[str, ...]:
    quota = limits.cpu_quota_cores
    if quota is None or threads <= quota:
        return ()
    most = max(1, int(quota))
    busy = "1 busy thread uses it up and pauses" if threads == 1 else f"{threads} busy threads use it up and pause"
    return (
        f"A control group allows {cpu_time(quota)}: {busy} for the rest of each period. Use at most "
        f"{plural(most, 'thread')}.",
    )


def _offer(topology: Topology, part: Usable, node: int | None) -> str:
    """What there is: cores by usable threads, of one node or of all."""
    sentences: list[str] = []
    for node_id in _nodes_with_cores(part):
        if node is not None and node_id != node:
            continue
        by_threads = Counter(len(core.cpus) for core in part.cores_of(node_id))
        parts = [
            f"{plural(count, 'core')} with {plural(threads, 'thread')}" for threads, count in sorted(by_threads.items())
        ]
        sentences.append(f"{'The machine' if node_id is None else f'Node {node_id}'} has {' and '.join(parts)}.")
    if not sentences:
        return "This process may use none of the CPUs that are online."
    hidden = len(topology.cpus_online) - len(part.cpus_online)
    if node is None and hidden:
        sentences.append(f"{plural(hidden, 'CPU')} online may not be used by this process.")
    return " ".join(sentences)
