"""A server on two NUMA nodes of a machine that is made up: a scorer on each, with its cores, its memory, its cards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, build
from support.trees_presets import PRESETS

from harness.errors import InputError
from harness.placement.model import Placement
from harness.platform.sysroot import SysRoot
from harness.serving import start
from harness.serving.relay import owner
from harness.serving.spec import ServeSpec, asked_of, part_of
from harness.serving.supervisor import shares


def test_every_node_has_a_scorer_with_its_cores_its_memory_and_half_of_the_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = NodeSpec(0, cores=6, free_mb=9000), NodeSpec(1, cores=6, free_mb=2000)
    root = SysRoot(build(replace(PRESETS["p10-two-nodes"], nodes=nodes), tmp_path / "tree"))
    monkeypatch.setattr(start, "SysRoot", lambda _: root)
    commands: list[list[str]] = []
    monkeypatch.setattr(start.os, "execv", lambda _, command: commands.append(command))
    chosen = start.placements(4, 2, [0, 1])
    start.start(ServeSpec("bundle", fronts=3, keys=1001, state=str(tmp_path / "cards")), chosen)
    ((*_, program, directory),) = commands
    assert program == "harness.serving.supervisor"
    parts = [asked_of(Path(directory), str(number)) for number in range(2)]
    spec = parts[0][0]
    assert (spec.scorers, spec.divided) == (2, True)
    shutil.rmtree(directory)
    topology = start.read_topology(root)
    cpus = {node.id: set(node.cpus) for node in topology.nodes}
    for number, (_, placement) in enumerate(parts):
        assert (placement.node, str(placement.memory_policy)) == (number, f"bind:{number}")
        assert (placement.cores, placement.threads) == (4, 8)
        assert set(placement.cpus) < cpus[number]
    least = min(node.memory_available_bytes or 0 for node in topology.nodes)
    assert 0 < least < 2001 << 20
    mine = [part_of(spec, Path(directory), number) for number in range(2)]
    assert [(each.keys, each.room_bytes, each.part) for each in mine] == [
        (501, least, 0), (501, least, 1),
    ]  # fmt: skip
    assert len({each.state for each in mine} | {each.log for each in mine}) == 4
    scorers, fronts = shares([placement for _, placement in parts], spec.fronts)
    for number, scorer in enumerate(scorers):
        _on(scorer, number, cpus)
    for number, front in enumerate(fronts):
        _on(front, number % 2, cpus)
        assert not set(front.cpus) & set(scorers[number % 2].cpus)
    assert [len(scorer.cpus) for scorer in scorers] == [4, 6]  # two fronts on node 0, one on node 1
    held = [owner(f'[["User",{user}],["Card",0]]', 2) for user in range(2000)]
    assert 900 < sum(held) < 1100


def _on(placement: Placement, node: int, cpus: dict[int, set[int]]) -> None:
    assert set(placement.cpus) <= cpus[node]
    assert str(placement.memory_policy) == f"bind:{node}"
    assert placement.env["OMP_NUM_THREADS"] == str(len(placement.cpus))


def test_a_node_that_is_not_there_or_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = SysRoot(build(PRESETS["p10-two-nodes"], tmp_path))
    monkeypatch.setattr(start, "SysRoot", lambda _: root)
    for cores, nodes, said in ((2, [0, 2], "Node 2|node 2"), (7, [1, 0], "Node 1 cannot give 7 cores")):
        with pytest.raises(InputError, match=said):
            start.placements(cores, 1, nodes)
