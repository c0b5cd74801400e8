"""The worker process: does one job, writes its outcome, and reports a user's mistake as such.

Started by ``harness.placement.launch``, which has set affinity, memory policy and thread environment before this module
imports anything that starts threads.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.workers.jobs import (
    FitJob,
    InstanceJob,
    MeasureJob,
    ReferencesJob,
    SurveyJob,
    WorkerJob,
    read_job,
)
from harness.workers.process import die_with_parent, write_outcome


def main() -> None:
    """Entry point: ``python -m harness.workers.worker JOB.json``."""
    die_with_parent()
    job = read_job(Path(sys.argv[1]))
    started = time.monotonic()
    try:
        payload = _work(job)
    except InputError as error:
        write_outcome(Path(job.directory), {"error": {"message": error.message, "remedy": error.remedy}})
        sys.exit(error.exit_code)
    payload["wall_s"] = time.monotonic() - started
    payload["rss_peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    payload["observation"] = _observe()
    write_outcome(Path(job.directory), payload)


def _work(job: WorkerJob) -> dict[str, Any]:
    match job:
        case FitJob():
            from harness.workers.fit import fit

            return fit(job)
        case InstanceJob():
            from harness.workers.measure import measure_instance

            return measure_instance(job)
        case MeasureJob():
            from harness.workers.measure import measure

            return measure(job)
        case ReferencesJob():
            from harness.workers.baseline_detectors import score_references

            return score_references(job)
        case SurveyJob():
            from harness.workers.survey import survey

            return survey(job)


def _observe() -> dict[str, Any]:
    from harness.placement.verify import observe

    observation: dict[str, Any] = observe().to_json()
    return observation


if __name__ == "__main__":
    main()
    # The outcome is on disk; taking torch's modules down in order would keep the next worker waiting for a second.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
