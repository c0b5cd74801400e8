"""What CI systems are given parses as they parse it, names every margin, and lets no name out of its place."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import ExitCode
from harness.reporting.ci import Case, CiReport, Outcome, ci_text
from harness.reporting.ci_format import CiFormat

TEXT = st.text(max_size=40)


def saved(folder: Path, slowdown: float, seed: int, names: tuple[str, ...] = ("t.py::a", "t.py::b")) -> Path:
    folder.mkdir()
    for process in range(6):
        jitter = 1 + ((process * 7 + seed * 3) % 5) / 500
        medians = {name: 1e-3 * jitter * (slowdown if name == "t.py::b" else 1) for name in names}
        benchmarks = [{"fullname": name, "stats": {"median": median}} for name, median in medians.items()]
        machine = {"machine": "ppc64le", "cpu": {"brand_raw": "POWER10"}}
        document = {"machine_info": machine, "benchmarks": benchmarks, "datetime": f"2026-08-01T12:0{process}:00"}
        (folder / f"{process}.json").write_text(json.dumps(document))
    return folder


def compared(tmp_path: Path, to: str, **environment: str) -> tuple[int, str]:
    a, b = saved(tmp_path / "a", 1.0, 0), saved(tmp_path / "b", 1.3, 1)
    done = CliRunner().invoke(app, ["compare", str(a), str(b), "--format", to], env=environment)
    return done.exit_code, done.output


def test_junit_counts_what_failed_and_what_is_open(tmp_path: Path) -> None:
    code, output = compared(tmp_path, "junit")
    assert code == ExitCode.REGRESSION
    suite = ElementTree.fromstring(output).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    (failure,) = suite.iter("failure")
    assert "margin 3" in (failure.get("message") or "")


def test_markdown_shows_what_did_not_pass(tmp_path: Path) -> None:
    code, output = compared(tmp_path, "markdown")
    assert code == ExitCode.REGRESSION
    assert "| t.py::b pytest\\-benchmark, b | regressed |" in output
    assert "1 of 2 passed." in output


def test_github_gets_annotations_and_a_step_summary(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    _, output = compared(tmp_path, "github", GITHUB_STEP_SUMMARY=str(summary))
    assert output.startswith("::error title=regressed%3A t.py%3A%3Ab")
    assert summary.read_text().startswith("before\n### lparbench compare")


def test_a_gate_prints_them_too(tmp_path: Path) -> None:
    call = CliRunner().invoke
    for seed in range(3):
        folder = saved(tmp_path / str(seed), 1.0, seed)
        assert call(app, ["gate", str(tmp_path / "base"), "--update", "--candidate", str(folder)]).exit_code == 0
    gone = saved(tmp_path / "gone", 1.0, 4, ("t.py::a",))
    done = call(app, ["gate", str(tmp_path / "base"), "--candidate", str(gone), "--format", "junit"])
    assert done.exit_code == ExitCode.INCONCLUSIVE
    suite = ElementTree.fromstring(done.output).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "0", "1")


@pytest.mark.parametrize("more", [["--json"], ["--update"], ["--aa"]])
def test_two_kinds_of_output_are_one_error(tmp_path: Path, more: list[str]) -> None:
    done = CliRunner().invoke(app, ["gate", str(tmp_path / "base"), "--format", "junit", *more])
    assert done.exit_code != 0
    assert not (tmp_path / "base").exists()


@given(subject=TEXT, why=TEXT, outcome=st.sampled_from(Outcome))
def test_no_name_breaks_a_format(subject: str, why: str, outcome: Outcome) -> None:
    report = CiReport("lparbench gate", why, (Case(subject, outcome, why),))
    cases = list(ElementTree.fromstring(ci_text(report, CiFormat.JUNIT)).iter("testcase"))
    assert len(cases) == 1
    markdown = ci_text(report, CiFormat.MARKDOWN)
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and "result | outcome" not in line]
    assert len(rows) == (outcome is not Outcome.PASSED)
    assert "<" not in markdown
    lines = ci_text(report, CiFormat.GITHUB).split("\n")
    assert len(lines) == 2 + (outcome is not Outcome.PASSED)
    assert all(line.startswith("::") for line in lines[:-1])
    for to in CiFormat:
        assert all(c.isprintable() or c in "\n\t\u00a0" for c in ci_text(report, to)), to


@pytest.mark.parametrize("to", CiFormat)
def test_no_name_commands_the_terminal_that_a_log_is_read_on(to: CiFormat) -> None:
    hostile = "a\x1b[2J\x9b31m\x07\x7f\u202egnp.exe\u2066\r::error::x\n::stop-commands::y\u2028z"
    text = ci_text(CiReport("lparbench gate", hostile, (Case(hostile, Outcome.OPEN, hostile),)), to)
    assert "gnp.exe" in text
    assert not [c for c in text if not c.isprintable() and c not in "\n\u00a0"]
    if to is CiFormat.GITHUB:
        assert [line.partition(" ")[0] for line in text.splitlines()] == ["::warning", "::notice"]
