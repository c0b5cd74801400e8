"""A run is killed, again and again, then interrupted, and resumed: each piece of work once, the record as of one go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.signals import heeded
from typer.testing import CliRunner

from harness.cli.main import app
from harness.errors import ExitCode, InputError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "LPARBENCH_DATA": ""}
WORKLOAD = """
name = "sound"
title = "Distance from the centre"
detector = "support.misbehaving:Sound"
dataset = "nsl-kdd"
role = "baseline"

[inference]
batch_sizes = [64]
backends = ["eager"]
"""
OPTIONS = (
    *("--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "2", "--scenarios", "offline"),
    *("--no-roofline", "--out", "runs"),
)
# What the journal holds when the signal comes: the piece of work after it is under way.
KILLS: tuple[list[str], ...] = ([], ["survey"], ["survey", "fit"])
INTERRUPTED = ["survey", "fit", "measurement"]


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("anywhere")
    (directory / "sound.toml").write_text(WORKLOAD, encoding="utf-8")
    return directory


def started(directory: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "run", *map(str, arguments)],
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeded,
    )


def ended(directory: Path, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard error of a run."""
    process = started(directory, *arguments)
    _, stderr = process.communicate(timeout=480)
    return process.returncode, stderr


def refused(message: str, *arguments: str | Path) -> None:
    """The command ends by the error that it shows in one line, with the exit code of a wrong use."""
    with pytest.raises(InputError, match=message) as error:
        CliRunner().invoke(app, ["run", *map(str, arguments)], catch_exceptions=False)
    assert error.value.exit_code == ExitCode.USAGE
    assert error.value.remedy


def noted(directory: Path) -> list[dict[str, Any]]:
    """The whole lines of the journal of the run that is under way."""
    journals = list(directory.glob("runs/*.unfinished/journal.jsonl"))
    text = journals[0].read_text(encoding="utf-8") if journals else ""
    return [json.loads(line)["entry"] for line in text.splitlines(keepends=True) if line.endswith("\n")]


def work(directory: Path) -> list[str]:
    return [entry["kind"] for entry in noted(directory) if entry["kind"] != "session"]


def await_work(process: subprocess.Popen[str], directory: Path, wanted: list[str], sessions: int) -> None:
    deadline = time.monotonic() + 240
    while not (len(noted(directory)) - len(work(directory)) == sessions and work(directory) == wanted):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, noted(directory)
        time.sleep(0.01)
    time.sleep(0.3)  # into the next piece of work


def record_in(directory: Path) -> dict[str, Any]:
    (run,) = directory.iterdir()
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def shape(value: Any) -> Any:
    """Keys and types; of a list, those of its elements. Load decides whether a figure or a reason is there."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items() if key not in ("metrics", "reasons")}
    if isinstance(value, list):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return "number or null" if value is None or type(value) in (int, float) else type(value).__name__


@pytest.fixture(scope="module")
def in_one_go(anywhere: Path) -> dict[str, Any]:
    directory = anywhere / "one go"
    directory.mkdir()
    code, stderr = ended(directory, "../sound.toml", *OPTIONS)
    assert code == 2, stderr  # two blocks give no valid result
    return record_in(directory / "runs")


def test_killed_at_every_piece_of_work_it_loses_and_repeats_nothing(
    anywhere: Path, in_one_go: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = anywhere / "killed"
    directory.mkdir()
    monkeypatch.chdir(directory)
    arguments: tuple[str | Path, ...] = ("../sound.toml", *OPTIONS)
    for sessions, wanted in enumerate(KILLS, start=1):
        process = started(directory, *arguments)
        await_work(process, directory, wanted, sessions)
        process.kill()
        process.communicate(timeout=240)
        (unfinished,) = directory.glob("runs/*.unfinished")
        arguments = ("--resume", unfinished.relative_to(directory))

    process = started(directory, *arguments)
    await_work(process, directory, INTERRUPTED, len(KILLS) + 1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGINT
    kept = f"What was done is kept. Resume: lparbench run --resume {arguments[1]}"
    assert stderr.splitlines()[-2:] == [kept, "lparbench: interrupted"]
    assert "Traceback" not in stderr

    refused(r"--blocks cannot be given again", *arguments, "--blocks", "3")
    before = noted(directory)
    assert work(directory) == INTERRUPTED

    code, stderr = ended(directory, *arguments)
    assert code == 2, stderr
    record = record_in(directory / "runs")  # alone there: nothing is left of the unfinished run
    assert (record["spec"], record["placement"]) == (in_one_go["spec"], in_one_go["placement"])
    assert record.keys() == in_one_go.keys()
    assert shape(record["results"]) == shape(in_one_go["results"])
    (result,) = record["results"]
    (reference,) = in_one_go["results"]
    ways = [[(each["block"], each["random_state"]) for each in of["processes"]] for of in (result, reference)]
    assert ways[0] == ways[1]
    assert [block for block, _ in ways[0]] == [0, 1]
    (measured,) = (entry for entry in before if entry["kind"] == "measurement")
    assert result["processes"][0]["pid"] == measured["result"]["pid"]  # not measured again

    for name in (record["run_id"], f"{record['run_id']}.unfinished"):
        refused(rf"^runs/{record['run_id']}: this run is finished\.", "--resume", f"runs/{name}")


def test_killed_when_its_record_was_whole_it_is_finished(anywhere: Path, in_one_go: dict[str, Any]) -> None:
    directory = anywhere / "one go" / "runs"
    left = directory / f"{in_one_go['run_id']}.unfinished"
    left.mkdir()
    (left / "design.json").write_text("{}", encoding="utf-8")
    refused("this run is finished", "--resume", left)
    assert not left.exists()


def test_a_directory_that_is_no_run_cannot_be_resumed(anywhere: Path) -> None:
    refused(r"design\.json: no such file\.", "--resume", anywhere)
