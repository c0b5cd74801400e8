"""LPARBench: benchmarking of anomaly detectors on IBM Power LPARs (and, as a fallback, x86-64).

The names of ``__all__`` are the Python interface; each is loaded when it is first used. Everything else may move.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# ONNX Runtime keeps an identifier of the machine in the home directory, and sends events, unless this is set before it
# is loaded (microsoft/onnxruntime#27379, and #29843 for the other name); MLflow sends events of its use.
for _switch in ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from harness.api import compare_runs, load, probe, run
    from harness.compare.compare import CompareReport
    from harness.errors import (
        CheckFailedError,
        EnvironmentMismatchError,
        ExitCode,
        InputError,
        LparbenchError,
        MeasurementError,
    )
    from harness.platform.facts import Facts
    from harness.record.model import Run
    from harness.record.spec import RunSpec
    from harness.record.sweep_model import Sweep
else:
    _HOMES = {
        "harness.api": ("compare_runs", "load", "probe", "run"),
        "harness.compare.compare": ("CompareReport",),
        "harness.errors": (
            "CheckFailedError",
            "EnvironmentMismatchError",
            "ExitCode",
            "InputError",
            "LparbenchError",
            "MeasurementError",
        ),
        "harness.platform.facts": ("Facts",),
        "harness.record.model": ("Run",),
        "harness.record.spec": ("RunSpec",),
        "harness.record.sweep_model": ("Sweep",),
    }

    def __getattr__(name):
        from importlib import import_module

        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "CheckFailedError",
    "CompareReport",
    "EnvironmentMismatchError",
    "ExitCode",
    "Facts",
    "InputError",
    "LparbenchError",
    "MeasurementError",
    "Run",
    "RunSpec",
    "Sweep",
    "__version__",
    "compare_runs",
    "load",
    "probe",
    "run",
]
