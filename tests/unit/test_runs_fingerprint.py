"""The fingerprint picks the facts that a comparison must agree on."""

from __future__ import annotations

from dataclasses import fields

from support import records

from harness.platform.facts import CpuFacts, Facts, Package, Smt, SoftwareFacts, Topology
from harness.record.model import Fingerprint
from harness.runs.fingerprint import fingerprint


def test_values_and_library_versions_are_picked() -> None:
    facts = Facts("/", cpu=CpuFacts(architecture="ppc64le"), topology=Topology(smt=Smt(max=8, online=2, mixed=False)))
    picked = fingerprint(facts, SoftwareFacts(packages=(Package("torch", "2.6.0", None),)))
    assert picked.arch == "ppc64le"
    assert picked.smt == facts.topology.smt
    assert picked.machine is None
    assert picked.libraries == {"torch": "2.6.0"}


def test_every_fact_that_is_known_reaches_the_fingerprint() -> None:
    facts, software = records.facts(), records.software()
    picked = fingerprint(facts, software)
    unknown = {field.name for field in fields(Fingerprint) if getattr(picked, field.name) is None}
    assert unknown == {"lpar_dedicated", "cpu_quota"}
