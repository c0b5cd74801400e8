"""Batched products by the native kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.interface import Backend, Product, RanOn
from harness.linalg.native import Dtype


class NativeBackend(Backend):
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

    def multiply(self, product: Product) -> None:
        """See ``Backend.multiply``; operands are read where they are, in any layout of whole, aligned elements."""
        kernels, target, epilogue = native.extension, product.out, product.epilogue
        assert kernels is not None
        if target.size == 0:
            return
        if target.strides[2] != target.itemsize or not target.flags.aligned:
            target = target.copy()  # rows must be contiguous; beta reads the old values
        bias = None if product.bias is None else np.require(product.bias, np.float32, ["C", "A"])
        axis = "none"
        if bias is not None:
            axis = "row" if product.row_bias else "column"
            bias = bias.reshape(bias.shape[0], -1)
            bias = bias[0] if len(bias) == 1 else bias
        kernels.gemm(
            self._isa.index,
            kernels.DTYPES[product.dtype],
            _readable(product.a),
            _readable(product.b),
            target,
            epilogue.alpha,
            epilogue.beta,
            bias,
            kernels.BIAS_AXES[axis],
            kernels.ACTIVATIONS[epilogue.activation],
            epilogue.slope,
            self._threads,
        )
        if target is not product.out:
            product.out[...] = target


def _readable(x: NDArray[Any]) -> NDArray[Any]:
    """``x`` itself when the kernels can address its elements, else a copy."""
    if type(x) is np.ndarray and x.flags.aligned:
        return x
    return np.array(x, order="C", subok=False)
