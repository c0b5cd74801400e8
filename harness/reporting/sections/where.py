"""Where the results ran: the picture, node by node, and the thread environment as set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.platform.facts import Core, Facts
from harness.platform.nodes import Node
from harness.record.model import PlacementRecord, Result, Run
from harness.reporting.charts.topology import CorePicture, ThreadState, core_picture
from harness.reporting.text import percent, ranges, size
from harness.wording import count, plural

_NUMBERED_CPUS = 256  # up to here each cell holds its CPU number
_PICTURES = 4  # placements drawn; a sweep lists the others
_PICTURED_CORES = 2000  # of all pictures together


@dataclass(frozen=True)
class NodePicture:
    """One NUMA node as drawn and as the table has it."""

    name: str
    cores: tuple[str, ...]  # one small SVG each
    core_count: int
    cpus: str
    chosen: str
    offline: str
    memory: str
    memory_here: bool  # the policy binds memory to this node
    distance: str  # to the nodes whose CPUs were chosen
    pages: str  # where the pages of the processes are


@dataclass(frozen=True)
class Where:
    """One placement and the results that used it."""

    title: str
    results: str
    nodes: tuple[NodePicture, ...]  # empty when the topology is not recorded or the picture was left out
    numbered: bool
    halves: bool
    offline: bool  # some thread is
    facts: tuple[tuple[str, str], ...]
    env: tuple[tuple[str, str], ...]
    mismatches: tuple[str, ...]
    unpictured: str | None  # why there is no picture


def places(run: Run) -> list[Where]:
    """Every distinct placement of the run, in the order of its first result."""
    groups: dict[object, list[Result]] = {}
    for result in run.results:
        placed = result.placement
        key = (placed.nodes, placed.cpus, placed.memory_policy, placed.smt, tuple(sorted(placed.env.items())))
        groups.setdefault(key, []).append(result)
    pictures = min(_PICTURES, _PICTURED_CORES // max(1, len(run.facts.topology.cores)))
    return [_where(run.facts, results, drawn=index < pictures) for index, results in enumerate(groups.values())]


def describe(placement: PlacementRecord, facts: Facts) -> str:
    """The placement in a few words: ``2 cores × 2 threads of node 0``."""
    chosen = set(placement.cpus)
    cores = sum(1 for core in facts.topology.cores if chosen & set(core.cpus))
    if cores:
        what = plural(cores, "core")
        if len(chosen) > cores and len(chosen) % cores == 0:
            what += f" × {plural(len(chosen) // cores, 'thread')}"
    else:
        what = plural(len(chosen), "CPU")
    return f"{what} of {_node_words(placement.nodes)}" if placement.nodes else what


def _node_words(nodes: Sequence[int]) -> str:
    return f"node {nodes[0]}" if len(nodes) == 1 else f"nodes {ranges(nodes)}"


def _where(facts: Facts, results: Sequence[Result], *, drawn: bool) -> Where:
    placement = results[0].placement
    cores = facts.topology.cores
    total = sum(len(_present(core)) for core in cores)
    numbered = 0 < total <= _NUMBERED_CPUS
    nodes = _nodes(facts, placement, results, numbered) if drawn and cores else ()
    mismatches = tuple(dict.fromkeys(text for result in results for text in result.placement.mismatches))
    unpictured = None
    if not cores:
        unpictured = "The record does not say which CPUs share a core, so there is no picture."
    elif not drawn:
        most = f"at most {_PICTURES} placements and {_PICTURED_CORES:,} cores are drawn"
        unpictured = f"Not drawn: {most}."
    return Where(
        title=describe(placement, facts),
        results=_which(results),
        nodes=nodes,
        numbered=numbered,
        halves=any(len(_halves(core)) > 1 for core in cores),
        offline=any(node.offline != "none" for node in nodes),
        facts=tuple(_facts(placement)),
        env=tuple(sorted(placement.env.items())),
        mismatches=mismatches,
        unpictured=unpictured,
    )


def _which(results: Sequence[Result]) -> str:
    names = list(dict.fromkeys(result.workload for result in results))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{plural(len(results), 'result')}: {shown}"


def _facts(placement: PlacementRecord) -> list[tuple[str, str]]:
    verified = {True: "yes", False: "no", None: "not checked: no process finished"}[placement.verified]
    return [
        ("CPUs", ranges(placement.cpus)),
        ("Threads", f"{placement.threads}, {placement.threads_per_core} per core"),
        ("SMT", "not known" if placement.smt is None else str(placement.smt)),
        ("Memory policy", str(placement.memory_policy)),
        ("Verified afterwards", verified),
    ]


def _nodes(
    facts: Facts, placement: PlacementRecord, results: Sequence[Result], numbered: bool
) -> tuple[NodePicture, ...]:
    chosen = set(placement.cpus)
    by_node: dict[int | None, list[Core]] = {}
    for core in facts.topology.cores:
        by_node.setdefault(core.node, []).append(core)
    known: dict[int | None, Node] = {node.id: node for node in facts.topology.nodes}
    pages = _pages(results)
    pictures = []
    for identifier in [*known, *(node for node in by_node if node not in known)]:
        cores = [_picture(core, chosen) for core in by_node.get(identifier, [])]
        members = {state: [cpu for core in cores for cpu in core.cpus(state)] for state in ThreadState}
        node = known.get(identifier)
        memory = None if node is None else node.memory_bytes
        pictures.append(
            NodePicture(
                name="no node" if identifier is None else f"node {identifier}",
                cores=tuple(core_picture(core, numbered=numbered) for core in cores),
                core_count=len(cores),
                cpus=ranges(members[ThreadState.CHOSEN] + members[ThreadState.IDLE]) or "none",
                chosen=ranges(members[ThreadState.CHOSEN]) or "none",
                offline=ranges(members[ThreadState.OFFLINE]) or "none",
                memory="memory not known" if memory is None else size(memory) if memory else "no memory",
                memory_here=identifier in placement.memory_policy.nodes,
                distance=_distance(node, placement.nodes),
                pages=_page_share(pages, identifier),
            )
        )
    return tuple(pictures)


def _present(core: Core) -> list[int]:
    return list(core.cpus_present or core.cpus)


def _halves(core: Core) -> list[list[int]]:
    return [list(half) for half in core.halves or ()]


def _picture(core: Core, chosen: set[int]) -> CorePicture:
    online, present = set(core.cpus), _present(core)

    def state(cpu: int) -> ThreadState:
        if cpu in chosen:
            return ThreadState.CHOSEN
        return ThreadState.IDLE if cpu in online else ThreadState.OFFLINE

    rows = _rows(present, _halves(core))
    return CorePicture(core.id, tuple(tuple((cpu, state(cpu)) for cpu in row) for row in rows))


def _rows(present: list[int], halves: list[list[int]]) -> list[list[int]]:
    """Threads on their halves; offline ones follow the pattern of the online ones where it alternates, else fill up."""
    if len(halves) < 2:
        return [present]
    alternating = all(
        present.index(cpu) % len(halves) == row for row, half in enumerate(halves) for cpu in half if cpu in present
    )
    if alternating:
        return [present[row :: len(halves)] for row in range(len(halves))]
    rows = [list(half) for half in halves]
    for cpu in present:
        if not any(cpu in row for row in rows):
            min(rows, key=len).append(cpu)
    return rows


def _distance(node: Node | None, chosen: Sequence[int]) -> str:
    distances = (node.distances if node is not None else None) or {}
    return ", ".join(dict.fromkeys(str(distances[other]) for other in chosen if other in distances)) or "–"


def _pages(results: Sequence[Result]) -> dict[int, int]:
    """Pages per node, over all processes."""
    pages: dict[int, int] = {}
    for result in results:
        for process in result.processes:
            for node, amount in (process.page_nodes or {}).items():
                pages[node] = pages.get(node, 0) + amount
    return pages


def _page_share(pages: Mapping[int, int], node: int | None) -> str:
    total = sum(pages.values())
    if not total:
        return "–"
    here = 0 if node is None else pages.get(node, 0)
    return f"{percent(here / total)} of {count(total)}" if here else "0"
