"""Which CPUs and which memory a run gets, from sibling lists and NUMA nodes only: a pure choice, nothing is applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import InputError
from harness.placement.model import Placement, thread_environment
from harness.platform.facts import Core, Topology
from harness.platform.nodes import Node
from harness.platform.parse import format_cpulist


def plan(
    topology: Topology,
    *,
    cores: int,
    threads_per_core: int,
    node: int | None = None,
    allowed: Sequence[int] | None = None,
) -> Placement:
    """Choose CPUs for ``cores`` cores with ``threads_per_core`` threads each, all of one NUMA node.

    Threads of a core that has halves go to the halves in turn: two threads of an SMT8 core are one on each half,
    which is what reaches all of its matrix engines.

    Args:
        topology: the machine.
        cores: number of distinct cores.
        threads_per_core: threads on each, of those that are online.
        node: the node to use; by default, of those that have enough cores, the one with the most free memory.
        allowed: CPUs this process may use; by default all that are online.

    Raises:
        InputError: the request cannot be honoured; the message says what there is.
    """
    if cores < 1 or threads_per_core < 1:
        raise InputError(f"Asked for {cores} cores with {threads_per_core} threads each; both must be at least 1.")
    if not topology.cores:
        raise InputError(
            "Which CPUs share a core is not known here, so none can be chosen.",
            remedy="See `lparbench probe`: thread siblings come from /sys/devices/system/cpu/cpu*/topology.",
        )
    usable = _usable(topology, allowed)
    if node is not None:
        _check_node(topology, node, usable)
    chosen_node, chosen = _choose(topology, usable, cores, threads_per_core, node)
    memory_nodes, notes = _memory_nodes(topology, chosen_node)
    return Placement(
        cpus=chosen,
        node=chosen_node,
        nodes=() if chosen_node is None else (chosen_node,),
        memory_nodes=memory_nodes,
        memory_policy=f"bind:{format_cpulist(memory_nodes)}" if memory_nodes else "default",
        threads=len(chosen),
        threads_per_core=threads_per_core,
        cores=cores,
        env=thread_environment(chosen),
        notes=notes,
    )


_Usable = dict["int | None", dict[int, tuple[int, ...]]]  # node -> core id -> usable CPUs, in order of preference


def _usable(topology: Topology, allowed: Sequence[int] | None) -> _Usable:
    online = frozenset(topology.cpus_online)
    may = online if allowed is None else online & frozenset(allowed)
    usable: _Usable = {}
    for core in topology.cores:
        cpus = tuple(cpu for cpu in _preferred(core) if cpu in may)
        if cpus:
            usable.setdefault(core.node, {})[core.id] = cpus
    return usable


def _preferred(core: Core) -> list[int]:
    """The core's threads, halves in turn; where halves are not known, in the order of their numbers."""
    halves = core.halves or (core.cpus,)
    ranked = [(rank, index, cpu) for index, half in enumerate(halves) for rank, cpu in enumerate(half)]
    return [cpu for _, _, cpu in sorted(ranked)]


def _pick(usable: Mapping[int, tuple[int, ...]], cores: int, threads_per_core: int) -> tuple[int, ...] | None:
    """CPUs of the first cores that have enough threads; ``None`` when there are too few such cores."""
    fitting = [cpus[:threads_per_core] for _, cpus in sorted(usable.items()) if len(cpus) >= threads_per_core]
    if len(fitting) < cores:
        return None
    return tuple(cpu for group in fitting[:cores] for cpu in group)


def _choose(
    topology: Topology, usable: _Usable, cores: int, threads_per_core: int, only: int | None
) -> tuple[int | None, tuple[int, ...]]:
    """The node with the most free memory of those that can honour the request, and its CPUs; or just node ``only``."""
    fitting: list[tuple[int, int, int | None, tuple[int, ...]]] = []
    for order, (node_id, by_core) in enumerate(_by_node(usable)):
        picked = _pick(by_core, cores, threads_per_core) if only in (None, node_id) else None
        if picked is not None:
            node = topology.node(node_id) if node_id is not None else None
            fitting.append((-_free(node), order, node_id, picked))
    if not fitting:
        asked = f"{_count(cores, 'core')} with {_count(threads_per_core, 'usable thread')} each"
        who = "No NUMA node can" if only is None else f"Node {only} cannot"
        raise InputError(f"{who} give {asked}.", remedy=_offer(topology, usable, only))
    _, _, node_id, chosen = min(fitting)
    return node_id, chosen


def _by_node(usable: _Usable) -> list[tuple[int | None, dict[int, tuple[int, ...]]]]:
    return sorted(usable.items(), key=lambda item: -1 if item[0] is None else item[0])


def _free(node: Node | None) -> int:
    if node is None or _has_no_memory(node):
        return 0
    return node.memory_free_bytes or node.memory_bytes or 0


def _has_no_memory(node: Node) -> bool:
    return node.memory_bytes == 0


def _check_node(topology: Topology, node: int, usable: _Usable) -> None:
    known = topology.node(node)
    if known is None:
        ids = format_cpulist(tuple(item.id for item in topology.nodes)) or "none"
        raise InputError(f"There is no NUMA node {node}.", remedy=f"Nodes here: {ids}.")
    if not known.cpus:
        with_cpus = format_cpulist(tuple(item.id for item in topology.nodes if item.cpus)) or "none"
        raise InputError(f"Node {node} has no CPUs online.", remedy=f"Nodes with CPUs: {with_cpus}.")
    if node not in usable:
        raise InputError(f"This process may use no CPU of node {node}.", remedy=_offer(topology, usable, None))


def _memory_nodes(topology: Topology, node_id: int | None) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Where memory comes from: the node itself, or where it has none, the nearest node that has some."""
    node = topology.node(node_id) if node_id is not None else None
    if node is None:
        return (), ()
    if not _has_no_memory(node):
        return (node.id,), ()
    distances = node.distances or {}
    others = [other for other in topology.nodes if other.id != node.id and other.memory_bytes]
    if not others:
        return (), (f"Node {node.id} has no memory, and no other node is known to have some.",)
    nearest = min(others, key=lambda other: (distances.get(other.id, 1 << 30), -_free(other), other.id))
    distance = distances.get(nearest.id)
    away = f" at distance {distance} (10 is local)" if distance is not None else ""
    return (nearest.id,), (f"Node {node.id} has no memory; it is taken from node {nearest.id}{away}.",)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _offer(topology: Topology, usable: _Usable, node: int | None) -> str:
    """What there is: cores by usable threads, of one node or of all."""
    sentences: list[str] = []
    for node_id, by_core in _by_node(usable):
        if node is not None and node_id != node:
            continue
        by_threads: dict[int, int] = {}
        for cpus in by_core.values():
            by_threads[len(cpus)] = by_threads.get(len(cpus), 0) + 1
        parts = [
            f"{_count(count, 'core')} with {_count(threads, 'thread')}" for threads, count in sorted(by_threads.items())
        ]
        sentences.append(
            f"{'Node ' + str(node_id) if node_id is not None else 'The machine'} has {' and '.join(parts)}."
        )
    if not sentences:
        return "This process may use none of the CPUs that are online."
    hidden = len(topology.cpus_online) - sum(len(cpus) for cores in usable.values() for cpus in cores.values())
    if node is None and hidden:
        sentences.append(f"{_count(hidden, 'CPU')} online may not be used by this process.")
    return " ".join(sentences)
