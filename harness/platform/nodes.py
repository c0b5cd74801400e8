"""NUMA nodes: sparse ids, nodes without CPUs, nodes without memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.platform import parse
from harness.platform.sysroot import SysRoot

_NODES = "sys/devices/system/node"
_RECLAIMABLE = ("Active(file)", "Inactive(file)", "SReclaimable")


@dataclass(frozen=True)
class Node:
    """One NUMA node; it may have no CPUs or no memory."""

    id: int
    cpus: tuple[int, ...]  # online
    memory_bytes: int | None
    memory_free_bytes: int | None
    distances: Mapping[int, int] | None  # node id -> distance, 10 being local
    memory_available_bytes: int | None = None  # free, or given up by the page cache when asked for


def collect(sysroot: SysRoot, online: tuple[int, ...]) -> tuple[Node, ...]:
    """The nodes in the order of their ids; empty on a kernel without NUMA."""
    ids = sysroot.numbered(_NODES, "node")
    linked: dict[int, tuple[int, ...]] | None = None
    nodes: list[Node] = []
    here = frozenset(online)
    for node_id in ids:
        base = f"{_NODES}/node{node_id}"
        cpus = parse.cpu_list(sysroot.read_text(f"{base}/cpulist"))
        if cpus is None:
            cpus = parse.cpu_mask(sysroot.read_text(f"{base}/cpumap"))
        if cpus is None:  # links both ways; some dumps keep only one
            cpus = sysroot.numbered(base, "cpu")
        if not cpus and not sysroot.exists(f"{base}/cpumap") and not sysroot.exists(f"{base}/cpulist"):
            linked = _linked(sysroot, online) if linked is None else linked
            cpus = linked.get(node_id, ())
        total, free, available = _memory(sysroot.read_text(f"{base}/meminfo"))
        nodes.append(
            Node(
                id=node_id,
                cpus=tuple(cpu for cpu in cpus if cpu in here),
                memory_bytes=total,
                memory_free_bytes=free,
                memory_available_bytes=available,
                distances=_distances(sysroot.read_text(f"{base}/distance"), ids),
            )
        )
    return tuple(nodes)


def _linked(sysroot: SysRoot, online: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Node -> CPUs from the links ``cpuN/nodeM``."""
    cpus_by_node: dict[int, tuple[int, ...]] = {}
    for cpu in online:
        for node_id in sysroot.numbered(f"sys/devices/system/cpu/cpu{cpu}", "node"):
            cpus_by_node[node_id] = (*cpus_by_node.get(node_id, ()), cpu)
    return cpus_by_node


def _memory(text: str | None) -> tuple[int | None, int | None, int | None]:
    """Total, free and available bytes of ``Node 7 MemTotal:  98250752 kB`` lines."""
    fields = parse.key_values(text, ":")
    values = {key.split()[-1]: parse.size(value) for key, value in fields.items()}
    free = values.get("MemFree")
    reclaimable = sum(values.get(name) or 0 for name in _RECLAIMABLE)
    return values.get("MemTotal"), free, None if free is None else free + reclaimable


def _distances(text: str | None, ids: tuple[int, ...]) -> dict[int, int] | None:
    """Distances in the order of the online nodes; unusable when their number is another."""
    values = [parse.integer(part) for part in (text or "").split()]
    if len(values) != len(ids) or not values:
        return None
    return {node: value for node, value in zip(ids, values, strict=True) if value is not None} or None
