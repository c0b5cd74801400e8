"""Where firmware has CPUs and memory now, against where Linux shows them since boot.

A partition that was moved, to another server or by the Dynamic Platform Optimizer, gets new associativity in its device
tree; Linux keeps the NUMA nodes that it gave at boot. powerpc-utils' lparnumascore makes the same comparison. Formats:
LoPAR, "ibm,associativity" and "ibm,dynamic-reconfiguration-memory"; which element is the node is decided as Linux does
in arch/powerpc/mm/numa.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from harness.platform import parse
from harness.platform.devicetree import DeviceTree
from harness.platform.facts import Topology
from harness.platform.gather import Gathered
from harness.platform.nodes import Node
from harness.platform.sysroot import SysRoot

_REFERENCE_POINTS = "rtas/ibm,associativity-reference-points"
_LMBS = "ibm,dynamic-reconfiguration-memory"
_FORMS_1_2 = 0x80 | 0x20  # byte 5 of ibm,architecture-vec-5
_ASSIGNED, _UNUSABLE = 0x08, 0x40 | 0x80  # flags of a logical memory block: not assigned an array, reserved
_NO_NODE = 0xFFFF
_MEMORY = "sys/devices/system/memory/block_size_bytes"


def with_moves(topology: Topology, sysroot: SysRoot, tree: DeviceTree) -> Topology:
    """The topology, with what firmware has on other nodes than Linux shows."""
    gathered = Gathered()
    gathered.sources.update(topology.sources)
    cpus = gathered.note(
        "moved_cpus", _moved_cpus(sysroot, tree, topology.nodes), "device-tree:cpus/*/ibm,associativity"
    )
    memory = gathered.note("moved_memory_bytes", _moved_memory(sysroot, tree, topology.nodes), f"device-tree:{_LMBS}")
    return replace(topology, moved_cpus=cpus or (), moved_memory_bytes=memory, sources=gathered.sources)


def _moved_cpus(sysroot: SysRoot, tree: DeviceTree, nodes: tuple[Node, ...]) -> tuple[int, ...] | None:
    """CPUs online that firmware has on another node than Linux; None where either does not tell."""
    position = _position(tree)
    if position is None or not nodes:
        return None
    shown = {cpu: node.id for node in nodes for cpu in node.cpus}
    hardware = {sysroot.read_int(f"sys/devices/system/cpu/cpu{cpu}/physical_id"): cpu for cpu in shown}
    known = {
        hardware[thread]: node
        for core in tree.cpus()
        if (node := _node(tree.cells(f"cpus/{core.name}/ibm,associativity"), position)) is not None
        for thread in core.threads
        if thread in hardware
    }
    return tuple(sorted(cpu for cpu, node in known.items() if node != shown[cpu])) if known else None


def _moved_memory(sysroot: SysRoot, tree: DeviceTree, nodes: tuple[Node, ...]) -> int | None:
    """Bytes of memory that firmware has on another node than Linux; None where either does not tell."""
    position = _position(tree)
    block = parse.hexadecimal(sysroot.read_text(_MEMORY))
    arrays = tree.cells(f"{_LMBS}/ibm,associativity-lookup-arrays")
    size = tree.quantity(f"{_LMBS}/ibm,lmb-size")
    if position is None or not block or not size or arrays is None or len(arrays) < 2:
        return None
    shown = {
        number: node.id
        for node in nodes
        for number in sysroot.numbered(f"sys/devices/system/node/node{node.id}", "memory")
    }
    width, last = arrays[1], max(shown, default=-1)
    moved, known = 0, False
    for address, index in _assigned(tree, size, (last + 1) * block):
        row = arrays[2 + index * width : 2 + (index + 1) * width]
        node = _node((width, *row), position) if len(row) == width else None
        end = max(address // block + 1, min((address + size) // block, last + 1))
        for number in range(address // block, end):
            if node is not None and number in shown:
                known = True
                moved += min(block, size) if shown[number] != node else 0
    return moved if known else None


def _position(tree: DeviceTree) -> int | None:
    """Which element of an associativity is the node; the first element is their number."""
    points = tree.cells(_REFERENCE_POINTS)
    vector = tree.bytes("chosen/ibm,architecture-vec-5") or b""
    oldest = len(vector) > 5 and not vector[5] & _FORMS_1_2
    if points is None or len(points) <= oldest:
        return None
    return points[oldest] or None


def _node(associativity: tuple[int, ...] | None, position: int) -> int | None:
    if associativity is None or associativity[0] < position or len(associativity) <= position:
        return None
    return None if associativity[position] == _NO_NODE else associativity[position]


def _assigned(tree: DeviceTree, size: int, end: int) -> Iterator[tuple[int, int]]:
    """Address below ``end``, and index of the associativity, of each logical memory block that the partition has."""
    runs = tree.bytes(f"{_LMBS}/ibm,dynamic-memory-v2")
    blocks = tree.bytes(f"{_LMBS}/ibm,dynamic-memory")
    if runs and (len(runs) - 4) % 24 == 0:  # count, then: blocks, address, index of connector and of array, flags
        for length, address, _, index, flags in struct.iter_unpack(">IQIII", runs[4:]):
            if flags & _ASSIGNED and not flags & _UNUSABLE:
                yield from ((start, index) for start in range(address, min(address + length * size, end), size))
    elif blocks and (len(blocks) - 4) % 24 == 0:  # count, then: address, connector, reserved, index of array, flags
        for address, _, _, index, flags in struct.iter_unpack(">QIIII", blocks[4:]):
            if flags & _ASSIGNED and not flags & _UNUSABLE and address < end:
                yield address, index
