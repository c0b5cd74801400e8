"""Backend ``onnxruntime``: the exported graph on the CPU execution provider, inside the CPUs the process was given.

Left alone, ONNX Runtime sizes its pool from the machine and pins the threads itself, over whatever mask the process has
(microsoft/onnxruntime#7347, #10104). An explicit pool size stops that; with one thread there is no pool at all and the
calling thread does the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.detectors.inference.artifacts import GRAPH_FILE, Artifacts
from harness.errors import InputError
from harness.platform.pinning import pinned_cpus

ROWS_PER_CALL = 4096  # bounds the activations of one run to what second-level caches hold


class OrtScorer:
    """Scores through one ONNX Runtime session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Anomaly score of each row."""
        if len(X) <= ROWS_PER_CALL:
            found: NDArray[np.float32] = self._session.run(self._outputs, {self._input: X})[0]
            return found
        out = np.empty(len(X), dtype=np.float32)
        for start in range(0, len(X), ROWS_PER_CALL):
            part = X[start : start + ROWS_PER_CALL]
            out[start : start + ROWS_PER_CALL] = self._session.run(self._outputs, {self._input: part})[0]
        return out


def open_backend(artifacts: Artifacts, meta: dict[str, Any], dtype: str, threads: int) -> OrtScorer:  # noqa: ARG001
    """Open a session whose threads stay on the allowed CPUs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    if threads > 1:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities(pinned_cpus(), threads))
    path = artifacts.directory / GRAPH_FILE
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own types, straight from C++
        raise InputError(f"ONNX Runtime cannot open {path}: {error}", remedy="Export the detector again.") from error
    return OrtScorer(session)


def affinities(cpus: tuple[int, ...], threads: int) -> str:
    """ONNX Runtime's affinity string for its pool of ``threads - 1`` workers (the caller is the remaining thread).

    Workers take the CPUs after the first; numbers are 1-based, worker lists are separated by ``;``.

    Raises:
        InputError: fewer CPUs are allowed than threads asked for.
    """
    if threads > len(cpus):
        raise InputError(f"{threads} threads asked for, but the process may run on {len(cpus)} CPUs only.")
    return ";".join(str(cpu + 1) for cpu in cpus[1:threads])
