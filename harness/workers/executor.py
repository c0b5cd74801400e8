"""Runs one job in fresh, pinned processes, and says in words why it failed when it did."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from harness.errors import InputError
from harness.interpreter import program
from harness.placement.model import Placement
from harness.workers import rendezvous
from harness.workers.jobs import ConcurrentJob, InstanceJob, Job, RankedJob, WorkerJob, write_job
from harness.workers.outcomes import InputProblem, JobResult, WorkerReport
from harness.workers.process import WorkerProcess, read_outcome, worker_process

_POLL_S = 0.01


class Executor(Protocol):
    """Runs jobs; the process one is real, tests script their own."""

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        """Run to the end, or to the timeout; raises InputError for what the worker found wrong in the user's input."""
        ...


class ProcessExecutor:
    """One fresh process per job, or per instance of a job; whatever ends ``run``, all of them are gone afterwards."""

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        """See ``Executor.run``; a worker still busy after ``timeout_s`` seconds is killed and called hung.

        Of several instances or ranks, one that fails takes the whole job with it.

        Raises:
            LparbenchError: a disk is full: the job is not done, and can be done when there is room.
        """
        started = time.monotonic()
        deadline = started + timeout_s
        jobs: Sequence[WorkerJob]
        match job:
            case ConcurrentJob():
                jobs, placements = job.instances, job.placements
            case RankedJob():
                jobs, placements = job.ranks, job.placements
            case _:
                jobs, placements = (job,), (placement,)
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(_worker(*pair)) for pair in zip(jobs, placements, strict=True)]
            if isinstance(job, RankedJob):
                _until_one_fails(workers, deadline)
            elif not isinstance(job, ConcurrentJob) or _started_together(job.instances, workers, deadline):
                for worker in workers:
                    worker.wait(max(0.0, deadline - time.monotonic()))
            statuses = [worker.status() for worker in workers]
        reports, failures = [], []
        for index, (worker, status) in enumerate(zip(workers, statuses, strict=True)):
            report = _report(worker, status)
            if report is None:
                full = None if status is None else worker.out_of_room()
                if full is not None:
                    raise full
                waited = (status is None, status is not None and status >= 0)
                failures.append((waited, index, worker.cause_of_death(status, timeout_s)))
            else:
                reports.append(report)
        wall_s = time.monotonic() - started
        if not failures:
            return JobResult(tuple(reports), None, workers[0].pid, wall_s)
        # Of several failures, one that neither waited for the others nor ended because of them says why.
        _, index, cause = min(failures)
        who = f"rank {index}" if isinstance(job, RankedJob) else f"instance {index + 1}"
        failure = f"{who}: {cause}" if len(workers) > 1 else cause
        return JobResult((), failure, workers[0].pid, wall_s)


def _worker(job: WorkerJob, placement: Placement) -> contextlib.AbstractContextManager[WorkerProcess]:
    """A process at work on the job under the placement; gone afterwards."""
    path = write_job(job)
    return worker_process(program("harness.workers.worker", str(path)), path.parent, placement)


def _report(worker: WorkerProcess, status: int | None) -> WorkerReport | None:
    """What the worker left; None when it failed.

    Raises:
        InputError: it found something wrong in the user's files.
    """
    report = read_outcome(worker.directory, WorkerReport)
    if report is not None and isinstance(report.outcome, InputProblem):
        raise InputError(report.outcome.message, remedy=report.outcome.remedy)
    crash = worker.crashed_parsing(status)
    if crash is not None:
        raise crash
    return report if status == 0 else None


def _until_one_fails(workers: Sequence[WorkerProcess], deadline: float) -> None:
    """Wait until all have ended, one has failed, or the time is up."""
    while time.monotonic() < deadline:
        statuses = [worker.status() for worker in workers]
        if None not in statuses or any(statuses):
            return
        time.sleep(_POLL_S)


def _started_together(jobs: Sequence[InstanceJob], workers: Sequence[WorkerProcess], deadline: float) -> bool:
    """Wait until every instance is ready and give the signal; False when one ends or the time is up before."""
    directories = [Path(job.directory) for job in jobs]
    while time.monotonic() < deadline and all(worker.status() is None for worker in workers):
        sample_s = rendezvous.announced(directories)
        if sample_s is not None:
            windows = rendezvous.windows(time.perf_counter_ns(), jobs[0].measure.series_seconds, sample_s)
            rendezvous.give_signal(Path(jobs[0].start_file), windows)
            return True
        time.sleep(_POLL_S)
    return False
