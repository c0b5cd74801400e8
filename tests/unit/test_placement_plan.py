from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, TreeSpec, build
from support.trees_presets import PRESETS

from harness.decode import encode
from harness.errors import InputError
from harness.placement.model import Placement, process_environment, settings_of, thread_environment
from harness.placement.plan import plan, plan_apart
from harness.platform.facts import LimitFacts, Topology
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


def _topology(spec: TreeSpec, root: Path) -> Topology:
    return probe(SysRoot(build(spec, root))).topology


def test_threads_that_must_share_a_half_are_named(tmp_path: Path) -> None:
    odd = probe(
        SysRoot(build(TreeSpec(nodes=(NodeSpec(0, cores=1),), online_threads={0: (1, 3, 5)}), tmp_path / "odd"))
    )
    chosen = plan(odd.topology, cores=1, threads_per_core=2)
    assert chosen.notes == ("CPUs 1,3 are on one half of their core; no thread of the other half may be used.",)
    assert plan(odd.topology, cores=1, threads_per_core=1).notes == ()
    whole = TreeSpec(generation="POWER8", mtm="8286-42A", nodes=(NodeSpec(0, cores=1),))
    assert plan(probe(SysRoot(build(whole, tmp_path / "p8"))).topology, cores=1, threads_per_core=2).notes == ()


def test_two_threads_of_an_smt8_core_are_one_on_each_half(tmp_path: Path) -> None:
    chosen = plan(_topology(PRESETS["p10-node7"], tmp_path), cores=4, threads_per_core=2, node=7)
    assert chosen.cpus == (0, 1, 8, 9, 16, 17, 24, 25)
    assert (chosen.node, chosen.nodes, str(chosen.memory_policy)) == (7, (7,), "bind:7")
    assert (chosen.threads, chosen.threads_per_core, chosen.cores) == (8, 2, 4)
    assert chosen.notes == ()


def test_halves_are_used_in_turn_whatever_their_threads_are(tmp_path: Path) -> None:
    spec = replace(PRESETS["p10-dedicated"], online_threads={0: (0, 2, 4, 7), 1: (0, 2, 3)})
    topology = _topology(spec, tmp_path)
    assert plan(topology, cores=2, threads_per_core=2).cpus == (0, 7, 8, 11)
    assert plan(topology, cores=2, threads_per_core=3).cpus[:3] == (0, 7, 2)


def test_numbers_decide_where_halves_are_not_told(tmp_path: Path) -> None:
    topology = _topology(replace(PRESETS["p10-dedicated"], has_cache=False), tmp_path)
    assert topology.cores[0].halves is None
    assert plan(topology, cores=2, threads_per_core=2).cpus == (0, 1, 8, 9)


def test_both_enumerations_of_x86(tmp_path: Path) -> None:
    first = _topology(PRESETS["x86-two-sockets"], tmp_path / "cores")
    assert plan(first, cores=2, threads_per_core=2, node=1).cpus == (4, 12, 5, 13)
    second = _topology(PRESETS["x86-siblings-first"], tmp_path / "siblings")
    assert plan(second, cores=2, threads_per_core=2).cpus == (0, 1, 2, 3)
    assert plan(second, cores=2, threads_per_core=1).cpus == (0, 2)


def test_the_environment_gives_each_thread_its_cpu() -> None:
    settings = settings_of(process_environment((0, 1, 8, 9)))
    assert settings["allocator"] == "MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824"
    assert settings_of(thread_environment((0,)))["allocator"] == "as the C library has it"
    assert settings["thread_environment"] == {
        "OMP_NUM_THREADS": "4",
        "OMP_PLACES": "{0},{1},{8},{9}",
        "OMP_PROC_BIND": "close",
        "OMP_DYNAMIC": "FALSE",
        "OPENBLAS_NUM_THREADS": "4",
        "MKL_NUM_THREADS": "4",
        "MKL_DYNAMIC": "FALSE",
        "BLIS_NUM_THREADS": "4",
        "NUMEXPR_NUM_THREADS": "4",
    }


def test_the_node_with_most_free_memory_that_fits(tmp_path: Path) -> None:
    nodes = (
        NodeSpec(0, cores=2, memory_mb=65536, free_mb=60000),
        NodeSpec(4, cores=4, memory_mb=65536, free_mb=1000),
        NodeSpec(9, cores=4, memory_mb=32768, free_mb=30000),
    )
    topology = _topology(TreeSpec(nodes=nodes), tmp_path)
    assert plan(topology, cores=2, threads_per_core=1).node == 0
    assert plan(topology, cores=3, threads_per_core=1).node == 9
    assert plan(topology, cores=3, threads_per_core=1, node=4).node == 4


def test_memory_of_the_nearest_node_where_there_is_none(tmp_path: Path) -> None:
    chosen = plan(_topology(PRESETS["p10-remote-memory"], tmp_path), cores=1, threads_per_core=1, node=2)
    assert (chosen.node, chosen.memory_nodes, str(chosen.memory_policy)) == (2, (3,), "bind:3")
    assert chosen.notes == ("Node 2 has no memory; it is taken from node 3 at distance 40 (10 is local).",)


