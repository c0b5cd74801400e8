"""Batched products by torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.linalg.blas import describe
from harness.linalg.interface import PLAIN, Backend, Product, RanOn, apply_epilogue, wide_operands
from harness.linalg.native import Dtype


class TorchBackend(Backend):
    """``torch.bmm``, or ``torch.matmul`` for a shared operand."""

    def ran_on(self, dtype: Dtype) -> RanOn:
        """Torch's BLAS and the core it chose; for MKL, torch's own notion of the processor."""
        library = describe("torch")
        core = library.core if library.core != "unknown" else torch.backends.cpu.get_cpu_capability()
        if dtype == "int8":
            return RanOn("torch", "scalar", "bmm of int32", "none")
        kernel = "bmm" if dtype == "float32" else "bmm of float32, after conversion"
        return RanOn("torch", core, kernel, library.name)

    def multiply(self, product: Product) -> None:
        """See ``Backend.multiply``."""
        x, y = map(_tensor, wide_operands(product))
        out = product.out
        plain = product.epilogue is PLAIN and out.flags.c_contiguous and out.flags.aligned
        if x.shape[0] == y.shape[0]:
            if plain:
                torch.bmm(x, y, out=torch.from_numpy(out))
                return
            raw = torch.bmm(x, y)
        else:
            raw = torch.matmul(x, y)
        apply_epilogue(product, raw.numpy())


def _tensor(x: NDArray[Any]) -> torch.Tensor:
    """A tensor of the same memory where torch can view it: not with negative strides, nor of misaligned elements."""
    if not x.flags.aligned or not x.flags.writeable or any(stride < 0 for stride in x.strides):
        x = np.array(x, order="C")
    return torch.from_numpy(x)
