"""Placements of the ranks of a training: each on one NUMA node, with cores of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from harness.errors import InputError
from harness.placement.model import Placement
from harness.placement.plan import plan
from harness.platform.facts import LimitFacts, Topology
from harness.platform.usable import NO_LIMITS, usable
from harness.wording import plural

PER_NODE: Literal["per-node"] = "per-node"


def plan_ranks(
    topology: Topology,
    ranks: int | Literal["per-node"],
    *,
    cores: int,
    threads_per_core: int,
    limits: LimitFacts = NO_LIMITS,
    memory_bytes: int = 0,
) -> tuple[Placement, ...]:
    """One placement per rank, no core in two of them; the nodes take ranks in turn.

    Args:
        topology: the machine.
        ranks: how many, or one per NUMA node that has cores which may be used.
        cores, threads_per_core: of each rank.
        limits: what this process may use.
        memory_bytes: of each rank.

    Raises:
        InputError: they cannot be placed so.
    """
    part = usable(topology, limits)
    nodes: list[int | None] = [node.id for node in part.nodes if part.cores_of(node.id)] or [None]
    count = len(nodes) if ranks == PER_NODE else ranks
    free = set(part.cpus_online)
    placed: list[Placement] = []
    while len(placed) < count and nodes:
        node = nodes.pop(0)
        on_node = sum(other.node == node for other in placed)
        try:
            chosen = plan(
                topology,
                cores=cores,
                threads_per_core=threads_per_core,
                node=node,
                limits=replace(limits, allowed_cpus=tuple(sorted(free))),
                memory_bytes=memory_bytes * (on_node + 1),
            )
        except InputError:  # the node is full
            if ranks == PER_NODE or not (placed or nodes):
                raise
            continue
        free -= {cpu for core in part.cores if set(core.cpus) & set(chosen.cpus) for cpu in core.cpus}
        placed.append(chosen)
        nodes.append(node)
    if len(placed) < count:
        each = plural(cores, "core") + (f" with {threads_per_core} threads each" if threads_per_core > 1 else "")
        room = plural(len(placed), "rank")
        raise InputError(
            f"{plural(count, 'rank')} of {each} cannot be placed: there is room for {room}.",
            remedy="Ranks share no core. Use fewer --ranks or --cores.",
        )
    return tuple(placed)
