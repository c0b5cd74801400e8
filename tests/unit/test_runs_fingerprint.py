"""The fingerprint names facts by path; a renamed fact must not silently become unknown."""

from __future__ import annotations

from harness.platform.facts import Facts
from harness.runs.fingerprint import FINGERPRINT_PATHS, fingerprint


def test_every_path_exists_in_the_facts() -> None:
    facts = Facts(sysroot="/").to_json()
    for path in FINGERPRINT_PATHS:
        node = facts
        for key in path.split("."):
            assert key in node, f"{path}: the facts have no such entry"
            node = node[key]


def test_values_and_library_versions_are_picked() -> None:
    facts = {"cpu": {"architecture": "ppc64le"}, "topology": {"smt": {"max": 8, "online": 2, "mixed": False}}}
    found = fingerprint(facts, {"packages": [{"name": "torch", "version": "2.6.0"}]})
    assert found["arch"] == "ppc64le"
    assert found["smt"]["online"] == 2
    assert found["machine"] is None
    assert found["libraries"] == {"torch": "2.6.0"}
