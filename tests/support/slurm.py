"""A real Slurm of one node on loopback, with munge and keys of its own; started and stopped by the test that asks."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from tests.support.waiting import end, until

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_ABSENT = [
    name for name in ("munged", "slurmctld", "slurmd", "sbatch", "sinfo") if shutil.which(name, path=_PATH) is None
]
MISSING = f"not installed: {', '.join(_ABSENT)}" if _ABSENT else None
_CONFIGURATION = """
ClusterName=lparbench
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={first}
SlurmdPort={second}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/linear
MpiDefault=none
ReturnToService=2
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000
PartitionName=all Nodes=ALL Default=YES State=UP MaxTime=INFINITE
"""


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Environment of a user of it, whose node is idle."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    with socket.socket() as of_controller, socket.socket() as of_node:
        of_controller.bind(("127.0.0.1", 0))
        of_node.bind(("127.0.0.1", 0))
        first, second = of_controller.getsockname()[1], of_node.getsockname()[1]
    configuration = folder / "slurm.conf"
    node = socket.gethostname().partition(".")[0]
    configuration.write_text(
        _CONFIGURATION.format(
            node=node, user=getpass.getuser(), folder=folder, first=first, second=second, cpus=os.cpu_count()
        ),
        encoding="utf-8",
    )
    environment = {"SLURM_CONF": str(configuration), "PATH": _PATH}
    munge = {name: folder / "munge" / name for name in ("socket", "pid-file", "log-file", "seed-file")}
    commands = [
        [
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            *(f"--{name}={path}" for name, path in munge.items()),
        ],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log, cwd=folder)
                )
            if command[0] == "munged":
                until(munge["socket"].exists, why=partial(_ends_of_logs, folder))
        until(lambda: _state(environment) == "idle", why=partial(_ends_of_logs, folder))
        yield environment
    finally:
        end(started)
        for left in psutil.process_iter():  # jobs of a test that failed
            with contextlib.suppress(psutil.Error):
                if left.environ().get("SLURM_CONF") == str(configuration):
                    left.kill()


def _state(environment: dict[str, str]) -> str:
    listed = subprocess.run(
        ["sinfo", "--noheader", "--format=%t"], env={**os.environ, **environment}, capture_output=True, text=True
    )
    return listed.stdout.strip()


def _ends_of_logs(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace")[-500:] for path in folder.glob("*.log"))
