"""A run in the format of pytest-benchmark, for ``pytest-benchmark compare`` and for reading back."""

from __future__ import annotations

import json
import statistics
from typing import Any

from harness.compare.observations import Observation, side_of
from harness.compare.pytest_benchmark import OWN, ExportedObservation, ExportedRun
from harness.decode import encode
from harness.record.model import Run

_NOT_TAKEN = {"disable_gc": False, "timer": "perf_counter", "warmup": True}


def pytest_benchmark_text(run: Run) -> bytes:
    """JSON with one benchmark per result and batch size whose rounds are its processes, in seconds per call.

    What the format has no place for (keys, conditions, why a result is not valid, accuracy) is kept under
    ``lparbench``, so that nothing is lost when ``lparbench compare`` reads the file.
    """
    side = side_of(run)
    document = {
        "machine_info": _machine_info(run),
        "commit_info": {
            "id": "unversioned",
            "time": None,
            "dirty": False,
            "project": "lparbench",
            "branch": "(unknown)",
        },
        "benchmarks": [_benchmark(item) for _, item in sorted(side.observations.items()) if item.seconds],
        "datetime": run.created,
        "version": "5.0.0",
        OWN: encode(ExportedRun(run.run_id, run.created, side.spec, side.accuracy)),
    }
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")


def _machine_info(run: Run) -> dict[str, Any]:
    known = run.fingerprint
    return {
        "node": "",
        "machine": known.arch,
        "release": known.kernel,
        "python_version": run.software.python,
        "cpu": {"brand_raw": known.cpu, "count": len(known.cpus_online) or None},
        OWN: encode(known),
    }


def _benchmark(observation: Observation) -> dict[str, Any]:
    key = observation.key
    exported = ExportedObservation(
        key=key,
        seconds=observation.seconds,
        problems=observation.problems,
        conditions=observation.conditions,
        unusable=observation.unusable,
        unit=f"seconds: {key.estimate}, one value per process",
    )
    return {
        "group": f"{key.workload} {key.scenario}",
        "name": str(key),
        "fullname": f"lparbench::{key}",
        "params": {"backend": key.backend, "dtype": key.dtype, "batch_size": key.batch_size},
        "param": None,
        "extra_info": {OWN: encode(exported)},
        "options": dict(_NOT_TAKEN),
        "stats": _stats([seconds for _, seconds in sorted(observation.seconds.items())]),
    }


def _stats(data: list[float]) -> dict[str, Any]:
    """The figures pytest-benchmark shows, by its own definitions (Tukey's quartiles of the halves)."""
    ordered, n = sorted(data), len(data)
    mean, median = statistics.fmean(data), statistics.median(data)
    stddev = statistics.stdev(data) if n > 1 else 0.0
    q1 = statistics.median(ordered[: (n + 1) // 2])
    q3 = statistics.median(ordered[n // 2 :])
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(not mean - stddev <= value <= mean + stddev for value in data)
    outliers = sum(not low <= value <= high for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": stddev,
        "rounds": n,
        "median": median,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outliers,
        "stddev_outliers": far,
        "outliers": f"{far};{outliers}",
        "ld15iqr": min(value for value in ordered if value >= low),
        "hd15iqr": max(value for value in ordered if value <= high),
        "ops": n / sum(data),
        "total": sum(data),
        "data": data,
        "iterations": 1,
    }
