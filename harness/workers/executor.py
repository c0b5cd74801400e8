"""Runs one job in a fresh, pinned process group, and says in words why it failed when it did."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from harness.errors import ExitCode, InputError
from harness.placement.instances import divide_among_instances
from harness.placement.plan import Placement
from harness.workers import rendezvous
from harness.workers.jobs import (
    OUTCOME_FILE,
    PARENT_VARIABLE,
    InstanceJob,
    Job,
    Outcome,
    TogetherJob,
    WorkerJob,
    write_job,
)

_STDERR_TAIL = 2000  # characters of a failed worker's own words that are kept
_GRACE_S = 2.0  # between SIGTERM and SIGKILL
_POLL_S = 0.01


class Executor(Protocol):
    """Runs jobs; the process one is real, tests script their own."""

    def run(self, job: Job, plan: Placement, *, timeout_s: float) -> Outcome:
        """Run to the end, or to the timeout; raises InputError for what the worker found wrong in the user's input."""
        ...


class ProcessExecutor:
    """One fresh process per job, or per instance of a job, started through the placement launcher.

    A session of its own keeps the terminal's Ctrl-C from reaching the worker before this process has decided what
    to do; whatever ends ``run`` (return, exception, interrupt), the whole process group is gone afterwards.
    """

    def run(self, job: Job, plan: Placement, *, timeout_s: float) -> Outcome:
        """See ``Executor.run``; a worker still busy after ``timeout_s`` seconds is killed and called hung."""
        if isinstance(job, TogetherJob):
            return _run_together(job, plan, timeout_s)
        oom_before = _oom_kills()
        started = time.monotonic()
        with _worker(job, plan) as process:
            try:
                status: int | None = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                status = None
        return _outcome(Path(job.directory), process.pid, status, timeout_s, started, oom_before)


def _run_together(job: TogetherJob, plan: Placement, timeout_s: float) -> Outcome:
    """Start every instance on its part of the plan, give the signal when all are ready, and wait for all.

    The payload has one entry per instance, under ``instances``; one that fails takes the whole job with it.
    """
    oom_before = _oom_kills()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        plans = divide_among_instances(plan, len(job.instances))
        processes = [
            stack.enter_context(_worker(instance, part)) for instance, part in zip(job.instances, plans, strict=True)
        ]
        if _all_ready(job.instances, processes, started + timeout_s):
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, started + timeout_s - time.monotonic()))
        statuses = [process.poll() for process in processes]
    outcomes = [
        _outcome(Path(instance.directory), process.pid, status, timeout_s, started, oom_before)
        for instance, process, status in zip(job.instances, processes, statuses, strict=True)
    ]
    # Of several failures, one that was not merely waiting for the others says why.
    blamed = sorted((status is None, index) for index, status in enumerate(statuses) if outcomes[index].failure)
    failure = f"instance {blamed[0][1] + 1}: {outcomes[blamed[0][1]].failure}" if blamed else None
    payload = None if blamed else {"instances": [outcome.payload for outcome in outcomes]}
    return Outcome(payload, failure, pid=processes[0].pid, wall_s=time.monotonic() - started)


def _all_ready(jobs: Sequence[InstanceJob], processes: Sequence[subprocess.Popen[bytes]], deadline: float) -> bool:
    """Wait until every instance is ready and give the signal; False when one ends or the time is up before."""
    directories = [Path(job.directory) for job in jobs]
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        sample_s = rendezvous.announced(directories)
        if sample_s is not None:
            windows = rendezvous.windows(time.perf_counter_ns(), jobs[0].series_seconds, sample_s)
            rendezvous.give_signal(Path(jobs[0].start_file), windows)
            return True
        time.sleep(_POLL_S)
    return False


@contextlib.contextmanager
def _worker(job: WorkerJob, plan: Placement) -> Iterator[subprocess.Popen[bytes]]:
    """A process at work on the job under the plan; gone afterwards."""
    job_path = write_job(job)
    directory = job_path.parent
    plan_path = directory / "plan.json"
    plan_path.write_text(json.dumps(plan.to_json()), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "harness.placement.launch", "--plan", str(plan_path), "--"),
        *(sys.executable, "-m", "harness.workers.worker", str(job_path)),
    ]
    with (directory / "stderr.txt").open("wb") as stderr, _process(command, stderr.fileno()) as process:
        yield process


def _outcome(
    directory: Path, pid: int, status: int | None, timeout_s: float, started: float, oom_before: int
) -> Outcome:
    wall_s = time.monotonic() - started
    payload = _payload(directory)
    if status == 0 and payload is not None:
        return Outcome(payload=payload, failure=None, pid=pid, wall_s=wall_s)
    if status == ExitCode.USAGE and payload is not None:
        raise InputError(payload["error"]["message"], remedy=payload["error"]["remedy"])
    failure = _cause(status, timeout_s, directory, was_oom=_oom_kills() > oom_before)
    return Outcome(payload=None, failure=failure, pid=pid, wall_s=wall_s)


@contextlib.contextmanager
def _process(command: list[str], stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    # The package may not be installed where the worker starts (a checkout run by PYTHONPATH): hand the path on.
    package_parent = str(Path(__file__).resolve().parents[2])
    search_path = os.pathsep.join(part for part in (package_parent, os.environ.get("PYTHONPATH")) if part)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": search_path, PARENT_VARIABLE: str(os.getpid())},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the worker's process group, politely first."""
    for number, patience in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, None)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # descendants that outlived the worker


def _payload(directory: Path) -> dict[str, Any] | None:
    try:
        payload: dict[str, Any] = json.loads((directory / OUTCOME_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return payload


def _cause(status: int | None, timeout_s: float, directory: Path, *, was_oom: bool) -> str:
    """One sentence for a worker that did not exit with 0."""
    if status is None:
        return f"hung: no result within {timeout_s:.0f} s, so it was killed"
    if was_oom:
        return "out of memory: killed by the kernel's OOM killer"
    if status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    tail = (directory / "stderr.txt").read_text(encoding="utf-8", errors="replace")[-_STDERR_TAIL:].strip()
    last_line = tail.splitlines()[-1] if tail else "it said nothing"
    if "MemoryError" in last_line or "can't allocate memory" in last_line:
        return f"out of memory: {last_line}"
    return f"exited with status {status}: {last_line}"


def _oom_kills() -> int:
    """OOM kills counted by this process's cgroup (v2) so far; 0 where that cannot be read."""
    try:
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("::")[2]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text(encoding="utf-8")
    except OSError:
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))
