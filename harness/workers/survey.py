"""The survey job: what the timing loop costs here, and what the loaded libraries run on. Runs in a worker process."""

from __future__ import annotations

from harness.measure.clock import SystemClock
from harness.measure.overhead import measure_overhead
from harness.platform.counters import ThreadCounters
from harness.platform.software import loaded_software
from harness.roofline.measured import measured_roof
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
        roof=measured_roof(job.cpus, job.cache_bytes) if job.roof else None,
    )
