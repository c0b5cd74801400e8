"""The picture of the placement: every thread once, in its state, on its half."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import facts, inference, placement, run

from harness.platform.facts import Facts
from harness.record.model import MemoryPolicy
from harness.reporting.sections.where import describe, places


@st.composite
def _layouts(draw: st.DrawFn) -> tuple[Facts, set[int]]:
    smt = draw(st.sampled_from([1, 2, 4, 8]))
    machine = facts(
        nodes=draw(st.integers(1, 4)),
        cores_per_node=draw(st.integers(1, 6)),
        smt=smt,
        online_smt=draw(st.integers(1, smt)),
    )
    online = machine.topology.cpus_online
    return machine, draw(st.sets(st.sampled_from(online), min_size=1))


def _cells(svgs: tuple[str, ...], state: str) -> list[int]:
    return [int(cpu) for svg in svgs for cpu in re.findall(rf'<text class="{state}"[^>]*>(\d+)</text>', svg)]


@settings(max_examples=80, deadline=None)
@given(_layouts())
def test_every_thread_is_drawn_once_in_its_state(layout: tuple[Facts, set[int]]) -> None:
    machine, chosen = layout
    topology = machine.topology
    present = [cpu for core in topology.cores for cpu in core.cpus_present]
    placed = replace(placement(), cpus=tuple(sorted(chosen)))
    (place,) = places(run(inference(placement=placed, processes=()), facts=machine))
    svgs = tuple(core for node in place.nodes for core in node.cores)
    found = {state: _cells(svgs, state) for state in ("chosen", "idle", "offline")}
    assert sorted(found["chosen"]) == sorted(chosen)
    assert sorted(found["idle"]) == sorted(set(topology.cpus_online) - chosen)
    assert sorted(found["offline"]) == sorted(set(present) - set(topology.cpus_online))
    assert sum(svg.count('class="core used"') for svg in svgs) == sum(
        bool(chosen & set(core.cpus)) for core in topology.cores
    )


def test_the_two_halves_of_an_smt8_core_are_two_rows() -> None:
    (place,) = places(run(inference(), facts=facts(online_smt=4)))
    rows: dict[str, list[int]] = {}
    for y, cpu in re.findall(r'y="([\d.]+)">(\d+)</text>', place.nodes[0].cores[0]):
        rows.setdefault(y, []).append(int(cpu))
    assert list(rows.values()) == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert place.halves


def test_nodes_say_their_memory_policy_and_pages() -> None:
    machine = facts(memoryless=(1,))
    (place,) = places(run(inference(), facts=machine))
    first, second = place.nodes
    assert (first.memory_here, second.memory_here) == (True, False)
    assert second.memory == "no memory"
    assert first.pages.replace("\u00a0", " ") == "100 % of 144,000"
    assert (first.distance, second.distance) == ("10", "40")


def test_placements_that_differ_are_shown_apart() -> None:
    elsewhere = replace(placement(cpus=(32, 33), nodes=(1,)), memory_policy=MemoryPolicy("bind", (1,)))
    found = places(run(inference(), inference("nsl-kdd-mlp", placement=elsewhere), inference(backend="onnxruntime")))
    assert [place.title for place in found] == ["2 cores × 2 threads of node 0", "1 core × 2 threads of node 1"]
    assert [place.results for place in found] == ["2 results: nsl-kdd-autoencoder", "1 result: nsl-kdd-mlp"]


def test_a_placement_is_described_even_without_a_topology() -> None:
    assert describe(placement(), Facts("/")) == "4 CPUs of node 0"
    assert describe(replace(placement(), nodes=(0, 1)), facts()) == "2 cores × 2 threads of nodes 0-1"
    assert describe(replace(placement(cpus=(0, 8, 9)), nodes=()), facts()) == "2 cores"
    (place,) = places(run(inference(), facts=Facts("/")))
    assert place.nodes == ()
    assert place.unpictured is not None
