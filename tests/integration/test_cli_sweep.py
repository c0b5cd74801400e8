"""``lparbench sweep`` as a user meets it: begun, interrupted, resumed, rendered, exported, and asked for nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.sweeps import PLACEMENT, result_of
from typer.testing import CliRunner

from harness.cli.levels import parse_locations, parse_whole_numbers
from harness.cli.main import app
from harness.errors import ExitCode, InputError, LparbenchError, MeasurementError
from harness.platform.sysroot import SysRoot
from harness.record.model import Verdict
from harness.record.spec import RunSpec
from harness.record.store import load_sweep
from harness.reporting.sweep_html import render_sweep
from harness.runs.design import read_design
from harness.runs.engine import measured
from harness.sweeps import session
from harness.sweeps.result import sweep_record
from harness.sweeps.settings import Location
from harness.workers.outcomes import MeasureOutcome

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "LPARBENCH_DATA": "",
    "OMP_NUM_THREADS": "1",
}
SMALL = ("support.misbehaving:Sound", "--cores", "1", "--threads-per-core", "1", "--smt", "1", "--backends", "eager",
         "--batch", "8", "--blocks", "2", "--seconds", "0.02", "--rows", "600")  # fmt: skip


def started(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=directory, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def slots(directory: Path) -> list[str]:
    journal = directory / "journal.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    entries = (json.loads(line)["entry"] for line in lines)
    return [entry["slot"] for entry in entries if entry["kind"] == "measurement"]


def call(*arguments: str | Path):
    """Run a command; what it raises for its user comes out as it is."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_interrupted_it_says_how_to_go_on_and_goes_on(tmp_path: Path) -> None:
    process = started(tmp_path, "sweep", *SMALL)
    deadline = time.monotonic() + 120
    directory = None
    while directory is None or not slots(directory):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        directory = next((tmp_path / "results/sweeps").glob("*"), None)
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=480)
    assert process.returncode == 128 + signal.SIGINT
    assert "1 setting in 2 blocks" in said
    done = slots(directory)
    assert f"{len(done)} of 2 measurements done" in said
    assert f"lparbench sweep --resume results/sweeps/{directory.name}" in said
    assert "Traceback" not in said

    # What there is so far can be looked at.
    assert call("report", directory, "--json").exit_code == 0
    assert b"Unfinished" in (directory / "report.html").read_bytes()

    resumed = started(tmp_path, "sweep", "--resume", str(directory), "--budget", "10m", "--json")
    out, said = resumed.communicate(timeout=480)
    assert resumed.returncode == 2, said  # two blocks are too few for a valid result
    assert said == ""
    assert json.loads(out)["design"]["slots_done"] == 2
    assert slots(directory)[: len(done)] == done
    assert len(set(slots(directory))) == 2
    record = load_sweep(directory)
    assert [cell.batch_size for cell in record.cells] == [8]
    assert all(cell.rows_per_s.value for cell in record.cells)
    assert record.workloads["nsl-kdd-sound"].dataset.origin == "synthetic"

    page = (directory / "report.html").read_bytes()
    assert call("report", directory, "-o", tmp_path / "again.html").exit_code == 0
    assert (tmp_path / "again.html").read_bytes() == page
    verdict = json.loads(call("report", directory / "sweep.json", "--json").stdout)
    assert verdict["status"] == "Invalid"
    assert verdict["verdict"].startswith("Synthetic data")

    # Once more has nothing to do and changes nothing.
    whole = (directory / "sweep.json").read_bytes()
    shown = call("sweep", "--resume", directory)
    assert shown.exit_code == 2
    assert "No setting gave a valid result" in shown.output
    assert (directory / "sweep.json").read_bytes() == whole

    table = call("export", directory)
    assert table.exit_code == 0
    assert table.output.count("nsl-kdd-sound") == 1
    with pytest.raises(InputError, match="cannot be written as openmetrics"):
        call("export", directory, "--format", "openmetrics")
    for command in (("compare", directory, directory), ("compare", directory / "sweep.json", directory)):
        with pytest.raises(InputError, match="this is a sweep"):
            call(*command)


