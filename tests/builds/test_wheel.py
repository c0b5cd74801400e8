"""An installed wheel works with no checkout in sight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as pip installs it, in a folder of its own; its dependencies are those of this environment."""
    target = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(ROOT)], check=True, timeout=480)
    return target


def lparbench(installed: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=480, check=False)
    assert done.stdout, done.stderr
    return done.stdout


def test_content_comes_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = "import harness.content as c; print(c.content_dir('workloads'))"
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(installed)


def test_it_lists_checks_and_runs_from_any_directory(installed: Path, tmp_path: Path) -> None:
    listed = json.loads(lparbench(installed, tmp_path, "list", "--json"))
    on_disk = {path.stem for path in (ROOT / "workloads").glob("*.toml")}
    assert {workload["name"] for workload in listed["workloads"]} == on_disk
    assert json.loads(lparbench(installed, tmp_path, "doctor", "--json"))
    options = ("--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "1", "--backends", "onnxruntime",
               "--no-roofline")  # fmt: skip
    record = json.loads(lparbench(installed, tmp_path, "run", "nsl-kdd-mlp", *options, "--json"))
    assert record["results"][0]["metrics"]["rows_per_s"]["value"] > 0
    (run,) = (tmp_path / "results" / "runs").iterdir()
    assert {path.name for path in run.iterdir()} == {"run.json", "report.html"}


RIGHT = """
from harness import CompareReport, Facts, InputError, Run, Sweep, compare_runs, load, probe

facts: Facts = probe()
level: int | None = facts.topology.smt.online
record: Run | Sweep = load("results/runs/x")
if isinstance(record, Run):
    names: list[str] = [result.workload for result in record.results]
try:
    report: CompareReport = compare_runs("a", record if isinstance(record, Run) else "b", margin=0.05)
except InputError as error:
    message: str = error.message
"""
WRONG = """
import harness

harness.probe(3)
harness.prob()
level: str = harness.probe().topology.smt.online
harness.compare_runs("a", "b", margn=0.05)
"""


def test_a_users_script_is_type_checked_against_it(installed: Path, tmp_path: Path) -> None:
    """In an environment that holds nothing else: the types that users meet need none of the dependencies."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=120)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "lparbench.pth").write_text(f"{installed}\n", encoding="utf-8")
    checked = []
    for name, script in (("right.py", RIGHT), ("wrong.py", WRONG)):
        (tmp_path / name).write_text(script, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--python-executable",
            str(tmp_path / "venv/bin/python"),
            name,
        ]
        checked.append(
            subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=480, check=False).stdout
        )
    right, wrong = checked
    assert "no issues found" in right, right
    for line, words in (
        (4, 'incompatible type "int"'),
        (5, 'no attribute "prob"'),
        (6, '"int | None"'),
        (7, '"margn"'),
    ):
        assert any(entry.startswith(f"wrong.py:{line}: ") and words in entry for entry in wrong.splitlines()), wrong
