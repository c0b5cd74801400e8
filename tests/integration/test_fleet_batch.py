"""A fleet whose host a batch system gives out, by the program of docs/fleet.md: a real Slurm, a stand-in of LSF."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.record.fleet_model import HostState
from harness.record.store import load_fleet
from tests.support import dask_cluster, lsf, slurm
from tests.support.waiting import until

if dask_cluster.MISSING:
    pytest.skip(dask_cluster.MISSING, allow_module_level=True)
pytest.importorskip("dask_jobqueue")

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(slurm.MISSING is not None, reason=str(slurm.MISSING))
def test_a_node_of_slurm_is_a_host(tmp_path: Path) -> None:
    with slurm.slurm(tmp_path) as of_slurm:
        environment = {**os.environ, **of_slurm, "DASK_JOBQUEUE__SLURM__INTERFACE": "lo"}
        seen = _measured_through("slurm", environment, tmp_path)
        until(lambda: not _queued(environment))
    assert not [name for name in seen if "SLURM" in name]


def test_a_job_of_lsf_is_a_host(tmp_path: Path) -> None:
    """Not with LSF itself: its commands are stood in for, by their documented forms."""
    environment = {**os.environ, **lsf.lsf(tmp_path), "DASK_JOBQUEUE__LSF__INTERFACE": "lo"}
    seen = _measured_through("lsf", environment, tmp_path)
    assert not [name for name in seen if name.startswith("LSB_")]
    process, *limits = (tmp_path / "jobs" / "101").read_text(encoding="utf-8").splitlines()
    until(lambda: not psutil.pid_exists(int(process)))
    assert "x=" in limits  # nobody else is on the node
    assert not [limit for limit in limits if limit.startswith("M=")]  # it would be that of what is measured


def _measured_through(kind: str, environment: dict[str, str], folder: Path) -> list[str]:
    """Start workers as the page says, run a fleet on them, end them; names of the measuring process's environment."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8"), re.DOTALL)
    workers = folder / "workers.py"
    workers.write_text(program, encoding="utf-8")
    seen = folder / "seen.json"
    environment |= {
        **dask_cluster.certificates(folder), "PYTHONPATH": str(ROOT), "DASK_TEMPORARY_DIRECTORY": str(folder),
        "LPARBENCH_TEST_HOST": "1 tell", "LPARBENCH_TEST_TELL": str(seen), "XDG_CACHE_HOME": str(folder / "cache"),
    }  # fmt: skip
    command = [sys.executable, str(workers), kind, "1"]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as cluster:
        try:
            assert cluster.stdout is not None
            scheduler = cluster.stdout.readline().strip()
            assert scheduler.startswith("tls://")
            _run(scheduler, environment, folder)
        finally:
            cluster.send_signal(signal.SIGINT)
    (directory,) = (folder / "out").iterdir()
    fleet = load_fleet(directory)
    assert [(host.name, host.state) for host in fleet.hosts] == [(os.uname().nodename, HostState.DONE)]
    names: list[str] = json.loads(seen.read_text(encoding="utf-8"))["environment"]
    return names


def _queued(environment: dict[str, str]) -> str:
    return subprocess.run(
        ["squeue", "--noheader"], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def _run(scheduler: str, environment: dict[str, str], folder: Path) -> None:
    """A fleet run of one wave, as soon as the job has started."""
    host = shlex.join([sys.executable, str(ROOT / "tests" / "support" / "fleet_host.py")])
    words = [
        "fleet", "run", "nsl-kdd-mlp", "--scheduler", scheduler, "--command", host, "--waves", "1",
        "--out", str(folder / "out"),
    ]  # fmt: skip

    def measured() -> bool:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2 or "has no workers" in done.stderr, done.stderr  # one wave decides nothing
        return done.returncode == 2

    until(measured)
