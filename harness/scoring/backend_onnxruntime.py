"""Backend ``onnxruntime``: the exported graph on the CPU execution provider, inside the CPUs the process was given.

int8 is ONNX Runtime's own dynamic quantisation: weights quantised once, by output, activations at every call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg.ort_options import session_options
from harness.platform.cpuinfo import parse_cpuinfo
from harness.platform.sysroot import SysRoot
from harness.scoring.artifacts import Artifacts
from harness.scratch import scratch

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
            scores: NDArray[np.float32] = self._session.run(self._outputs, {self._input: X})[0]
            return scores
        out = np.empty(len(X), dtype=np.float32)
        for start in range(0, len(X), ROWS_PER_CALL):
            part = X[start : start + ROWS_PER_CALL]
            out[start : start + ROWS_PER_CALL] = self._session.run(self._outputs, {self._input: part})[0]
        return out


def open_backend(artifacts: Artifacts, dtype: str, threads: int) -> OrtScorer:
    """Open a session whose threads stay on the allowed CPUs.

    Raises:
        InputError: ONNX Runtime cannot open the graph, or int8 was asked for and nothing in it can be quantised.
    """
    import onnxruntime

    options = session_options(threads)
    path = artifacts.graph
    try:
        graph: str | bytes = str(path)
        if dtype == "int8":
            if not artifacts.macs_per_row:
                raise InputError(f"{artifacts.detector} scores without dense layers, so there is nothing to quantise.")
            graph = _quantised(path)
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except InputError:
        raise
    except Exception as error:  # ONNX Runtime raises its own types, straight from C++
        raise InputError(f"ONNX Runtime cannot open {path}: {error}", remedy="Export the detector again.") from error
    return OrtScorer(session)


def _quantised(path: Path) -> bytes:
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a preparation that these graphs do not need, at every call
    try:
        with scratch("int8") as folder:
            made = folder / "int8.onnx"
            quantize_dynamic(
                path,
                made,
                per_channel=True,
                reduce_range=_saturates(),
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul"],
            )
            return made.read_bytes()
    finally:
        root.setLevel(level)


def _saturates() -> bool:
    """Whether sums of two 8-bit products can overflow here, so that weights may only have 7 bits.

    Source: ONNX Runtime, "Quantize ONNX models": on x86-64 with AVX2 or AVX-512 but no VNNI its kernels add pairs of
    products in 16 bits with saturation (vpmaddubsw).
    """
    flags = parse_cpuinfo(SysRoot().read_text("proc/cpuinfo")).flags
    return flags is not None and not flags & {"avx512_vnni", "avx_vnni"}
