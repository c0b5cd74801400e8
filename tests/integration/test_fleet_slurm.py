"""A fleet whose host a real Slurm gives out, by the program that docs/fleet.md has."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.record.fleet_model import HostState
from harness.record.store import load_fleet
from tests.support import dask_cluster, slurm
from tests.support.waiting import until

MISSING = slurm.MISSING or dask_cluster.MISSING
if MISSING:
    pytest.skip(MISSING, allow_module_level=True)
pytest.importorskip("dask_jobqueue")

ROOT = Path(__file__).parents[2]


def test_a_node_of_slurm_is_a_host(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8"), re.DOTALL)
    workers = tmp_path / "workers.py"
    workers.write_text(program, encoding="utf-8")
    seen = tmp_path / "seen.json"
    with slurm.slurm(tmp_path) as of_slurm:
        environment = {
            **os.environ, **of_slurm, **dask_cluster.certificates(tmp_path), "PYTHONPATH": str(ROOT),
            "DASK_JOBQUEUE__SLURM__INTERFACE": "lo", "DASK_TEMPORARY_DIRECTORY": str(tmp_path),
            "LPARBENCH_TEST_HOST": "1 tell",
            "LPARBENCH_TEST_TELL": str(seen), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }  # fmt: skip
        command = [sys.executable, str(workers), "1"]
        with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as cluster:
            try:
                assert cluster.stdout is not None
                scheduler = cluster.stdout.readline().strip()
                assert scheduler.startswith("tls://")
                _run(scheduler, environment, tmp_path)
            finally:
                cluster.send_signal(signal.SIGINT)
        until(lambda: not _queued(environment))
    (directory,) = (tmp_path / "out").iterdir()
    fleet = load_fleet(directory)
    assert [(host.name, host.state) for host in fleet.hosts] == [(os.uname().nodename, HostState.DONE)]
    assert not [name for name in json.loads(seen.read_text(encoding="utf-8"))["environment"] if "SLURM" in name]


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
