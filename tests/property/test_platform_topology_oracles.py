"""Topology and placement over generated machines, against the true layout, lscpu and hwloc."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import oracles, trees_presets
from support.placement_rules import can_give, check_plan
from support.tree_strategies import machines
from support.trees import Layout, TreeSpec, build, layout

from harness.errors import InputError
from harness.placement.plan import plan
from harness.platform.facts import Facts, LimitFacts, Topology
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot

_MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextmanager
def _tree(spec: TreeSpec) -> Iterator[Path]:
    fast = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=fast if fast.is_dir() else None) as directory:
        yield build(spec, Path(directory))


def _facts(spec: TreeSpec) -> Facts:
    with _tree(spec) as root:
        return probe(SysRoot(root))


def _cores(topology: Topology) -> frozenset[frozenset[int]]:
    return frozenset(frozenset(core.cpus) for core in topology.cores)


def _halves(topology: Topology) -> frozenset[frozenset[int]]:
    return frozenset(frozenset(half) for core in topology.cores for half in core.halves or ())


@_MANY
@given(machines())
def test_topology_is_the_true_layout(spec: TreeSpec) -> None:
    laid = layout(spec)
    topology = _facts(spec).topology
    assert topology.cpus_online == laid.online
    assert topology.cpus_present == laid.present
    assert [core.cpus for core in topology.cores] == [core.online for core in laid.online_cores]
    assert [core.node for core in topology.cores] == [core.node for core in laid.online_cores]
    assert [core.id for core in topology.cores] == list(range(len(topology.cores)))
    true_halves = [
        [tuple(cpu for cpu in half if cpu in core.online) for half in core.halves] for core in laid.online_cores
    ]
    assert [sorted(core.halves or ()) for core in topology.cores] == [
        sorted(half for half in halves if half and not _unlikely(spec, half)) for halves in true_halves
    ]
    assert [node.id for node in topology.nodes] == sorted(node.id for node in spec.nodes)
    for node in topology.nodes:
        true = next(item for item in spec.nodes if item.id == node.id)
        assert node.cpus == laid.node_cpus(node.id)
        assert node.memory_bytes == true.memory_mb << 20
        assert node.distances is not None
        assert node.distances[node.id] == 10
    counts = {len(core.online) for core in laid.online_cores}
    assert topology.smt.mixed == (len(counts) > 1)
    assert topology.smt.online == max(counts)
    _assert_threads_are_right_or_not_known(spec, topology)


def _unlikely(spec: TreeSpec, half: Collection[int]) -> bool:
    """A first cache of even and odd threads, which no core of this part has: a guest of another shape is seen."""
    modern = spec.power and spec.generation in ("POWER9", "POWER10", "POWER11")
    return modern and spec.threads != 4 and len({cpu % 2 for cpu in half}) > 1


def _assert_threads_are_right_or_not_known(spec: TreeSpec, topology: Topology) -> None:
    if not spec.power:
        assert topology.smt.max in (None, topology.smt.online)
        return
    assert topology.smt.max == spec.threads or (topology.smt.max is None and not spec.device_tree)
    if spec.platform == "PowerVM":
        assert topology.smt.max == spec.threads
    if topology.smt.max is not None:
        true = {core.online[0]: core.cpus for core in layout(spec).online_cores}
        assert all(core.cpus_present == true[core.cpus[0]] for core in topology.cores)


@settings(_MANY, max_examples=120)
@given(machines())
@example(trees_presets.PRESETS["p10-mixed-smt"])
@example(trees_presets.PRESETS["p8-bare-metal-smt-off"])
@example(trees_presets.PRESETS["x86-two-sockets"])
def test_lscpu_and_hwloc_read_the_same(spec: TreeSpec) -> None:
    with _tree(spec) as root:
        topology = probe(SysRoot(root)).topology
        for told in (oracles.lscpu(root), oracles.hwloc(root)):
            assert told.cores == _cores(topology)
            assert {half for half in told.halves if not _unlikely(spec, half)} == _halves(topology)
            for node, cpus in told.node_cpus.items():
                assert cpus == frozenset(topology.node(node).cpus)
            for node, size in told.node_memory.items():
                assert size == topology.node(node).memory_bytes


@_MANY
@given(machines(), st.data())
def test_every_plan_is_what_was_asked_for_or_there_is_no_such(spec: TreeSpec, data: st.DataObject) -> None:
    laid = layout(spec)
    topology = _facts(spec).topology
    allowed = data.draw(st.none() | st.sets(st.sampled_from(laid.online), min_size=1), label="allowed")
    for _ in range(4):
        cores = data.draw(st.integers(1, 5), label="cores")
        threads = data.draw(st.integers(1, spec.threads), label="threads per core")
        node = data.draw(st.none() | st.sampled_from([item.id for item in spec.nodes]), label="node")
        request = partial(
            plan,
            topology,
            cores=cores,
            threads_per_core=threads,
            node=node,
            limits=LimitFacts(allowed_cpus=None if allowed is None else tuple(sorted(allowed))),
        )
        if not can_give(laid, cores, threads, node, allowed):
            with pytest.raises(InputError):
                request()
            continue
        chosen = request()
        check_plan(laid, chosen.cpus, cores=cores, threads_per_core=threads, node=node, allowed=allowed)
        assert chosen.threads == cores * threads == int(chosen.env["OMP_NUM_THREADS"])
        with_memory = {item.id for item in spec.nodes if item.memory_mb}
        if chosen.node in with_memory:
            assert chosen.memory_nodes == (chosen.node,)
        else:
            assert set(chosen.memory_nodes) <= with_memory
            assert chosen.notes


def core_column_as_cpu_numbers(root: Path, laid: Layout, cores: int, node: int) -> list[int]:
    """The choice of launchers made for x86: lscpu's core column, handed to the scheduler as CPU numbers."""
    answer = oracles.lscpu_text(root)
    rows = [line.split(",") for line in answer.splitlines() if not line.startswith("#")]
    return sorted({int(row[1]) for row in rows if row[2] == str(node)})[:cores]


@pytest.mark.parametrize("preset", ["p10-dedicated", "p9-lpar", "p8-lpar", "p10-two-nodes", "p7-lpar-old-kernel"])
def test_core_numbers_taken_for_cpu_numbers_are_caught(preset: str, tmp_path: Path) -> None:
    spec = trees_presets.PRESETS[preset]
    laid = layout(spec)
    root = build(spec, tmp_path)
    if preset == "p7-lpar-old-kernel":
        (root / "sys/devices/system/cpu/possible").write_text(
            (root / "sys/devices/system/cpu/present").read_text()
        )  # lscpu needs it
    node = spec.nodes[0].id
    wrong = core_column_as_cpu_numbers(root, laid, 3, node)
    assert len(wrong) == 3
    with pytest.raises(AssertionError, match="distinct cores"):
        check_plan(laid, wrong, cores=3, threads_per_core=1, node=node)


def test_core_numbers_happen_to_be_cpu_numbers_on_common_x86(tmp_path: Path) -> None:
    spec = trees_presets.PRESETS["x86-two-sockets"]
    root = build(spec, tmp_path)
    laid = layout(spec)
    check_plan(laid, core_column_as_cpu_numbers(root, laid, 3, 0), cores=3, threads_per_core=1, node=0)
