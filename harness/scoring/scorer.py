"""One interface to score rows, and the backends that need no detector object; each is imported when opened, alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError, unknown
from harness.scoring.artifacts import Artifacts
from harness.scoring.backends import BACKENDS

Scores = NDArray[np.float32]


class Scorer(Protocol):
    """Scores rows of an exported detector."""

    def score(self, X: NDArray[np.float32]) -> Scores:
        """Anomaly score of each row of C-contiguous float32 ``X`` (n, d), shape (n,); higher is more anomalous."""


def check_backend(artifacts: Artifacts, backend: str, dtype: str, threads: int) -> None:
    """Check a request for a scorer.

    Raises:
        InputError: unknown backend or dtype, no thread, or the detector cannot run on the backend.
    """
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    dtypes = BACKENDS[backend]
    if dtype not in dtypes:
        raise InputError(f"Backend {backend} has no dtype {dtype!r}.", remedy=f"It has: {', '.join(dtypes)}.")
    if threads < 1:
        raise InputError(f"threads is {threads}; expected 1 or more.")
    if backend not in artifacts.backends:
        able = ", ".join(artifacts.backends)
        raise InputError(f"{artifacts.detector} cannot run on backend {backend}.", remedy=f"It runs on: {able}.")


def open_exported(artifacts: Artifacts, backend: str, dtype: str, threads: int) -> Scorer:
    """Load an exported graph or program onto ``compile``, ``onnxruntime`` or ``native``, once `check_backend` passed.

    Raises:
        InputError: the backend cannot run it here.
    """
    match backend:
        case "compile":
            from harness.scoring import backend_compile

            return backend_compile.open_backend(artifacts, threads)
        case "native":
            from harness.scoring import backend_native

            return backend_native.open_backend(artifacts, dtype, threads)
        case _:
            from harness.scoring import backend_onnxruntime

            return backend_onnxruntime.open_backend(artifacts, dtype, threads)
