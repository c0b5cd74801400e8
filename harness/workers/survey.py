"""The survey job: what the timing loop costs here, and what the loaded libraries run on. Runs in a worker process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness.decode import encode
from harness.measure.clock import SystemClock
from harness.measure.overhead import measure_overhead
from harness.platform.counters import ThreadCounters
from harness.platform.facts import as_json
from harness.platform.software import loaded_software
from harness.roofline.measured import measured_roof
from harness.workers.jobs import SurveyJob


def survey(job: SurveyJob) -> dict[str, Any]:
    """Overhead of the timing loop in seconds, and the software as it is once loaded."""
    import onnxruntime  # noqa: F401 - loaded so that the libraries it brings can be asked
    import torch

    torch.set_num_threads(job.threads)
    return {
        "overhead": asdict(measure_overhead(SystemClock(), ThreadCounters())),
        "software": as_json(loaded_software()),
        "peak": encode(measured_roof(job.cpus, job.cache_bytes)) if job.peak else None,
    }
