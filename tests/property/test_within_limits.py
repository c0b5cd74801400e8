"""Whatever the machine and the limits: no plan, command or remedy names a CPU or a node outside of them."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import oracles
from support.numactl_rules import objections
from support.tree_strategies import machines
from support.trees import NodeSpec, TreeSpec, build, cpu_list, layout

from harness.advice.engine import evaluate
from harness.advice.rules import WorkloadNeeds
from harness.errors import InputError
from harness.placement.plan import plan
from harness.platform.facts import Facts, SoftwareFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot


def _facts(spec: TreeSpec, threads: int | None) -> Facts:
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None) as directory:
        facts = probe(SysRoot(build(spec, Path(directory))))
    environment = {"DUMMY": "1"} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return replace(facts, software=SoftwareFacts(environment=environment, sources={"environment": "test"}))


def _commands(facts: Facts, memory_bytes: int) -> list[str]:
    needs = WorkloadNeeds(memory_bytes, {"memory_bytes": "--memory"})
    return [command for finding in evaluate(facts, workload=needs).findings for command in finding.fix]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(machines(), st.data())
def test_plans_and_commands_keep_to_the_limits(spec: TreeSpec, data: st.DataObject) -> None:
    laid = layout(spec)
    with_memory = [node.id for node in spec.nodes if node.memory_mb]
    cpus = data.draw(st.sets(st.sampled_from(laid.online), min_size=1), label="allowed CPUs")
    mems = data.draw(st.sets(st.sampled_from(with_memory), min_size=1), label="memory") if with_memory else set()
    quota = data.draw(st.none() | st.floats(0.1, 2.0 * len(cpus)), label="quota")
    threads = data.draw(st.none() | st.integers(1, 3 * len(cpus)), label="threads")
    spec = replace(
        spec,
        allowed_cpus=cpu_list(tuple(cpus)),
        allowed_mems=cpu_list(tuple(mems)),
        files={} if quota is None else {"sys/fs/cgroup/cpu.max": f"{int(quota * 100_000)} 100000"},
    )
    facts = _facts(spec, threads)
    for command in _commands(facts, data.draw(st.sampled_from((1 << 28, 10 << 30, 1 << 40)), label="needs")):
        assert objections(command, laid, cpus, mems) == [], command
        placed = re.search(r"run --cores ([0-9]+) --threads-per-core ([0-9]+)", command)
        if placed and quota is not None:
            assert int(placed[1]) * int(placed[2]) <= max(1.0, quota), command
    try:
        chosen = plan(
            facts.topology,
            cores=data.draw(st.integers(1, 4), label="cores"),
            threads_per_core=data.draw(st.integers(1, spec.threads), label="threads per core"),
            node=data.draw(st.none() | st.sampled_from([node.id for node in spec.nodes]), label="node"),
            limits=facts.limits,
        )
    except InputError:
        return
    assert set(chosen.cpus) <= cpus
    assert set(chosen.memory_nodes) <= mems
    assert chosen.memory_nodes or not mems
    if chosen.node in mems:
        assert chosen.memory_nodes == (chosen.node,)


@pytest.mark.parametrize("memory_mb", [(8192, 0), (8192, 4096)])
def test_numactl_itself_takes_every_command_for_a_machine_like_this_one(
    memory_mb: tuple[int, int], tmp_path: Path
) -> None:
    """Nodes 0 and 1, the CPUs that this process may use all on node 1; real memory is on node 0 only."""
    cpus = oracles.first_cpus()
    nodes = (NodeSpec(0, cores=0, memory_mb=memory_mb[0]), NodeSpec(1, cores=len(cpus), memory_mb=memory_mb[1]))
    spec = TreeSpec(platform="KVM", generation="POWER8", mtm=None, threads=1, lpar=None, nodes=nodes, allowed_mems="0")
    root = build(spec, tmp_path)
    commands = [line for line in _commands(probe(SysRoot(root)), 10 << 30) if line.startswith("numactl ")]
    assert oracles.numactl_runs(root, "numactl --cpunodebind=0 --membind=0 PROGRAM") is False  # no CPUs there
    assert oracles.numactl_runs(root, f"numactl --physcpubind={len(cpus) + 200} PROGRAM") is False
    assert commands
    for command in commands:
        assert oracles.numactl_runs(root, command), command