def test_the_nearest_is_by_distance_not_by_number(tmp_path: Path) -> None:
    nodes = tuple(
        NodeSpec(number, cores=1 if number == 5 else 0, memory_mb=0 if number == 5 else 4096) for number in (1, 5, 8)
    )
    root = build(TreeSpec(nodes=nodes), tmp_path)
    (root / "sys/devices/system/node/node5/distance").write_text("80 10 20\n")
    topology = probe(SysRoot(root)).topology
    assert plan(topology, cores=1, threads_per_core=1).memory_nodes == (8,)


def test_no_memory_anywhere_is_said(tmp_path: Path) -> None:
    chosen = plan(
        _topology(TreeSpec(nodes=(NodeSpec(0, cores=1, memory_mb=0),)), tmp_path), cores=1, threads_per_core=1
    )
    assert (chosen.memory_nodes, str(chosen.memory_policy)) == ((), "default")
    assert "no other node" in chosen.notes[0]


def test_a_kernel_without_numa(tmp_path: Path) -> None:
    chosen = plan(_topology(replace(PRESETS["p10-dedicated"], has_numa=False), tmp_path), cores=2, threads_per_core=1)
    assert (chosen.node, chosen.nodes, str(chosen.memory_policy), chosen.cpus) == (None, (), "default", (0, 8))


@pytest.mark.parametrize(
    ("request_", "message", "remedy"),
    [
        ({"cores": 9}, "No NUMA node can give 9 cores with 1 usable thread each", "Node 2 has 4 cores with 8 threads"),
        ({"cores": 5, "node": 2}, "Node 2 cannot give 5 cores", "Node 2 has 4 cores with 8 threads"),
        ({"cores": 1, "node": 3}, "Node 3 has no CPUs online", "Nodes with CPUs: 2"),
        ({"cores": 1, "node": 7}, "There is no NUMA node 7", "Nodes here: 2-3"),
        ({"cores": 1, "threads_per_core": 9}, "1 core with 9 usable threads", "4 cores with 8 threads"),
        ({"cores": 0}, "must be at least 1", ""),
        ({"cores": 1, "threads_per_core": 0}, "must be at least 1", ""),
        ({"cores": 1, "limits": LimitFacts(allowed_cpus=(99,))}, "No NUMA node can give", "may use none of the CPUs"),
        ({"cores": 1, "node": 2, "limits": LimitFacts(allowed_cpus=(99,))}, "may use no CPU of node 2", "may use none"),
        (
            {"cores": 3, "limits": LimitFacts(allowed_cpus=tuple(range(12)))},
            "No NUMA node can give 3 cores",
            "20 CPUs online may not be used",
        ),
    ],
)
def test_what_cannot_be_given_is_refused_with_what_there_is(
    request_: dict[str, object], message: str, remedy: str, tmp_path: Path
) -> None:
    topology = _topology(PRESETS["p10-remote-memory"], tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        plan(topology, **{"threads_per_core": 1, **request_})  # type: ignore[arg-type]
    assert remedy in str(caught.value)


def test_mixed_smt_offers_what_each_core_has(tmp_path: Path) -> None:
    topology = _topology(PRESETS["p10-mixed-smt"], tmp_path)
    assert plan(topology, cores=2, threads_per_core=4).cpus == (0, 1, 2, 3, 16, 17, 18, 19)
    with pytest.raises(InputError) as caught:
        plan(topology, cores=4, threads_per_core=2)
    assert "Node 0 has 1 core with 1 thread and 1 core with 2 threads and 2 cores with 8 threads." in str(caught.value)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    chosen = plan(_topology(PRESETS["p10-node7"], tmp_path / "tree"), cores=2, threads_per_core=2)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(encode(chosen)))
    assert Placement.read(path) == chosen


def _plan_text(**changes: object) -> str:
    whole = {"cpus": [0], "node": 0, "nodes": [0], "memory_nodes": [0], "memory_policy": "bind:0", "threads": 1}
    return json.dumps({**whole, "threads_per_core": 1, "cores": 1, "env": {}, "notes": [], **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "is a list; expected a table"),
        ("{}", "cpus is missing"),
        ('{"cpus": [0]}', "node is missing"),
        (_plan_text(cpus=[]), "cpus is a list; expected a list that is not empty"),
        (_plan_text(cpus=[0, -1]), r"cpus\[1\] is -1 \(int\); expected a CPU or node number"),
        (_plan_text(threads="2"), r"threads is '2' \(str\); expected a whole number"),
        (_plan_text(plan=1), "unknown key 'plan'"),
    ],
)
def test_a_broken_plan_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Placement.read(path)
    with pytest.raises(InputError, match="no such file"):
        Placement.read(tmp_path / "absent.json")


def test_a_plan_of_1920_cpus(tmp_path: Path) -> None:
    spec = replace(PRESETS["p10-1920-cpus"], linked_threads=True, has_cache=False)
    topology = _topology(spec, tmp_path)
    chosen = plan(topology, cores=15, threads_per_core=8, node=15)
    assert chosen.cpus[0] == 1800
    assert chosen.cpus[-1] == 1919
    assert chosen.threads == 120


