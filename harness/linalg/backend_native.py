"""Batched products by the native kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.interface import PLAIN, Epilogue, RanOn, product
from harness.linalg.native import ACTIVATIONS, DTYPES, Dtype

_NO_BIAS, _ROW_BIAS, _COLUMN_BIAS = range(3)  # lpb_bias_axis


class NativeBackend:
    """Kernels of one instruction set: by default the best one here.

    Args:
        isa: its name.
        threads: at most so many share the items, or the rows of few items; by default the placement's.
    """

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        self._isa = native.select(isa)
        self._threads = native.default_threads() if threads is None else threads

    def ran_on(self, dtype: Dtype) -> RanOn:
        """The instruction set and the kernel's name."""
        kernel = self._isa.kernel(dtype)
        if kernel is None:
            raise InputError(f"dtype {dtype!r} has no kernel for {self._isa.name}")
        return RanOn("native", self._isa.name, kernel, "none")

    def matmul(
        self,
        a: NDArray[Any],
        b: NDArray[Any],
        out: NDArray[Any] | None = None,
        epilogue: Epilogue = PLAIN,
    ) -> NDArray[Any]:
        """See ``Backend.matmul``; operands are read where they are, in any layout of whole, aligned elements."""
        job = product(a, b, out, epilogue)
        assert native.extension is not None
        target = job.out
        if target.size == 0:
            return job.result
        if target.strides[2] != target.itemsize or not target.flags.aligned:
            target = target.copy()  # rows must be contiguous; beta reads the old values
        bias = None if job.bias is None else np.require(job.bias, np.float32, ["C", "A"])
        axis = _NO_BIAS
        if bias is not None:
            axis = _ROW_BIAS if job.row_bias else _COLUMN_BIAS
            bias = bias.reshape(bias.shape[0], -1)
            bias = bias[0] if len(bias) == 1 else bias
        native.extension.gemm(
            self._isa.index,
            DTYPES.index(job.dtype),
            _readable(job.a),
            _readable(job.b),
            target,
            epilogue.alpha,
            epilogue.beta,
            bias,
            axis,
            ACTIVATIONS.index(epilogue.activation),
            epilogue.slope,
            self._threads,
        )
        if target is not job.out:
            job.out[...] = target
        return job.result


def _readable(x: NDArray[Any]) -> NDArray[Any]:
    """``x`` itself when the kernels can address its elements, else a copy."""
    if type(x) is np.ndarray and x.flags.aligned:
        return x
    return np.array(x, order="C", subok=False)
