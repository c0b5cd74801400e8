"""Runs one job in a fresh, pinned process group, and says in words why it failed when it did."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from harness.errors import ExitCode, InputError
from harness.placement.instances import divide_among_instances
from harness.placement.plan import Placement
from harness.workers import rendezvous
from harness.workers.jobs import (
    InstanceJob,
    Job,
    Outcome,
    TogetherJob,
    WorkerJob,
    write_job,
)
from harness.workers.process import WorkerProcess, read_outcome, worker_process

_POLL_S = 0.01


class Executor(Protocol):
    """Runs jobs; the process one is real, tests script their own."""

    def run(self, job: Job, plan: Placement, *, timeout_s: float) -> Outcome:
        """Run to the end, or to the timeout; raises InputError for what the worker found wrong in the user's input."""
        ...


class ProcessExecutor:
    """One fresh process per job, or per instance of a job; gone whatever ends ``run``: return, exception, interrupt."""

    def run(self, job: Job, plan: Placement, *, timeout_s: float) -> Outcome:
        """See ``Executor.run``; a worker still busy after ``timeout_s`` seconds is killed and called hung."""
        if isinstance(job, TogetherJob):
            return _run_together(job, plan, timeout_s)
        started = time.monotonic()
        with _worker(job, plan) as worker:
            status = worker.wait(timeout_s)
        return _outcome(worker, status, timeout_s, started)


def _run_together(job: TogetherJob, plan: Placement, timeout_s: float) -> Outcome:
    """Start every instance on its part of the plan, give the signal when all are ready, and wait for all.

    The payload has one entry per instance, under ``instances``; one that fails takes the whole job with it.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        plans = divide_among_instances(plan, len(job.instances))
        workers = [
            stack.enter_context(_worker(instance, part)) for instance, part in zip(job.instances, plans, strict=True)
        ]
        if _all_ready(job.instances, workers, started + timeout_s):
            for worker in workers:
                worker.wait(max(0.0, started + timeout_s - time.monotonic()))
        statuses = [worker.status() for worker in workers]
    outcomes = [_outcome(worker, status, timeout_s, started) for worker, status in zip(workers, statuses, strict=True)]
    # Of several failures, one that was not merely waiting for the others says why.
    blamed = sorted((status is None, index) for index, status in enumerate(statuses) if outcomes[index].failure)
    failure = f"instance {blamed[0][1] + 1}: {outcomes[blamed[0][1]].failure}" if blamed else None
    payload = None if blamed else {"instances": [outcome.payload for outcome in outcomes]}
    return Outcome(payload, failure, pid=workers[0].pid, wall_s=time.monotonic() - started)


def _all_ready(jobs: Sequence[InstanceJob], workers: Sequence[WorkerProcess], deadline: float) -> bool:
    """Wait until every instance is ready and give the signal; False when one ends or the time is up before."""
    directories = [Path(job.directory) for job in jobs]
    while time.monotonic() < deadline and all(worker.status() is None for worker in workers):
        sample_s = rendezvous.announced(directories)
        if sample_s is not None:
            windows = rendezvous.windows(time.perf_counter_ns(), jobs[0].series_seconds, sample_s)
            rendezvous.give_signal(Path(jobs[0].start_file), windows)
            return True
        time.sleep(_POLL_S)
    return False


def _worker(job: WorkerJob, plan: Placement) -> contextlib.AbstractContextManager[WorkerProcess]:
    """A process at work on the job under the plan; gone afterwards."""
    job_path = write_job(job)
    return worker_process([sys.executable, "-m", "harness.workers.worker", str(job_path)], job_path.parent, plan)


def _outcome(worker: WorkerProcess, status: int | None, timeout_s: float, started: float) -> Outcome:
    wall_s = time.monotonic() - started
    payload = read_outcome(worker.directory, dict[str, Any])
    if status == 0 and payload is not None:
        return Outcome(payload=payload, failure=None, pid=worker.pid, wall_s=wall_s)
    if status == ExitCode.USAGE and payload is not None:
        raise InputError(payload["error"]["message"], remedy=payload["error"]["remedy"])
    return Outcome(payload=None, failure=worker.cause_of_death(status, timeout_s), pid=worker.pid, wall_s=wall_s)
