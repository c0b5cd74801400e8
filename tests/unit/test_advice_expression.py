"""What unknown, absent and empty facts mean in expressions."""

from __future__ import annotations

import pytest

from harness.advice.expression import ExpressionError, parse
from harness.advice.logic import Unknown
from harness.advice.rules import scope
from harness.platform.facts import CrossCheck, Facts, LimitFacts, LparFacts, SoftwareFacts, Topology
from harness.platform.nodes import Node

NODES = (Node(7, (0, 1), 100, 50, {7: 10}), Node(252, (), 0, 0, None))


def value(text: str, **groups: object) -> object:
    facts = Facts("/", **groups)
    names = {name: getattr(facts, name) for name in scope() if hasattr(facts, name)}
    return parse(text, scope()).evaluate(names)


def test_a_fact_that_was_not_read_is_unknown_and_named():
    assert value("not lpar.dedicated") == Unknown(frozenset({"lpar.dedicated"}))
    assert value("lpar.dedicated and lpar.donating", lpar=LparFacts(donating=True)) == Unknown(
        frozenset({"lpar.dedicated"})
    )


def test_an_empty_collection_counts_only_where_it_was_read():
    assert value("len(topology.nodes) == 0") == Unknown(frozenset({"topology.nodes"}))
    assert value("len(topology.nodes) == 0", topology=Topology(sources={"nodes": "sysfs"})) is True
    assert value("len(software.environment) == 0", software=SoftwareFacts()) == Unknown(
        frozenset({"software.environment"})
    )
    assert value("len(crosscheck.disagreements) == 0", crosscheck=CrossCheck()) is True  # a group without sources


def test_a_fact_known_to_be_absent_is_none_and_has_no_size():
    no_quota = LimitFacts(sources={"cpu_quota_cores": "cgroup"})
    assert value("limits.cpu_quota_cores is None", limits=no_quota) is True
    assert value("limits.cpu_quota_cores is not None and limits.cpu_quota_cores < 3", limits=no_quota) is False
    assert value("limits.cpu_quota_cores < 3", limits=no_quota) == Unknown(frozenset({"limits.cpu_quota_cores"}))
    assert value("limits.cpu_quota_cores is None", limits=LimitFacts()) == Unknown(
        frozenset({"limits.cpu_quota_cores"})
    )


def test_missing_facts_inside_a_collection_are_named_by_their_place():
    nodes = (Node(0, (0,), None, None, None),)
    found = value("any(n.memory_bytes == 0 for n in topology.nodes)", topology=Topology(nodes=nodes))
    assert found == Unknown(frozenset({"topology.nodes[].memory_bytes"}))


def test_tables_functions_and_lists():
    topology = Topology(nodes=NODES)
    assert value("topology.smt.cores_by_threads[8]", topology=topology) == Unknown(
        frozenset({"topology.smt.cores_by_threads[8]"})
    )
    assert value("cpulist([c for n in topology.nodes for c in n.cpus])", topology=topology) == "0-1"
    assert value("first([n.id for n in topology.nodes if len(n.cpus) == 0])", topology=topology) == 252
    assert isinstance(value("first([n.id for n in topology.nodes if n.id == 3])", topology=topology), Unknown)
    assert value("known(lpar.affinity_score, 100)") == 100
    assert isinstance(value("1 / len([n.id for n in topology.nodes if n.id < 0])", topology=topology), Unknown)
    environment = SoftwareFacts(environment={"OMP_NUM_THREADS": "4,2"})
    assert isinstance(value("integer(software.environment['OMP_NUM_THREADS']) > 1", software=environment), Unknown)
    assert value("'OMP_NUM_THREADS' in software.environment", software=environment) is True


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lpar.dedicatd", "'lpar.dedicatd' is not a fact; LparFacts has affinity_score, capacity_weight"),
        ("lapr.dedicated", "'lapr' is not known; expected one of caches, cpu, "),
        ("len(lpar.dedicated)", "len takes a collection or a table, not true/false"),
        ("topology.nodes.id", "'topology.nodes' is collection of Node and has no fields"),
        ("mean(topology.cpus_online)", "no function 'mean'; expected one of all, any, cores_by_threads"),
        ("lpar.dedicated ==", "not an expression: "),
    ],
)
def test_mistakes_are_told_with_what_was_expected(text, told):
    with pytest.raises(ExpressionError) as failure:
        parse(text, scope())
    assert told in str(failure.value)
