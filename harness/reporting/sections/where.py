"""Where the results ran: the picture, node by node, and the thread environment as set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.record.model import PlacementRecord, Result, Run
from harness.reporting.charts.topology import CorePicture, ThreadState, core_picture
from harness.reporting.sections.lookup import number_at, objects_at, whole_number_at, whole_numbers_at
from harness.reporting.text import count, percent, plural, ranges, size

_NUMBERED_CPUS = 256  # up to here each cell holds its CPU number
_PICTURES = 4  # placements drawn; a sweep lists the others


@dataclass(frozen=True)
class NodePicture:
    """One NUMA node as drawn and as the table beside has it."""

    name: str
    cores: tuple[str, ...]  # one small SVG each
    core_count: int
    cpus: str
    chosen: str
    offline: str
    memory: str
    memory_here: bool  # the policy binds memory to this node
    distance: str  # to the nodes whose CPUs were chosen
    pages: str  # where the pages of the processes were found


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
    groups: dict[Any, list[Result]] = {}
    for result in run.results:
        placed = result.placement
        key = (placed.nodes, placed.cpus, placed.memory_policy, placed.smt, tuple(sorted(placed.env.items())))
        groups.setdefault(key, []).append(result)
    return [_where(run.facts, results, drawn=index < _PICTURES) for index, results in enumerate(groups.values())]


def describe(placement: PlacementRecord, facts: Mapping[str, Any]) -> str:
    """The placement in a few words: ``2 cores × 2 threads of node 0``."""
    chosen = set(placement.cpus)
    cores = sum(1 for core in objects_at(facts, "topology", "cores") if chosen & set(whole_numbers_at(core, "cpus")))
    if cores:
        what = plural(cores, "core")
        if len(chosen) > cores and len(chosen) % cores == 0:
            what += f" × {plural(len(chosen) // cores, 'thread')}"
    else:
        what = plural(len(chosen), "CPU")
    return f"{what} of {_node_words(placement.nodes)}" if placement.nodes else what


def _node_words(nodes: Sequence[int]) -> str:
    return f"node {nodes[0]}" if len(nodes) == 1 else f"nodes {ranges(nodes)}"


def _where(facts: Mapping[str, Any], results: Sequence[Result], *, drawn: bool) -> Where:
    placement = results[0].placement
    topology = facts.get("topology")
    cores = objects_at(topology, "cores")
    total = sum(len(_present(core)) for core in cores)
    numbered = 0 < total <= _NUMBERED_CPUS
    nodes = _nodes(topology, placement, results, numbered) if drawn and cores else ()
    mismatches = tuple(dict.fromkeys(text for result in results for text in result.placement.mismatches))
    unpictured = None
    if not cores:
        unpictured = "The record does not say which CPUs share a core, so there is no picture."
    elif not drawn:
        unpictured = f"Only the first {_PICTURES} placements are drawn."
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
        ("Memory policy", placement.memory_policy),
        ("Verified afterwards", verified),
    ]


def _nodes(
    topology: Any, placement: PlacementRecord, results: Sequence[Result], numbered: bool
) -> tuple[NodePicture, ...]:
    chosen = set(placement.cpus)
    by_node: dict[int | None, list[Mapping[str, Any]]] = {}
    for core in objects_at(topology, "cores"):
        by_node.setdefault(whole_number_at(core, "node"), []).append(core)
    known = {whole_number_at(node, "id"): node for node in objects_at(topology, "nodes")}
    memory_nodes = bound_nodes(placement.memory_policy)
    pages = _pages(results)
    pictures = []
    for identifier in [*known, *(node for node in by_node if node not in known)]:
        cores = [_picture(core, chosen) for core in by_node.get(identifier, [])]
        members = {state: [cpu for core in cores for cpu in core.cpus(state)] for state in ThreadState}
        memory = number_at(known.get(identifier), "memory_bytes")
        pictures.append(
            NodePicture(
                name="no node" if identifier is None else f"node {identifier}",
                cores=tuple(core_picture(core, numbered=numbered) for core in cores),
                core_count=len(cores),
                cpus=ranges(members[ThreadState.CHOSEN] + members[ThreadState.IDLE]) or "none",
                chosen=ranges(members[ThreadState.CHOSEN]) or "none",
                offline=ranges(members[ThreadState.OFFLINE]) or "none",
                memory="memory not known" if memory is None else size(memory) if memory else "no memory",
                memory_here=identifier in memory_nodes,
                distance=_distance(known.get(identifier), placement.nodes),
                pages=_page_share(pages, identifier),
            )
        )
    return tuple(pictures)


def bound_nodes(policy: str) -> set[int]:
    """Node numbers of a memory policy such as ``bind:0`` or ``preferred:0-1``; empty for the default policy."""
    match = re.fullmatch(r"[a-z_ ]+:([0-9,-]+)", policy)
    nodes: set[int] = set()
    for part in match.group(1).split(",") if match else ():
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit() and int(last or first) - int(first) < 4096:
            nodes |= set(range(int(first), int(last or first) + 1))
    return nodes


def _present(core: Mapping[str, Any]) -> list[int]:
    return whole_numbers_at(core, "cpus_present") or whole_numbers_at(core, "cpus")


def _halves(core: Mapping[str, Any]) -> list[list[int]]:
    found = core.get("halves")
    if not isinstance(found, list):
        return []
    return [[cpu for cpu in half if isinstance(cpu, int)] for half in found if isinstance(half, list)]


def _picture(core: Mapping[str, Any], chosen: set[int]) -> CorePicture:
    online, present = set(whole_numbers_at(core, "cpus")), _present(core)

    def state(cpu: int) -> ThreadState:
        if cpu in chosen:
            return ThreadState.CHOSEN
        return ThreadState.IDLE if cpu in online else ThreadState.OFFLINE

    rows = _rows(present, _halves(core))
    return CorePicture(
        whole_number_at(core, "id"),
        tuple(tuple((cpu, state(cpu)) for cpu in row) for row in rows),
    )


def _rows(present: list[int], halves: list[list[int]]) -> list[list[int]]:
    """Threads on their halves; off-line ones follow the on-line ones' pattern where it alternates, else fill up."""
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


def _distance(node: Any, chosen: Sequence[int]) -> str:
    found = [number_at(node, "distances", str(other)) for other in chosen]
    return ", ".join(dict.fromkeys(str(int(item)) for item in found if item is not None)) or "–"


def _pages(results: Sequence[Result]) -> dict[str, int]:
    """Pages found per node, over all processes."""
    pages: dict[str, int] = {}
    for result in results:
        for block in result.blocks:
            for node, found in (block.page_nodes or {}).items():
                pages[node] = pages.get(node, 0) + found
    return pages


def _page_share(pages: Mapping[str, int], node: Any) -> str:
    total = sum(pages.values())
    if not total:
        return "–"
    here = pages.get(str(node), 0)
    return f"{percent(here / total)} of {count(total)}" if here else "0"
