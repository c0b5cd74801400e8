"""What a process may use of a machine, and that rules, plans and remedies keep to it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.trees import NodeSpec, TreeSpec, build
from support.trees_presets import PRESETS

from harness.advice.engine import evaluate
from harness.advice.finding import Finding
from harness.advice.rules import WorkloadNeeds
from harness.errors import InputError
from harness.placement.plan import plan
from harness.platform.facts import Facts, SoftwareFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.platform.usable import usable

POD = {"run/secrets/kubernetes.io/serviceaccount/namespace": "ml"}
TWO = TreeSpec(nodes=(NodeSpec(0, cores=2), NodeSpec(1, cores=2)), numa_balancing=1)
SPLIT = TreeSpec(  # all CPUs on one node, all memory on two others as near as each other
    nodes=(NodeSpec(0, cores=0, memory_mb=8664), NodeSpec(1, cores=0, memory_mb=5602), NodeSpec(2, 1, memory_mb=0))
)


def _facts(spec: TreeSpec, root: Path, **environment: str) -> Facts:
    facts = probe(SysRoot(build(spec, root)))
    software = SoftwareFacts(environment=environment, sources={"environment": "test"})
    return replace(facts, software=software) if environment else facts


def _findings(facts: Facts, **needs: int) -> dict[str, Finding]:
    workload = WorkloadNeeds(sources=dict.fromkeys(needs, "--memory"), **needs)
    return {finding.id: finding for finding in evaluate(facts, workload=workload).findings}


def test_a_pod_on_one_core_of_the_second_node_hears_of_that_core_only(tmp_path: Path) -> None:
    spec = replace(TWO, allowed_cpus="16-23", allowed_mems="1", files=POD)
    facts = _facts(spec, tmp_path, DUMMY="1")
    part = usable(facts.topology, facts.limits)
    assert (part.whole, part.best_node, part.best_cores, part.pin) == (False, 1, 1, (16, 17))
    assert [node.id for node in part.nodes] == [1]
    findings = _findings(facts)
    assert set(findings) == {"cpus-withheld", "smt-above-two", "threads-unset"}
    assert "one thread per CPU: 8" in findings["threads-unset"].title
    assert findings["threads-unset"].fix[0].startswith("numactl --physcpubind=16-17 env OMP_NUM_THREADS=2 ")
    assert findings["smt-above-two"].fix == ("lparbench run --cores 1 --threads-per-core 2",)


def test_a_pod_with_one_thread_of_each_core_is_not_told_to_start_from_two(tmp_path: Path) -> None:
    spec = replace(TWO, allowed_cpus="0,8,16,24", allowed_mems="0-1", files=POD)
    assert "smt-above-two" not in _findings(_facts(spec, tmp_path))


def test_threads_of_one_half_only_are_not_taken_for_two_halves(tmp_path: Path) -> None:
    facts = _facts(replace(TWO, allowed_cpus="3,5,7,21", allowed_mems="0-1", files=POD), tmp_path)
    part = usable(facts.topology, facts.limits)
    assert (part.best_cpus, part.run_threads, part.run_cores, part.pin) == ((3, 5, 7), 1, 1, (3,))
    findings = _findings(facts)
    assert findings["smt-above-two"].fix == ("lparbench run --cores 1 --threads-per-core 1",)
    assert findings["threads-on-one-half"].title == "The threads of 1 core of 2 are on one half"
    assert findings["threads-on-one-half"].fix == ()  # which CPUs a pod has is not for the pod to say


def test_a_large_partition_is_no_finding_of_a_small_container(tmp_path: Path) -> None:
    chips = PRESETS["p10-over-chip"]
    assert "lpar-larger-than-chip" in _findings(_facts(chips, tmp_path / "whole"))
    inside = _findings(_facts(replace(chips, allowed_cpus="0-7"), tmp_path / "part"))
    assert not {"lpar-larger-than-chip", "cpus-on-several-nodes"} & set(inside)


def test_memory_of_fewer_nodes_than_cpus(tmp_path: Path) -> None:
    facts = _facts(replace(TWO, allowed_mems="0"), tmp_path)
    chosen = plan(facts.topology, cores=2, threads_per_core=2, limits=facts.limits)
    assert (chosen.node, str(chosen.memory_policy)) == (0, "bind:0")
    away = plan(facts.topology, cores=1, threads_per_core=1, node=1, limits=facts.limits)
    assert (str(away.memory_policy), away.notes) == (
        "bind:0",
        ("This process may take no memory of node 1; it is taken from node 0 at distance 40 (10 is local).",),
    )
    finding = _findings(facts)["memory-withheld"]
    assert finding.title == "This process may use CPUs of node 1, but memory of node 0 only"
    assert finding.fix == ("lparbench run --nodes 0", "numactl --cpunodebind=0 --membind=0 PROGRAM")


def test_memory_nodes_of_another_machine_say_nothing(tmp_path: Path) -> None:
    facts = _facts(replace(PRESETS["p10-node7"], allowed_mems="0"), tmp_path)
    assert usable(facts.topology, facts.limits).best_node == 7


def test_cpus_and_memory_on_different_nodes(tmp_path: Path) -> None:
    facts = _facts(SPLIT, tmp_path)
    chosen = plan(facts.topology, cores=1, threads_per_core=2)
    assert (chosen.memory_nodes, str(chosen.memory_policy)) == ((0, 1), "bind:0-1")
    assert chosen.notes == ("Node 2 has no memory; it is taken from nodes 0-1 at distance 40 (10 is local).",)
    findings = _findings(facts, memory_bytes=12 << 30)
    commands = [line for finding in findings.values() for line in finding.fix]
    assert not [line for line in commands if "--cpunodebind" in line or "run --nodes" in line]
    assert findings["node-without-memory"].fix[:2] == (
        "numactl --physcpubind=0-7 --membind=0-1 PROGRAM",
        "numactl --physcpubind=0-7 --interleave=0-1 PROGRAM",
    )
    assert findings["memory-of-node"].fix == ("numactl --physcpubind=0-7 --interleave=0-1 PROGRAM",)


def test_no_command_binds_to_a_node_whose_memory_is_taken(tmp_path: Path) -> None:
    """Huge pages that were reserved on one node leave it nothing to give; a node with fewer cores is better then."""
    nodes = (NodeSpec(0, cores=4, memory_mb=65536, free_mb=900), NodeSpec(1, cores=2, memory_mb=65536, free_mb=60000))
    facts = _facts(TreeSpec(nodes=nodes, huge_pages_2m=30000), tmp_path)
    commands = [line for finding in _findings(facts).values() for line in finding.fix]
    bound = [line for line in commands if "--membind" in line or "run --nodes" in line]
    assert bound
    assert not [line for line in bound if "--membind=0" in line or "run --nodes 0" in line]
    assert usable(facts.topology).best_node == plan(facts.topology, cores=1, threads_per_core=1).node == 1


def test_fast_memory_of_x86_is_not_called_remote(tmp_path: Path) -> None:
    nodes = (NodeSpec(0, cores=2), NodeSpec(1, cores=2), NodeSpec(2, 0, memory_mb=16384), NodeSpec(3, 0))
    spec = TreeSpec(platform="x86", threads=2, nodes=nodes, distance=21, lpar=None)
    assert "memory-away-from-cpus" not in _findings(_facts(spec, tmp_path / "x86"))
    assert "memory-away-from-cpus" in _findings(_facts(replace(TWO, nodes=nodes[:3]), tmp_path / "power"))


@pytest.mark.parametrize(
    ("quota", "cores", "threads", "noted"),
    [("400000 100000", 2, 2, False), ("400000 100000", 2, 4, True), ("50000 100000", 1, 1, True), ("max", 2, 8, False)],
)
def test_a_placement_beyond_the_quota_says_so(
    quota: str, cores: int, threads: int, noted: bool, tmp_path: Path
) -> None:
    facts = _facts(replace(TWO, files={"sys/fs/cgroup/cpu.max": quota}), tmp_path)
    chosen = plan(facts.topology, cores=cores, threads_per_core=threads, limits=facts.limits)
    assert any("control group allows" in note for note in chosen.notes) == noted


def test_a_quota_is_of_threads_and_its_remedies_keep_to_it(tmp_path: Path) -> None:
    facts = _facts(replace(TWO, files={**POD, "sys/fs/cgroup/cpu.max": "400000 100000"}), tmp_path, DUMMY="1")
    findings = _findings(facts)
    quota = findings["cpu-quota"]
    assert quota.title == "A control group allows 4 CPUs' worth of time on 32 CPUs"
    assert quota.fix == (
        "export OMP_NUM_THREADS=4 OPENBLAS_NUM_THREADS=4",
        "lparbench run --cores 2 --threads-per-core 2",
    )
    assert "resources.limits.cpu" in quota.why
    narrow = replace(facts, limits=replace(facts.limits, cpu_quota_cores=2.5))
    assert "OMP_NUM_THREADS=2 " in _findings(narrow)["threads-unset"].fix[0]


def test_the_smaller_bound_of_memory_decides_the_remedy(tmp_path: Path) -> None:
    limited = _facts(replace(TWO, files={**POD, "sys/fs/cgroup/memory.max": str(16 << 30)}), tmp_path / "pod")
    finding = _findings(limited, memory_bytes=20 << 30)["memory-for-workload"]
    assert finding.title == "The work needs 20 GiB; 16 GiB are available"
    assert "resources.limits.memory" in finding.why
    assert finding.fix == ("oc set resources deployment/DEPLOYMENT --limits=memory=21Gi",)
    service = _facts(replace(TWO, files={"sys/fs/cgroup/memory.max": str(16 << 30)}), tmp_path / "service")
    assert _findings(service, memory_bytes=20 << 30)["memory-for-workload"].fix == ()
    whole = _findings(_facts(TWO, tmp_path / "lpar"), memory_bytes=200 << 30)["memory-for-workload"]
    assert whole.fix[0].startswith("chhwres ")
    nodes = _facts(replace(TWO, allowed_mems="1"), tmp_path / "cpuset")
    finding = _findings(nodes, memory_bytes=70 << 30)["memory-for-workload"]
    assert (finding.title, finding.fix) == ("The work needs 70 GiB; 64 GiB are available", ())


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("none", ("lparbench smt set 2  # as root", "ppc64_cpu --smt=2  # as root")),
        ("kubernetes", ("oc debug node/NODE -- chroot /host ppc64_cpu --smt=2  # as cluster administrator",)),
        ("docker", ("ppc64_cpu --smt=2  # as root on the host",)),
    ],
)
def test_root_in_a_container_is_not_root_of_the_host(container: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    facts = _facts(replace(TWO, smt=1, smt_control="off"), tmp_path)
    facts = replace(facts, limits=replace(facts.limits, container=container))
    assert _findings(facts)["smt-one-thread"].fix == expected


@pytest.mark.parametrize("container", ["kubernetes", "docker", "container"])
def test_a_container_is_given_no_command_that_resizes_the_partition(container: str, tmp_path: Path) -> None:
    facts = _facts(PRESETS["p10-over-chip"], tmp_path)
    facts = replace(facts, limits=replace(facts.limits, container=container))
    findings = _findings(facts, memory_bytes=500 << 30)
    assert {"cpus-on-several-nodes", "memory-for-workload"} <= set(findings)
    commands = [line for finding in findings.values() for line in finding.fix]
    assert not [line for line in commands if re.search(r"chhwres|optmem|desired_procs", line)]


@pytest.mark.parametrize(
    ("spec", "title", "command"),
    [
        (  # vsmt=2: every second core of a guest never comes up
            replace(PRESETS["kvm-guest"], nodes=(NodeSpec(0, cores=8),), offline_cores=frozenset((1, 3, 5, 7))),
            "4 of 8 cores are offline",
            "chcpu -e 1,3,5,7  # as root",
        ),
        (
            replace(PRESETS["kvm-guest"], threads=4, nodes=(NodeSpec(0, cores=3),), offline_cores=frozenset((2,))),
            "1 of 3 cores is offline",
            "chcpu -e 8-11  # as root",
        ),
        (
            replace(PRESETS["p9-bare-metal"], offline_cores=frozenset((0, 7))),
            "2 of 8 cores are offline",
            "ppc64_cpu --cores-on=all  # as root",
        ),
        (
            replace(PRESETS["p10-smt2"], offline_cores=frozenset((2,)), lpar=None),
            "1 of 4 cores is offline",
            "ppc64_cpu --cores-on=all  # as root",
        ),
        (
            replace(PRESETS["x86-two-sockets"], online_threads={2: (0,)}),
            "1 of 16 CPUs is offline",
            "chcpu -e 10  # as root",
        ),
    ],
)
def test_cores_offline_are_found_on_every_hypervisor(spec: TreeSpec, title: str, command: str, tmp_path: Path) -> None:
    finding = _findings(_facts(spec, tmp_path))["cores-offline"]
    assert (finding.title, finding.fix) == (title, (command,))


@pytest.mark.parametrize(
    "spec",
    [
        PRESETS["p10-smt2"],
        PRESETS["kvm-guest"],
        replace(PRESETS["x86-two-sockets"], smt=1, smt_control="off"),
        replace(PRESETS["kvm-guest"], threads=4, smt=1, device_tree=False),  # cores or threads: not to be told apart
        replace(PRESETS["p10-smt2"], offline_cores=frozenset((2,)), allowed_cpus="0-1"),
    ],
)
def test_threads_of_cores_in_use_and_cores_of_others_are_no_cores_offline(spec: TreeSpec, tmp_path: Path) -> None:
    assert "cores-offline" not in _findings(_facts(spec, tmp_path))


@pytest.mark.parametrize("smt", [2, 4, 8])
def test_a_core_of_two_halves_has_them_even_where_the_kernel_shows_one_cache(smt: int, tmp_path: Path) -> None:
    spec = replace(PRESETS["p10-dedicated"], kernel_halves=False, smt=smt, nodes=(NodeSpec(0, cores=2),))
    facts = _facts(spec, tmp_path, OMP_NUM_THREADS="4")
    assert {core.halves for core in facts.topology.cores} == {None}
    assert not {"threads-above-halves", "threads-one-per-core"} & set(_findings(facts))
    assert plan(facts.topology, cores=2, threads_per_core=2).cpus == (0, 1, 8, 9)
    assert usable(facts.topology).pin == (0, 1, 8, 9)


@pytest.mark.parametrize(
    ("generation", "threads", "halves"),
    [
        ("POWER8", 8, (tuple(range(8)),)),
        ("POWER9", 4, ((0, 1, 2, 3),)),
        ("POWER10", 4, ((0, 1, 2, 3),)),
        ("POWER9", 8, None),
        ("POWER11", 8, None),
    ],
)
def test_which_cores_may_share_one_cache(
    generation: str, threads: int, halves: tuple[tuple[int, ...], ...] | None, tmp_path: Path
) -> None:
    spec = TreeSpec(generation=generation, threads=threads, kernel_halves=False, nodes=(NodeSpec(0, cores=1),))
    assert _facts(spec, tmp_path).topology.cores[0].halves == halves


def test_no_cpu_left_is_refused_and_gives_no_command_with_cpus(tmp_path: Path) -> None:
    facts = _facts(replace(TWO, allowed_cpus="200"), tmp_path, DUMMY="1")
    with pytest.raises(InputError, match="may use none of the CPUs") as caught:
        plan(facts.topology, cores=1, threads_per_core=1, limits=facts.limits)
    assert "No NUMA node can give" in str(caught.value)
    commands = [line for finding in _findings(facts).values() for line in finding.fix]
    assert not [line for line in commands if re.search(r"physcpubind|nodebind|--cores|--nodes", line)]
