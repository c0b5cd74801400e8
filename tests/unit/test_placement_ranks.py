"""Placing ranks: disjoint cores, nodes in turn, each rank on one node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.placement.ranks import PER_NODE, plan_ranks
from harness.platform.facts import Core, LimitFacts, Topology
from harness.platform.nodes import Node


def machine(cores_of_nodes: dict[int, int], threads: int = 4) -> Topology:
    cores, nodes, cpu = [], [], 0
    for node, count in cores_of_nodes.items():
        first = cpu
        for _ in range(count):
            cpus = tuple(range(cpu, cpu + threads))
            cores.append(Core(len(cores), None, node, None, None, cpus, cpus, None))
            cpu += threads
        nodes.append(Node(node, tuple(range(first, cpu)), 1 << 34, None, None))
    everything = tuple(range(cpu))
    return Topology(everything, everything, tuple(cores), tuple(nodes))


@given(
    cores_of_nodes=st.dictionaries(st.integers(0, 9), st.integers(0, 4), min_size=1, max_size=4),
    ranks=st.integers(1, 8),
    cores=st.integers(1, 2),
    threads=st.integers(1, 4),
)
def test_ranks_share_no_core_and_none_is_on_two_nodes(cores_of_nodes, ranks, cores, threads):
    topology = machine(cores_of_nodes)
    room = sum(count // cores for count in cores_of_nodes.values())
    if room < ranks:
        with pytest.raises(InputError):
            plan_ranks(topology, ranks, cores=cores, threads_per_core=threads)
        return
    placed = plan_ranks(topology, ranks, cores=cores, threads_per_core=threads)
    assert len(placed) == ranks
    used = [cpu // 4 for placement in placed for cpu in placement.cpus]
    assert len(used) == ranks * cores * threads
    assert len(set(used)) == ranks * cores
    node_of = {core.cpus[0] // 4: core.node for core in topology.cores}
    for placement in placed:
        assert {node_of[cpu // 4] for cpu in placement.cpus} == {placement.node}
        assert str(placement.memory_policy) == f"bind:{placement.node}"
    on = [sum(placement.node == node for placement in placed) for node in cores_of_nodes]
    full = [count // cores for count in cores_of_nodes.values()]
    most = max(on)
    assert all(of_node >= most - 1 or of_node == limit for of_node, limit in zip(on, full, strict=True))


def test_one_rank_per_node_of_those_that_may_be_used():
    topology = machine({0: 2, 1: 2, 8: 0})
    assert [each.node for each in plan_ranks(topology, PER_NODE, cores=1, threads_per_core=2)] == [0, 1]
    within = LimitFacts(allowed_cpus=tuple(range(8, 16)))
    assert [each.node for each in plan_ranks(topology, PER_NODE, cores=1, threads_per_core=2, limits=within)] == [1]
    with pytest.raises(InputError, match="Node 0 cannot give 3 cores"):
        plan_ranks(topology, PER_NODE, cores=3, threads_per_core=1)


def test_too_many_ranks_are_refused_with_what_there_is_room_for():
    with pytest.raises(InputError, match="5 ranks of 1 core cannot be placed: there is room for 4 ranks"):
        plan_ranks(machine({0: 3, 1: 1}), 5, cores=1, threads_per_core=1)
