"""The http scenario: the model behind the product's own server, under load from a core that the server does not have.

The server inherits this worker's place through a launch of its own; the generator is a process on the core that was
planned for it, so that neither takes the other's time.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path

from harness.decode import encode
from harness.errors import MeasurementError
from harness.interpreter import program
from harness.platform import parse
from harness.platform.sysroot import SysRoot
from harness.record.model import Served
from harness.record.series import Series
from harness.serving.spec import SPEC, ServeSpec, placement_file
from harness.workers.jobs import HttpSetting, MeasureJob
from harness.workers.process import OUTPUT_FILE, WorkerProcess, read_outcome, worker_process

CLIENT_FILE = "client.json"
_START_S = 120.0
_SEARCH_S = 300.0
_POLL_S = 0.02
_PLACED_S = 10.0
_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class ClientJob:
    """What the generator is asked to do."""

    port: int
    bundle: str
    backend: str
    bound_s: float
    seconds: float
    seed: int
    directory: str
    arrivals: str


@dataclass(frozen=True)
class ClientOutcome:
    """What it answers."""

    series: tuple[Series, ...]
    served: Served


def http(job: MeasureJob) -> tuple[list[Series], Served]:
    """The highest rate over HTTP that meets the bound.

    Raises:
        MeasurementError: server or generator died.
    """
    assert job.http is not None
    directory = Path(job.directory)
    with _server(job, job.http, directory / "server") as (server, port):
        asked = ClientJob(
            port, job.http.bundle, job.backend, job.p99_bound_s, job.series_seconds, job.seed,
            str(directory / "client"), job.arrivals,
        )  # fmt: skip
        client_directory = Path(asked.directory)
        client_directory.mkdir()
        (client_directory / CLIENT_FILE).write_text(json.dumps(encode(asked)), encoding="utf-8")
        command = program("harness.workers.http_client", str(client_directory / CLIENT_FILE))
        with worker_process(command, client_directory, job.http.generator) as client:
            shared = _shared(server.pid, client.pid, job.http)
            status = client.wait(_SEARCH_S)
            if status != 0:
                raise MeasurementError(f"the load generator {client.cause_of_death(status, _SEARCH_S)}")
        if server.status() is not None:
            raise MeasurementError(f"the server {server.cause_of_death(server.status(), 0.0)}")
    outcome = read_outcome(client_directory, ClientOutcome)
    if outcome is None:
        raise MeasurementError("the load generator left no outcome")
    if shared is not None:
        return [], replace(outcome.served, rate=None, note=shared)
    return list(outcome.series), outcome.served


def _shared(server: int, generator: int, setting: HttpSetting) -> str | None:
    """Why the figure is none, where server and generator have a core in common."""
    with contextlib.suppress(ProcessLookupError):  # a process that died is noticed elsewhere
        return common_cores(os.sched_getaffinity(server), _of_generator(generator, setting), SysRoot())
    return None


def _of_generator(pid: int, setting: HttpSetting) -> set[int]:
    """CPUs of the generator once it is placed: its launcher has those of whoever started it."""
    deadline = time.monotonic() + _PLACED_S
    while (cpus := os.sched_getaffinity(pid)) != {*setting.generator.cpus} and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return cpus


def common_cores(server: Set[int], generator: Set[int], sysroot: SysRoot) -> str | None:
    """What two sets of CPUs have in common, cores of which each has a thread included; None where it is nothing."""
    lists = {cpu: sysroot.read_text(f"{_CPUS}/cpu{cpu}/topology/thread_siblings_list") for cpu in generator}
    siblings = {cpu: {cpu, *(parse.cpu_list(text or "") or ())} for cpu, text in lists.items()}
    if both := sorted(cpu for cpu in server if any(cpu in core for core in siblings.values())):
        return f"server and generator share the cores of CPUs {', '.join(map(str, both))}"
    return None


@contextlib.contextmanager
def _server(job: MeasureJob, setting: HttpSetting, directory: Path) -> Iterator[tuple[WorkerProcess, int]]:
    """The server, listening on a free port of the loopback interface."""
    spec = ServeSpec(bundle=setting.bundle, port=0, backend=job.backend, threads=job.threads)
    asked = directory / "asked"
    asked.mkdir(parents=True)
    for name, value in ((SPEC, spec), (placement_file("0"), setting.server)):
        (asked / name).write_text(json.dumps(encode(value)), encoding="utf-8")
    command = program("harness.serving.process", str(asked))
    with worker_process(command, directory, setting.server) as server:
        yield server, _port(server)


def _port(server: WorkerProcess) -> int:
    """Of a server that says where it listens, or dies."""
    deadline = time.monotonic() + _START_S
    while server.status() is None and time.monotonic() < deadline:
        for line in (server.directory / OUTPUT_FILE).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return int(str(json.loads(line)["url"]).rpartition(":")[2])
        time.sleep(_POLL_S)
    raise MeasurementError(f"the server {server.cause_of_death(server.status(), _START_S)}")
