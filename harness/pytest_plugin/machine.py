"""This machine, as the plugin's modules need it; detected once per session."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from harness.compare.facts import Facts as FlatFacts
from harness.compare.facts import facts_of
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.runs.fingerprint import fingerprint


@dataclass(frozen=True)
class Machine:
    """Facts of this machine, and the fingerprint that a comparison must agree on."""

    facts: Facts
    fingerprint: FlatFacts


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """Detect this machine."""
    facts = probe(SysRoot(), cross_checked=False)
    return Machine(facts, facts_of(fingerprint(facts, facts.software)))