ROOMS = (NodeSpec(0, cores=4, free_mb=2048), NodeSpec(1, cores=4, free_mb=20480), NodeSpec(2, cores=1, free_mb=60000))


def test_a_node_has_room_for_the_work_or_is_not_bound_to(tmp_path: Path) -> None:
    topology = _topology(TreeSpec(nodes=ROOMS), tmp_path)
    assert plan(topology, cores=4, threads_per_core=1).node == 1
    assert plan(topology, cores=1, threads_per_core=1, memory_bytes=30 << 30).node == 2
    with pytest.raises(InputError, match="No NUMA node can give 30 GiB of memory") as caught:
        plan(topology, cores=4, threads_per_core=1, memory_bytes=30 << 30)
    assert "node 0: 2 GiB; node 1: 20 GiB" in str(caught.value)
    with pytest.raises(InputError, match="Node 0 cannot give 3 GiB of memory"):
        plan(topology, cores=1, threads_per_core=1, node=0, memory_bytes=3 << 30)


def test_nodes_bound_to_together_give_their_room_together(tmp_path: Path) -> None:
    bare = (NodeSpec(0, 0, memory_mb=8192, free_mb=4096), NodeSpec(1, 0, memory_mb=8192, free_mb=4096))
    topology = _topology(TreeSpec(nodes=(*bare, NodeSpec(2, 1, memory_mb=0))), tmp_path)
    assert plan(topology, cores=1, threads_per_core=1, memory_bytes=7 << 30).memory_nodes == (0, 1)
    with pytest.raises(InputError, match="No NUMA node can give 9 GiB"):
        plan(topology, cores=1, threads_per_core=1, memory_bytes=9 << 30)


def test_the_page_cache_of_a_node_is_room(tmp_path: Path) -> None:
    meminfo = "\n".join(
        f"Node 0 {name}: {size} kB"
        for name, size in (
            ("MemTotal", 67108864),
            ("MemFree", 1048576),
            ("Active(file)", 2097152),
            ("Inactive(file)", 1024),
        )
    )
    spec = TreeSpec(nodes=(NodeSpec(0, cores=1),), files={"sys/devices/system/node/node0/meminfo": meminfo})
    node = _topology(spec, tmp_path).nodes[0]
    assert node.memory_available_bytes == (1 << 30) + (2 << 30) + (1 << 20)
    assert node.memory_free_bytes == 1 << 30


@pytest.mark.parametrize(("node", "expected"), [(None, 0), (0, 0), (1, 1)])
def test_what_loads_a_server_has_a_core_of_its_own_on_its_node(node: int | None, expected: int, tmp_path: Path) -> None:
    topology = _topology(PRESETS["x86-two-sockets"], tmp_path)
    server = plan(topology, cores=1, threads_per_core=2, node=node)
    apart = plan_apart(topology, server)
    taken = {cpu for core in topology.cores if {*core.cpus} & {*server.cpus} for cpu in core.cpus}
    assert apart.threads == 1
    assert not {*apart.cpus} & taken
    assert apart.node == server.node == expected


def test_no_core_is_left_for_what_loads_a_server(tmp_path: Path) -> None:
    topology = _topology(PRESETS["x86-two-sockets"], tmp_path)
    server = plan(topology, cores=1, threads_per_core=1)
    siblings = next(core.cpus for core in topology.cores if server.cpus[0] in core.cpus)
    with pytest.raises(InputError, match="needs a core of its own"):
        plan_apart(topology, server, limits=LimitFacts(allowed_cpus=siblings))


def test_uneven_halves_and_unknown_memory_are_said(tmp_path: Path) -> None:
    topology = _topology(PRESETS["p10-two-nodes"], tmp_path)
    uneven = plan(topology, cores=1, threads_per_core=3, node=0)
    assert "The halves of a core get 2 and 1 threads" in uneven.notes[0]
    assert plan(topology, cores=1, threads_per_core=4, node=0).notes == ()
    assert plan(topology, cores=2, threads_per_core=1, node=0).notes == ()
    nodes = tuple(replace(node, memory_bytes=None) for node in topology.nodes)
    blind = plan(replace(topology, nodes=nodes), cores=1, threads_per_core=1, node=0)
    assert blind.notes == ("How much memory node 0 has is not known here; binding to it may fail.",)


def test_a_placement_says_of_its_memory_what_its_nodes_say(tmp_path: Path) -> None:
    whole = {"cpus": [0], "node": 0, "nodes": [0], "memory_nodes": [0, 1], "memory_policy": "bind:0", "threads": 1}
    (tmp_path / "plan.json").write_text(json.dumps({**whole, "threads_per_core": 1, "cores": 1, "env": {}}))
    with pytest.raises(InputError, match="memory_policy is 'bind:0'; expected 'bind:0-1'"):
        Placement.read(tmp_path / "plan.json")
