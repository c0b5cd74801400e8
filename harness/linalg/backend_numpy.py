"""Batched products by NumPy."""

from __future__ import annotations

import numpy as np

from harness.linalg.blas import describe
from harness.linalg.interface import Backend, Product, RanOn, apply_epilogue, wide_operands
from harness.linalg.native import Dtype


class NumpyBackend(Backend):
    """``numpy.matmul``: NumPy's BLAS for float32, its own loops for integers."""

    def ran_on(self, dtype: Dtype) -> RanOn:
        """NumPy's BLAS and the core it chose."""
        library = describe("numpy")
        if dtype == "int8":
            return RanOn("numpy", "scalar", "matmul of int32", "none")
        kernel = "matmul" if dtype == "float32" else "matmul of float32, after conversion"
        return RanOn("numpy", library.core, kernel, library.name)

    def multiply(self, product: Product) -> None:
        """See ``Backend.multiply``."""
        apply_epilogue(product, np.matmul(*wide_operands(product)))
