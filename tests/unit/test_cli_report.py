"""``lparbench report``: the page again, from the record alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from support.records import inference, run
from typer.testing import CliRunner

from harness.cli.report import report
from harness.errors import InputError
from harness.record.store import load_run, write_run
from harness.reporting.html import render

app = typer.Typer()
app.command()(report)


def _stored(tmp_path: Path) -> Path:
    return write_run(run(inference(processes=(), accuracy=None)), tmp_path / "runs")


def test_the_page_is_written_beside_the_record(tmp_path: Path) -> None:
    stored = _stored(tmp_path)
    told = CliRunner().invoke(app, [str(stored / "run.json")], catch_exceptions=False)
    assert told.exit_code == 0
    assert told.stdout.strip() == str(stored / "report.html")
    assert (stored / "report.html").read_bytes() == render(load_run(stored))


def test_output_goes_where_asked_and_json_is_json_alone(tmp_path: Path) -> None:
    target = tmp_path / "mail" / "page.html"
    told = CliRunner().invoke(app, [str(_stored(tmp_path)), "-o", str(target), "--json"], catch_exceptions=False)
    document = json.loads(told.stdout)
    assert document["report"] == str(target)
    assert document["bytes"] == target.stat().st_size
    assert document["status"] == "Valid"
    assert document["verdict"].startswith("Autoencoder, NSL-KDD on 2 cores")


def test_what_is_not_a_record_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema_version": 1')
    with pytest.raises(InputError, match="not JSON"):
        CliRunner().invoke(app, [str(tmp_path)], catch_exceptions=False)
