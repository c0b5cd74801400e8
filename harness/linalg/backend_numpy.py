"""Batched products by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.linalg.blas import describe
from harness.linalg.interface import PLAIN, Epilogue, RanOn, apply_epilogue, from_bfloat16, product
from harness.linalg.native import Dtype


class NumpyBackend:
    """``numpy.matmul``: NumPy's BLAS for float32, its own loops for integers."""

    def ran_on(self, dtype: Dtype) -> RanOn:
        """NumPy's BLAS and the core it chose."""
        library = describe("numpy")
        if dtype == "int8":
            return RanOn("numpy", "scalar", "matmul of int32", "none")
        kernel = "matmul" if dtype == "float32" else "matmul of float32, after conversion"
        return RanOn("numpy", library.core, kernel, library.name)

    def matmul(
        self,
        a: NDArray[Any],
        b: NDArray[Any],
        out: NDArray[Any] | None = None,
        epilogue: Epilogue = PLAIN,
    ) -> NDArray[Any]:
        """See ``Backend.matmul``."""
        job = product(a, b, out, epilogue)
        left, right = job.a, job.b
        if job.dtype == "bfloat16":
            left, right = from_bfloat16(left), from_bfloat16(right)
        elif job.dtype == "int8":
            left, right = left.astype(np.int32), right.astype(np.int32)
        apply_epilogue(job, np.matmul(left, right), epilogue)
        return job.result
