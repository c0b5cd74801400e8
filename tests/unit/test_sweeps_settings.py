"""Which settings a sweep has on a machine: all that can be had, and a reason for each of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sweeps import factors
from support.trees import NodeSpec, TreeSpec, build

from harness.errors import InputError
from harness.placement.instances import divide_among_instances
from harness.placement.plan import plan
from harness.placement.smt import SmtMethod
from harness.platform.facts import LimitFacts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.scoring.backends import BACKENDS
from harness.sweeps.settings import Bounds, Location, bounds_of, configurations_of, default_factors
from harness.workers.http import common_cores

SPEC = TreeSpec(nodes=(NodeSpec(0, cores=4), NodeSpec(7, cores=2), NodeSpec(9, cores=0), NodeSpec(11, 2, memory_mb=0)))


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory):
    return probe(SysRoot(build(SPEC, tmp_path_factory.mktemp("machine") / "root")))


@pytest.fixture(scope="module")
def machine(facts) -> Bounds:
    return bounds_of(facts.topology, LimitFacts(), SmtMethod.SWITCHED)


def test_the_machine_has_the_cores_that_may_be_used(facts, machine: Bounds) -> None:
    assert dict(machine.cores) == {0: 4, 7: 2, 11: 2}
    assert machine.memory_nodes == {0, 7, 9}
    assert machine.threads == 8
    few = bounds_of(facts.topology, LimitFacts(allowed_cpus=(0, 1, 2, 32), allowed_mems=(7, 9)), SmtMethod.SWITCHED)
    assert (dict(few.cores), few.memory_nodes) == ({0: 1, 7: 1}, {7, 9})


def test_without_the_right_to_switch_only_threads_on_line_count(tmp_path: Path) -> None:
    partial = probe(SysRoot(build(TreeSpec(smt=2, smt_control="2"), tmp_path)))
    assert bounds_of(partial.topology, LimitFacts(), SmtMethod.AFFINITY).threads == 2
    assert bounds_of(partial.topology, LimitFacts(), SmtMethod.SWITCHED).threads == 8


def test_by_default_all_levels_of_the_machine_are_gone_through(machine: Bounds) -> None:
    found = default_factors(machine, ("w",), 64, "eager")
    assert found.smt == found.threads_per_core == (1, 2, 4, 8)
    assert found.cores == (1, 2, 4)
    assert found.locations == (Location(0), Location(7), Location(11))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"smt": (16,)}, "SMT 16 is more than the cores have, 8 threads"),
        ({"cores": (5,)}, "node 0 has 4 cores, not 5"),
        ({"locations": (Location(3),)}, "node 3 has no CPU that may be used (nodes that have: 0, 7, 11)"),
        ({"locations": (Location(9),)}, "node 9 has no CPU that may be used (nodes that have: 0, 7, 11)"),
        ({"locations": (Location(0, 11),)}, "node 11 has no memory that may be used"),
        ({"smt": (4,)}, "more threads per core than the SMT level has"),
        ({"instances": (3,)}, "the instances cannot divide the cores evenly"),
        ({"dtypes": ("int8",)}, "backend eager has no int8"),
    ],
)
def test_what_cannot_be_had_is_told_and_counted(machine: Bounds, changes: dict, reason: str) -> None:
    chosen, skipped = configurations_of(factors(**changes), machine)
    assert chosen == ()
    assert skipped == {reason: 1}


def test_by_affinity_a_level_is_a_number_of_threads(facts) -> None:
    machine = bounds_of(facts.topology, LimitFacts(), SmtMethod.AFFINITY)
    chosen, skipped = configurations_of(factors(smt=(2, 4), threads_per_core=(2, 4)), machine)
    assert [(one.smt, one.threads_per_core) for one in chosen] == [(2, 2), (4, 4)]
    assert sum(skipped.values()) == 2
    _, skipped = configurations_of(factors(smt=(16,)), machine)
    assert (
        next(iter(skipped))
        == "SMT 16 is more than the cores have, 8 threads online, and no more can be brought online here"
    )


levels = st.lists(st.integers(1, 10), min_size=1, max_size=4, unique=True).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    smt=levels, threads=levels, cores=levels, instances=levels, batches=levels,
    backends=st.lists(st.sampled_from(sorted(BACKENDS)), min_size=1, max_size=3, unique=True).map(tuple),
    dtypes=st.lists(st.sampled_from(["float32", "bfloat16", "int8"]), min_size=1, max_size=3, unique=True).map(tuple),
    locations=st.lists(
        st.builds(Location, st.sampled_from([0, 3, 7, 9, 11]), st.sampled_from([None, 0, 7, 11])),
        min_size=1, max_size=3, unique=True,
    ).map(tuple),
    method=st.sampled_from(list(SmtMethod)),
)  # fmt: skip
def test_every_combination_is_a_setting_once_or_left_out_for_a_reason(
    facts, smt, threads, cores, instances, batches, backends, dtypes, locations, method
) -> None:
    wanted = factors(
        smt=smt, threads_per_core=threads, cores=cores, instances=instances, batch_sizes=batches, backends=backends,
        dtypes=dtypes, locations=locations,
    )  # fmt: skip
    machine = bounds_of(facts.topology, LimitFacts(), method)
    chosen, skipped = configurations_of(wanted, machine)
    total = 1
    for found in (smt, threads, cores, instances, batches, backends, dtypes, locations):
        total *= len(found)
    assert len(chosen) + sum(skipped.values()) == total
    assert len(set(chosen)) == len(chosen)
    for one in chosen:  # the planner is the oracle: with all threads on line it places every setting
        where = plan(facts.topology, cores=one.cores, threads_per_core=one.threads_per_core, node=one.node)
        assert len(where.cpus) == one.threads
        assert len(divide_among_instances(where, one.instances)) == one.instances


def test_what_the_planner_cannot_place_is_never_a_setting(facts, machine: Bounds) -> None:
    for cores in range(1, 9):
        for node in (0, 3, 7, 9, 11):
            chosen, _ = configurations_of(factors(cores=(cores,), locations=(Location(node),)), machine)
            try:
                plan(facts.topology, cores=cores, threads_per_core=8, node=node)
            except InputError:
                assert chosen == ()
            else:
                assert len(chosen) == 1


def test_a_sweep_in_a_container_keeps_to_its_cpus_memory_and_quota(facts) -> None:
    limits = LimitFacts(allowed_cpus=(0, 1, 8, 9, 32), allowed_mems=(7,), cpu_quota_cores=3.5)
    bounds = bounds_of(facts.topology, limits, SmtMethod.AFFINITY)
    assert (dict(bounds.cores), bounds.memory_nodes, bounds.threads) == ({0: 2, 7: 1}, {7}, 2)
    chosen, skipped = configurations_of(default_factors(bounds, ("a",), 64, "native"), bounds)
    assert max(each.cores * each.threads_per_core for each in chosen) == 2
    assert "a control group allows 3.5 CPUs' worth of time, and 4 threads would be busy" in skipped
    tight = replace(bounds, cpu_time=0.5)
    chosen, _ = configurations_of(default_factors(tight, ("a",), 64, "native"), tight)
    assert {each.cores * each.threads_per_core for each in chosen} == {1}


def test_over_http_a_core_is_left_for_the_load_and_the_same_is_served_in_process(machine: Bounds) -> None:
    chosen, skipped = configurations_of(
        factors(smt=(1,), threads_per_core=(1,), cores=(1, 4, 8), batch_sizes=(1,), instances=(1, 2)), machine, "http"
    )
    assert {each.scenarios for each in chosen} == {("http", "server")}
    assert {(each.cores, each.instances) for each in chosen} == {(1, 1), (4, 1)}
    assert any("one server process" in reason for reason in skipped)
    single = replace(machine, cores={0: 4})
    chosen, skipped = configurations_of(factors(smt=(1,), threads_per_core=(1,), cores=(2, 4)), single, "http")
    assert [each.cores for each in chosen] == [2]
    assert skipped == {"the load over HTTP needs a core of its own, and 4 cores would leave none": 1}


@pytest.mark.parametrize(
    ("server", "generator", "shared"),
    [({0, 1}, {16}, None), ({0}, {0}, "0"), ({3, 9}, {1}, "3"), ({0, 8}, {15, 1}, "0, 8")],
)
def test_server_and_generator_on_one_core_give_no_figure(
    tmp_path: Path, server: set[int], generator: set[int], shared: str | None
) -> None:
    """A core of eight threads has 0 to 7, the next 8 to 15."""
    root = SysRoot(build(SPEC, tmp_path / "root"))
    reason = common_cores(server, generator, root)
    assert reason == (None if shared is None else f"server and generator share the cores of CPUs {shared}")
    assert common_cores({5}, {5}, SysRoot(tmp_path / "nothing")) is not None  # siblings are not known
