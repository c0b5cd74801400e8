"""A real Dask cluster on loopback with certificates of its own; started and stopped by the test that asks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.support.certificates import MISSING as NO_OPENSSL
from tests.support.certificates import certificate
from tests.support.waiting import end, until

MISSING = "distributed is not installed" if find_spec("distributed") is None else None
MISSING = MISSING or NO_OPENSSL
_QUIET = {"DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED": "False", "DASK_DISTRIBUTED__LOGGING": "{}"}


@dataclass(frozen=True)
class Cluster:
    """Where the scheduler listens and files are, what a client has in its environment, and each worker's process."""

    scheduler: str
    folder: Path
    environment: Mapping[str, str]
    workers: Mapping[str, subprocess.Popen[bytes]]


@contextlib.contextmanager
def cluster(folder: Path, environments: Mapping[str, Mapping[str, str]]) -> Iterator[Cluster]:
    """One worker per name with its environment, under a nanny as `dask worker` starts it."""
    security = certificates(folder)
    base = {**os.environ, **_QUIET, **security, "PYTHONPATH": str(Path(__file__).parents[2])}
    base["DASK_TEMPORARY_DIRECTORY"] = str(folder)
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, log: str, *words: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (folder / log).open("wb") as output:
            command = [
                sys.executable,
                "-m",
                f"distributed.cli.{program}",
                "--protocol",
                "tls",
                "--no-dashboard",
                *words,
            ]
            process = subprocess.Popen(command, env={**base, **environment}, stdout=output, stderr=output, cwd=folder)
        started.append(process)
        return process

    try:
        file = folder / "scheduler.json"
        start("dask_scheduler", "scheduler.log", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file),
              environment={})  # fmt: skip
        address = str(until(lambda: json.loads(file.read_text(encoding="utf-8"))["address"]))
        workers = {
            name: start("dask_worker", f"{name}.log", address, "--name", name, "--nthreads", "1", "--host", "127.0.0.1",
                        environment=environment)
            for name, environment in environments.items()
        }  # fmt: skip
        for name in workers:
            until(lambda name=name: "Registered to" in (folder / f"{name}.log").read_text(encoding="utf-8"))
        yield Cluster(address, folder, security, workers)
    finally:
        end(started, 3.0)


def certificates(folder: Path) -> dict[str, str]:
    """The settings of Dask by which all its parts have one new certificate, as environment."""
    made, key = certificate(folder)
    settings = {"CA_FILE": made}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{role}__CERT": made, f"{role}__KEY": key}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in settings.items()}
