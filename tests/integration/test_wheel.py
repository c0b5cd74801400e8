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
    options = ("--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "1", "--backends", "onnxruntime")
    record = json.loads(lparbench(installed, tmp_path, "run", "nsl-kdd-mlp", *options, "--json"))
    assert record["results"][0]["metrics"]["rows_per_s"]["value"] > 0
    (run,) = (tmp_path / "results" / "runs").iterdir()
    assert {path.name for path in run.iterdir()} == {"run.json", "report.html"}
