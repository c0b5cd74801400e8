"""Roofs are kept per state of the machine, and only those of a machine as quiet as it is now are used again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support import records
from support.sweeps import PLACEMENT

from harness.placement.model import Placement
from harness.platform.facts import Facts, Smt
from harness.roofline import kept
from harness.roofline.assemble import roofline
from harness.roofline.measured import MeasuredRoof
from harness.roofline.probes import ComputeRoof
from harness.runs.fingerprint import state_digest
from harness.workers import survey
from harness.workers.jobs import SurveyJob

NOW = datetime(2026, 8, 1, 12, tzinfo=timezone.utc)
ROOF = MeasuredRoof((0,), (ComputeRoof("float32", 1e11, "mma", "gemm", (0,)),), (), (), "")


@pytest.mark.parametrize(
    ("then", "load", "age", "used"),
    [
        (0.1, 0.0, timedelta(days=1), True),
        (0.1, None, timedelta(days=1), True),
        (0.6, 0.1, timedelta(days=1), False),
        (0.6, 0.7, timedelta(days=1), True),
        (None, 0.1, timedelta(days=1), False),
        (0.1, 0.0, timedelta(days=8), False),
        (0.1, 0.0, timedelta(seconds=-1), False),
    ],
)
def test_a_kept_roof_is_used_by_age_and_load(
    then: float | None, load: float | None, age: timedelta, used: bool, tmp_path: Path
) -> None:
    file = tmp_path / "roofs" / "a.json"
    kept.keep(file, ROOF, then, NOW - age)
    roof = kept.read(file, load, NOW)
    assert roof == (replace(ROOF, measured_at=(NOW - age).isoformat()) if used else None)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"at": "yesterday", "load": 0.1, "roof": null}'])
def test_a_damaged_file_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert kept.read(tmp_path / "a.json", 0.0) is None
    assert kept.read(tmp_path / "nosuch.json", 0.0) is None


def test_the_survey_measures_once_per_state_and_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[int, ...]] = []

    def measure(cpus: tuple[int, ...], cache_bytes: int | None) -> MeasuredRoof:
        measured.append(cpus)
        return ROOF

    monkeypatch.setattr(survey, "measured_roof", measure)
    monkeypatch.setattr(kept, "QUIET", 1e9)  # whatever else runs here
    job = SurveyJob(threads=1, cpus=(0,), directory=str(tmp_path), kept=str(tmp_path / "roofs/a.json"))
    assert survey._roof(job) == ROOF
    again = survey._roof(job)
    assert again is not None
    assert again.measured_at is not None
    assert len(measured) == 1
    assert survey._roof(replace(job, fresh=True)) == ROOF
    assert survey._roof(replace(job, kept=None)) == ROOF
    assert len(measured) == 3
    notes = roofline(again, records.facts())
    assert notes is not None
    assert any(again.measured_at in note for note in notes.notes)


def test_another_state_of_the_machine_has_other_roofs() -> None:
    facts = records.facts()
    digest = state_digest(facts, PLACEMENT)
    assert digest == state_digest(records.facts(), PLACEMENT)
    assert digest.isalnum()
    topology = replace(facts.topology, smt=Smt(max=8, online=1, mixed=False))
    others: list[tuple[Facts, Placement]] = [
        (replace(facts, topology=topology), PLACEMENT),
        (replace(facts, energy=replace(facts.energy, governor="powersave")), PLACEMENT),
        (facts, replace(PLACEMENT, cpus=(8,))),
        (facts, PLACEMENT.bound_to((1,))),
    ]
    assert len({digest, *(state_digest(*pair) for pair in others)}) == 5
