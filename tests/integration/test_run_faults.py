"""What goes wrong in a worker process stays there, is named, and leaves nothing behind. Real processes throughout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.placement.plan import plan
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.workers.executor import ProcessExecutor
from harness.workers.jobs import FitJob
from harness.workload.files import find_workload

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "LPARBENCH_DATA": "",
}
SMALL = (
    *("--rows", "600", "--epochs", "1", "--seeds", "1", "--blocks", "1", "--no-roofline"),
    *("--backends", "eager", "--scenarios", "offline"),
)

# The role keeps the baseline detectors out, which are another matter.
WORKLOAD = """
name = "{name}"
title = "Distance from the centre"
detector = "support.misbehaving:{name}"
dataset = "nsl-kdd"
role = "baseline"

[inference]
batch_sizes = [64]
backends = ["eager"]
"""


@pytest.fixture
def anywhere(tmp_path: Path) -> Path:
    """A working directory without a data folder, so that every data set is synthetic."""
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", *arguments]


def lparbench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=480, check=False
    )


def record_in(directory: Path) -> dict:
    (run,) = directory.iterdir()
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """One run of a sound detector among three that misbehave: what each of them does touches its own result only."""
    directory = tmp_path_factory.mktemp("faults")
    for name in ("Killed", "Sound", "Wanderer", "Unstable"):
        (directory / f"{name.lower()}.toml").write_text(WORKLOAD.format(name=name), encoding="utf-8")
    files = [path.name for path in directory.glob("*.toml")]
    done = lparbench("run", *files, *SMALL, "--out", "runs", cwd=directory)
    assert done.returncode == 2, done.stderr
    return {result["workload"]: result for result in record_in(directory / "runs")["results"]}


def test_a_killed_worker_fails_only_its_own_result(results: dict[str, dict]) -> None:
    assert results["Killed"]["validity"]["verdict"] == "failed"
    assert "SIGKILL" in " ".join(results["Killed"]["validity"]["reasons"])
    sound = results["Sound"]
    assert sound["validity"]["verdict"] != "failed"
    assert sound["metrics"]["rows_per_s"]["value"] > 0
    assert sound["placement"]["verified"] is True
    assert "DISAGREE" not in " ".join(sound["validity"]["reasons"])


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one CPU: there is nowhere to wander to")
def test_a_worker_that_leaves_its_cpus_makes_the_result_invalid(results: dict[str, dict]) -> None:
    assert results["Wanderer"]["validity"]["verdict"] == "invalid"
    assert results["Wanderer"]["placement"]["verified"] is False
    assert any("CPU" in text for text in results["Wanderer"]["placement"]["mismatches"])


def test_a_backend_that_scores_otherwise_makes_the_result_invalid(results: dict[str, dict]) -> None:
    assert "DISAGREE" in " ".join(results["Unstable"]["validity"]["reasons"])


def _job(detector: str, directory: Path) -> FitJob:
    return FitJob(
        workload=find_workload(detector), protocol="clean", data_dir=None, seeds=(0,), trainer="torch", epochs=None,
        rows=600, threads=1, directory=str(directory),
    )  # fmt: skip


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ProcessExecutor:
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    return ProcessExecutor()


@pytest.fixture(scope="module")
def one_core():
    facts = probe(SysRoot("/"))
    return plan(facts.topology, cores=1, threads_per_core=1, limits=facts.limits)


def test_a_hung_worker_is_killed_and_called_hung(executor: ProcessExecutor, one_core, tmp_path: Path) -> None:
    outcome = executor.run(_job("support.misbehaving:Hung", tmp_path / "hung"), one_core, timeout_s=8)
    assert outcome.failure is not None
    assert "hung" in outcome.failure
    assert outcome.pid is not None
    assert not psutil.pid_exists(outcome.pid)


def test_a_worker_out_of_memory_says_so(executor: ProcessExecutor, one_core, tmp_path: Path) -> None:
    outcome = executor.run(_job("support.misbehaving:Hungry", tmp_path / "hungry"), one_core, timeout_s=60)
    assert outcome.failure is not None
    assert "out of memory" in outcome.failure


def _started(directory: Path) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """A run with a worker that hangs, once that worker is there."""
    process = subprocess.Popen(
        command("run", "support.misbehaving:Hung", *SMALL, "--out", "runs"),
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end while it is looked at
                if any("/fits/" in part for part in child.cmdline()):
                    return process, child
        time.sleep(0.1)
    process.kill()
    raise AssertionError("no worker was started within four minutes")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_child_and_no_half_written_run(anywhere: Path, number: signal.Signals) -> None:
    process, worker = _started(anywhere)
    process.send_signal(number)
    assert process.wait(240) == 128 + number
    _, alive = psutil.wait_procs([worker], timeout=480)
    assert not alive
    assert not (anywhere / "runs").exists() or not list((anywhere / "runs").iterdir())


def test_a_run_killed_outright_takes_its_workers_with_it(anywhere: Path) -> None:
    process, worker = _started(anywhere)
    process.kill()
    process.wait(240)
    _, alive = psutil.wait_procs([worker], timeout=480)
    assert not alive