def test_every_setting_that_cannot_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"None of the settings can run here: .*node 0 has .*, not 4,096\."):
        call("sweep", "nsl-kdd-mlp", "--cores", "4096", "--out", tmp_path)
    with pytest.raises(InputError, match="node 77 has no CPU that may be used"):
        call("sweep", "nsl-kdd-mlp", "--nodes", "77", "--out", tmp_path)
    with pytest.raises(InputError, match="has no int8"):
        call("sweep", "nsl-kdd-mlp", "--dtypes", "int8", "--backends", "eager", "--cores", "1", "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Which workload"),
        (("nothing-like-it",), "Unknown workload"),
        (("nsl-kdd-mlp", "nsl-kdd-mlp"), "named twice"),
        (("nsl-kdd-mlp", "--cores", "two"), "--cores 'two': 'two' is not a whole number"),
        (("nsl-kdd-mlp", "--smt", "1,,2"), "--smt"),
        (("nsl-kdd-mlp", "--batch", "0"), "--batch"),
        (("nsl-kdd-mlp", "--nodes", "0:x"), "is not a NUMA node"),
        (("nsl-kdd-mlp", "--backends", "eagre"), "--backends: unknown value 'eagre'"),
        (("nsl-kdd-mlp", "--dtypes", "float64"), "--dtypes: unknown value 'float64'"),
        (("nsl-kdd-mlp", "--margin", "much"), "--margin"),
        (("nsl-kdd-mlp", "--protocol", "dirty"), "--protocol"),
        (("nsl-kdd-mlp", "--data", "/nowhere"), "no such folder"),
        (("--resume", "/nowhere"), "no such file"),
        (("--resume", "/nowhere", "--budget", "10m"), "no such file"),
        (("--resume", "/nowhere", "--blocks", "6"), "--blocks cannot be given again"),
        (("nsl-kdd-mlp", "--resume", "/nowhere"), "a workload cannot be given again"),
    ],
)
def test_mistakes_are_told_by_their_option(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(LparbenchError, match=message):
        call("sweep", *arguments, *(() if "--resume" in arguments else ("--out", tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_levels_are_read_from_lists() -> None:
    assert parse_whole_numbers("--cores", "4, 1,2,4") == (1, 2, 4)
    assert parse_locations("--nodes", "0,8:0,8, 0,1:1") == (Location(0), Location(8, 0), Location(8), Location(1))


def test_on_an_emulated_machine_settings_are_applied_and_times_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = session.probe(SysRoot())
    facts = replace(real, emulation=replace(real.emulation, emulated=True, emulator="qemu-user"))
    monkeypatch.setattr(session, "probe", lambda _, cross_checked: facts)
    levels = session.Levels(smt=(1,), cores=(1,), instances=(1,), backends=("eager",))
    directory = session.begin(
        RunSpec(("nsl-kdd-mlp",), synthetic=True, blocks=1), levels, 0.03, ("lparbench",), tmp_path
    )
    design = read_design(directory)
    assert {slot.scenarios for slot in design.slots()} == {()}
    untimed = result_of(MeasureOutcome({}, {}, 0.0), PLACEMENT)
    sweep = sweep_record(design, [measured(slot, (PLACEMENT,), untimed) for slot in design.slots()])
    assert (sweep.best, sweep.losses, session.exit_code(sweep)) == ((), (), ExitCode.INCONCLUSIVE)
    for cell in sweep.cells:
        assert cell.validity.verdict is Verdict.TIMINGS_REFUSED
        assert "emulation (qemu-user)" in cell.validity.reasons[0]
        assert cell.rows_per_s.value is None
        assert [process.cpus for process in cell.processes] == ["0-7"]
    assert b"refused" in render_sweep(sweep)
    with pytest.raises(MeasurementError, match="emulated"):
        call("size", "nsl-kdd-mlp", "--rate", "1000/s", "--out", tmp_path)
