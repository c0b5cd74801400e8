"""What runs is what is installed: nothing of the working directory, in no program that is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.bundles import saved
from support.hostile_directory import HostileDirectory
from support.records import run

import harness
from harness.detectors.foreign import import_path
from harness.errors import InputError
from harness.interpreter import program
from harness.placement.model import MemoryBinding, Placement
from harness.record.store import write_run
from harness.scoring.bundle import open_bundle
from harness.workers.process import worker_process

ROOT = Path(__file__).resolve().parents[2]
SHADOWS = ("random", "platform", "json", "random", "types", "runpy", "os", "ctypes", "psutil", "numpy", "signal")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A directory with another checkout, and with modules of well-known names, which leave a trace where they run."""
    folder = tmp_path / "hostile"
    (folder / "harness" / "workers").mkdir(parents=True)
    trace = f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__ + chr(10))\n"
    for name in (*SHADOWS, "harness/__init__", "harness/workers/__init__", "harness/workers/worker", "sitecustomize"):
        (folder / f"{name}.py").write_text(trace)
    return folder


def traces(folder: Path) -> str:
    ran = folder.parent / "ran"
    return ran.read_text() if ran.exists() else ""


def test_a_worker_imports_nothing_of_the_working_directory(hostile: Path, tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    placement = Placement((cpu,), None, (), (), MemoryBinding(), 1, 1, 1, {"OMP_NUM_THREADS": "1"})
    job = tmp_path / "job.json"
    job.write_text("{}")
    with worker_process(program("harness.workers.worker", str(job)), tmp_path, placement, cwd=hostile) as worker:
        assert worker.wait(60) == 1  # an empty job, after every import
    output = (tmp_path / "output.txt").read_text()
    assert "job.json" in output, output
    assert f'{ROOT / "harness" / "workers" / "worker.py"}"' in output
    assert traces(hostile) == ""


@pytest.mark.parametrize("variable", [{}, {"PYTHONSAFEPATH": "1"}, {"PYTHONPATH": ""}])
def test_a_program_is_that_of_this_package(hostile: Path, variable: dict[str, str]) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = program("harness", "--version")
    done = subprocess.run(command, cwd=hostile, env={**environment, **variable}, capture_output=True, text=True)
    assert done.stdout == f"lparbench {harness.__version__}\n", done.stderr
    assert traces(hostile) == ""


def test_what_the_facts_are_asked_of_imports_nothing_of_the_working_directory(hostile: Path) -> None:
    """py-cpuinfo, which starts itself once more, and the libraries that are asked what they are."""
    command = program("harness", "probe", "--json")
    done = subprocess.run(command, cwd=hostile, capture_output=True, text=True)
    assert json.loads(done.stdout), done.stderr
    assert traces(hostile) == ""


# Commands that end at once, in one process: what one of them lets in stays in for the others.
_SHORT = """
import sys
from harness.cli.main import main
for words in {commands!r}:
    try:
        main(list(words))
    except SystemExit as ended:
        print(*words, ended.code, file=sys.stderr)
    assert "" not in sys.path and {folder!r} not in sys.path, words
"""


def test_no_command_imports_anything_of_the_working_directory(tmp_path: Path) -> None:
    """Those that take their time are in tests/bench/hostile_directory.py."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    stored, bundle = str(write_run(run(), tmp_path / "runs")), str(saved(tmp_path / "pca", "pca", {}).directory)
    (tmp_path / "rows.csv").write_text(",".join(["0"] * len(open_bundle(Path(bundle)).manifest.features)) + "\n")
    hostile = HostileDirectory(folder, tmp_path / "ran")
    commands: list[tuple[str, ...]] = [
        ("list",), ("data", "list"), ("data", "work"), ("doctor",), ("smt", "show"), ("probe", "--script"),
        ("report", stored, "-o", "page.html"), ("export", stored), ("history", stored, stored),
        ("compare", stored, stored), ("gate", "none.json", "--candidate", stored),
        ("archive", "add", "team.sqlite", stored), ("archive", "list", "team.sqlite"), ("site", "team.sqlite", "site"),
        ("score", bundle, str(tmp_path / "rows.csv"), "--encoded"),
        ("load", "http://127.0.0.1:1", "--bundle", bundle, "--rate", "1/s"), ("run", "nothing"), ("sweep", "nothing"),
        ("size", "nothing", "--rate", "1/s"), ("fleet", "report", stored), ("serve", "nothing"),
        ("place", "--cores", "1", "--", "true"),  # last: it becomes the program
    ]  # fmt: skip
    script = tmp_path / "commands.py"
    script.write_text(_SHORT.format(commands=commands, folder=str(folder)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    started = [sys.executable, str(script)]  # as the script that is installed starts
    done = subprocess.run(started, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert hostile.imported() == []
    assert done.returncode == 0, done.stderr


def test_arguments_reach_a_program_as_they_are(tmp_path: Path) -> None:
    given = ["--plan", "a b", "-c", "", "'\"$x", "--"]
    text = program("harness.placement.launch", *given)
    assert text[text.index("harness.placement.launch") + 1 :] == given
    done = subprocess.run(program("harness.placement.launch", *given), capture_output=True, text=True, cwd=tmp_path)
    assert "usage: python -m harness.placement.launch" in done.stderr


def test_a_detector_in_the_working_directory_is_found_behind_what_is_installed(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part])
    monkeypatch.chdir(hostile)
    (hostile / "my_own_detector.py").write_text("import helper_of_mine\nclass Mine: pass\n")
    (hostile / "helper_of_mine.py").write_text("")
    assert import_path("my_own_detector:Mine").__name__ == "Mine"
    assert import_path("json:loads") is json.loads
    assert import_path("random:Random").__module__ == "random"
    with pytest.raises(InputError, match="importing 'not_there' failed"):
        import_path("not_there:Mine")
    assert traces(hostile) == ""
