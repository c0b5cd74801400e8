"""Keeps the noise floor of a run that was compared with itself in the run's record and report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.gates.files import CheckedRun
from harness.gates.selfcheck import noise_floor_record
from harness.record.files import write_file
from harness.record.model import Run
from harness.record.store import RECORD_NAME, encode, load_run, record_text, write_run
from harness.reporting.html import render

_REPORT = "report.html"


def keep_in_record(checked: CheckedRun, path: Path) -> None:
    """Write the floor into the record at ``path`` and its report; files of pytest-benchmark have no place for it."""
    file = path / RECORD_NAME if path.is_dir() else path
    if file.name != RECORD_NAME or not file.exists():
        return
    record = _with_floor(load_run(file), checked)
    write_file(file, encode(record_text(record)))
    write_file(file.with_name(_REPORT), render(record))


def keep_run(checked: CheckedRun, run: Run, directory: Path) -> Path:
    """Write the run that was measured for the check into ``directory``; gives its report."""
    record = _with_floor(run, checked)
    return write_run(record, directory, {_REPORT: render(record)}) / _REPORT


def _with_floor(run: Run, checked: CheckedRun) -> Run:
    return replace(run, tool=replace(run.tool, noise_floor=noise_floor_record(checked.checks)))
