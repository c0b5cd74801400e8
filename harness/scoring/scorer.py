"""One interface to score rows, whatever runs them; a backend is imported when opened, alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.scoring.artifacts import Artifacts, read

Scores = NDArray[np.float32]


class Scorer(Protocol):
    """Scores rows of an exported detector."""

    def score(self, X: NDArray[np.float32]) -> Scores:
        """Anomaly score of each row of C-contiguous float32 ``X`` (n, d), shape (n,); higher is more anomalous."""


@dataclass(frozen=True)
class Backend:
    """A way to run an exported detector: the module with its ``open_backend``, and the number formats it has."""

    module: str
    dtypes: tuple[str, ...]


BACKENDS: dict[str, Backend] = {
    "eager": Backend("harness.detectors.eager_backend", ("float32",)),
    "compile": Backend("harness.scoring.backend_compile", ("float32",)),
    "onnxruntime": Backend("harness.scoring.backend_onnxruntime", ("float32", "int8")),
    "native": Backend("harness.scoring.backend_native", ("float32", "bfloat16", "int8")),
}


def open_scorer(directory: Path, backend: str, dtype: str = "float32", threads: int = 1) -> Scorer:
    """Load what `prepare` wrote into ``directory`` onto a backend.

    Args:
        directory: of the exported detector.
        backend: a key of `BACKENDS`.
        dtype: number format of the arithmetic; scores are float32 in any case.
        threads: threads one call may use; they stay on the CPUs the process is allowed.

    Raises:
        InputError: unknown backend or dtype, or the detector cannot run on it.
    """
    if backend not in BACKENDS:
        raise InputError(f"Unknown backend {backend!r}.", remedy=f"Known: {', '.join(BACKENDS)}.")
    known = BACKENDS[backend]
    if dtype not in known.dtypes:
        raise InputError(f"Backend {backend} has no dtype {dtype!r}.", remedy=f"It has: {', '.join(known.dtypes)}.")
    if threads < 1:
        raise InputError(f"threads is {threads}; expected 1 or more.")
    artifacts, meta = read(directory)
    if backend not in artifacts.backends:
        able = ", ".join(artifacts.backends)
        raise InputError(f"{meta['detector']} cannot run on backend {backend}.", remedy=f"It runs on: {able}.")
    opener: Callable[[Artifacts, dict[str, Any], str, int], Scorer] = importlib.import_module(known.module).open_backend
    return opener(artifacts, meta, dtype, threads)
