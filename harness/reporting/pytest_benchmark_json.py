"""A run in the format of pytest-benchmark, for ``pytest-benchmark compare`` and for reading back."""

from __future__ import annotations

import json

from harness.compare.observations import Observation, side_of
from harness.compare.pytest_benchmark import OWN, ExportedObservation, ExportedRun
from harness.decode import encode
from harness.measure.rounds import round_stats
from harness.record.model import Run

_NOT_TAKEN = {"disable_gc": False, "timer": "perf_counter", "warmup": True}


def pytest_benchmark_text(run: Run) -> bytes:
    """JSON with one benchmark per result and batch size whose rounds are its processes, in seconds per call.

    What the format has no place for (keys, conditions, accuracy, and all of a result that is not valid: the format
    would show it as any other) is kept under ``lparbench``, so that nothing is lost when ``lparbench compare`` reads
    the file.
    """
    side = side_of(run)
    known = [item for _, item in sorted(side.observations.items()) if item.seconds]
    not_valid = tuple(_exported(item) for item in known if item.problems)
    document = {
        "machine_info": _machine_info(run),
        "commit_info": {
            "id": "unversioned",
            "time": None,
            "dirty": False,
            "project": "lparbench",
            "branch": "(unknown)",
        },
        "benchmarks": [_benchmark(item) for item in known if not item.problems],
        "datetime": run.created,
        "version": "5.0.0",
        OWN: encode(ExportedRun(run.run_id, run.created, side.spec, side.accuracy, not_valid)),
    }
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")


def _machine_info(run: Run) -> dict[str, object]:
    known = run.fingerprint
    return {
        "node": "",
        "machine": known.arch,
        "release": known.kernel,
        "python_version": run.software.python,
        "cpu": {"brand_raw": known.cpu, "count": len(known.cpus_online) or None},
        OWN: encode(known),
    }


def _exported(observation: Observation) -> ExportedObservation:
    key = observation.key
    return ExportedObservation(
        key=key,
        seconds=observation.seconds,
        problems=observation.problems,
        conditions=observation.conditions,
        unusable=observation.unusable,
        unit=f"seconds: {key.estimate}, one value per process",
    )


def _benchmark(observation: Observation) -> dict[str, object]:
    key = observation.key
    return {
        "group": f"{key.workload} {key.scenario}",
        "name": str(key),
        "fullname": f"lparbench::{key}",
        "params": {"backend": key.backend, "dtype": key.dtype, "batch_size": key.batch_size},
        "param": None,
        "extra_info": {OWN: encode(_exported(observation))},
        "options": dict(_NOT_TAKEN),
        "stats": encode(round_stats([seconds for _, seconds in sorted(observation.seconds.items())])),
    }
