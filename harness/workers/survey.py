"""The survey job: what the timing loop costs here, and what the loaded libraries run on. Runs in a worker process."""

from __future__ import annotations

import os
from pathlib import Path

from harness.measure.clock import SystemClock
from harness.measure.overhead import measure_overhead
from harness.platform import load
from harness.platform.counters import ThreadCounters
from harness.platform.software import loaded_software
from harness.platform.sysroot import SysRoot
from harness.roofline import kept
from harness.roofline.measured import MeasuredRoof, measured_roof
from harness.workers.jobs import SurveyJob
from harness.workers.outcomes import SurveyOutcome


def survey(job: SurveyJob) -> SurveyOutcome:
    """Overhead of the timing loop, the software as it is once loaded, and the roof where it is asked for."""
    import onnxruntime  # noqa: F401 - loaded so that the libraries it brings can be asked
    import torch

    torch.set_num_threads(job.threads)
    return SurveyOutcome(
        overhead=measure_overhead(SystemClock(), ThreadCounters()),
        software=loaded_software(),
        roof=_roof(job) if job.roof else None,
    )


def _roof(job: SurveyJob) -> MeasuredRoof | None:
    """The kept roof where it may stand for a new one, else a new one, which is kept."""
    if job.kept is None:
        return measured_roof(job.cpus, job.cache_bytes)
    file, average = Path(job.kept), load.collect(SysRoot()).load_1m
    share = None if average is None else average / (os.cpu_count() or 1)
    roof = None if job.fresh else kept.read(file, share)
    if roof is None:
        roof = measured_roof(job.cpus, job.cache_bytes)
        if roof is not None:
            kept.keep(file, roof, share)
    return roof
