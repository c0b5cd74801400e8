"""The worker process: does one job, writes its report, and tells a user's mistake from a failure.

Started by ``harness.placement.launch``, which has set affinity, memory policy and thread environment before this module
imports anything that starts threads.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from harness.errors import InputError
from harness.platform.second_clock import ClockWatch
from harness.workers.jobs import BaselineJob, CheckJob, FitJob, InstanceJob, MeasureJob, SurveyJob, WorkerJob, read_job
from harness.workers.outcomes import InputProblem, WorkerOutcome, WorkerReport
from harness.workers.process import PARSING_FILE, write_outcome


def main() -> None:
    """Entry point, with the path of the job as its argument."""
    job = read_job(Path(sys.argv[1]))
    started, clocks = time.monotonic(), ClockWatch()
    if isinstance(job, CheckJob | FitJob | BaselineJob):
        from harness.datasets.store import PARSING_NOTE

        PARSING_NOTE.set(Path(job.directory) / PARSING_FILE)
    try:
        outcome = _work(job)
    except InputError as error:
        problem = InputProblem(error.message, error.remedy)
        write_outcome(Path(job.directory), WorkerReport(problem, time.monotonic() - started, _peak_bytes(), None))
        sys.exit(error.exit_code)
    from harness.placement.verify import observe

    report = WorkerReport(outcome, time.monotonic() - started, _peak_bytes(), observe(), clocks.elapsed())
    write_outcome(Path(job.directory), report)


def _work(job: WorkerJob) -> WorkerOutcome:
    match job:
        case CheckJob():
            from harness.workers.check import check

            return check(job)
        case FitJob():
            if job.bundle is not None:
                from harness.workers.opened import opened

                return opened(job, Path(job.bundle))
            from harness.workers.fit import fit, fit_in_format

            return fit(job) if job.dtype == "float32" else fit_in_format(job)
        case MeasureJob():
            from harness.workers.measure import measure

            return measure(job)
        case InstanceJob():
            from harness.workers.measure import measure_instance

            return measure_instance(job)
        case BaselineJob():
            from harness.workers.baseline_detectors import score_baselines

            return score_baselines(job)
        case SurveyJob():
            from harness.workers.survey import survey

            return survey(job)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
    # The report is on disk; taking torch's modules down in order would keep the next worker waiting for a second.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
