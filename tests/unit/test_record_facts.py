"""Facts of every machine that tests know, and what the rules find in them, survive a record unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.records import inference, run
from support.trees import build
from support.trees_presets import PRESETS

from harness.advice.engine import evaluate
from harness.parsing import parse_json
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.check import check
from harness.record.codec import from_json, to_json
from harness.record.model import Checks, Run
from harness.record.store import record_text
from harness.runs.fingerprint import fingerprint


def recorded(facts: Facts) -> Run:
    report = evaluate(facts)
    return replace(
        run(inference(processes=(), accuracy=None)),
        facts=facts,
        fingerprint=fingerprint(facts, facts.software),
        findings=report.findings,
        checks=Checks(report.checked, report.not_checked, report.not_applicable),
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_stored_tree_survives_a_record(name: str, tmp_path: Path) -> None:
    record = recorded(probe(SysRoot(build(replace(PRESETS[name], linked_threads=True), tmp_path))))
    document = parse_json(record_text(record), name)
    check(document)
    assert from_json(Run, document) == record


def test_this_machine_survives_a_record() -> None:
    record = recorded(probe(SysRoot("/")))
    assert from_json(Run, json.loads(json.dumps(to_json(record)))) == record
