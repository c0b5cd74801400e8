"""Inference of a whole chain of dense layers in one native call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.layers import Layer, checked, coded

Head = Literal["none", "logit", "mse"]
HEADS: tuple[Head, ...] = get_args(Head)
Run = Callable[..., NDArray[np.float32]]


def available(dtype: native.Dtype = "float32") -> bool:
    """Whether a chain of this type runs natively here; otherwise it runs on torch, and says so."""
    return native.extension is not None and native.select().kernel(dtype) is not None


class DenseChain:
    """A chain of dense layers with packed weights.

    Args:
        layers: (weight (outputs, inputs), bias (outputs,), activation, slope) each, or ``Layer``; copied.
        head: what ``score`` gives per row: ``logit`` the single output of the last layer, ``mse`` the mean squared
            difference of the outputs to the inputs, ``none`` the outputs themselves.
        dtype: of the products; inputs, outputs and sums are float32.
        threads: at most so many share the rows; by default the placement's.
        isa: the instruction set to use instead of the best one, by its name.

    Attributes:
        score: ``score(X)`` or ``score(X, out)`` with X (n, inputs) gives (n,) float32, or (n, outputs) without a head.
            float32 rows that are contiguous are read where they are; anything else is converted first.
        isa: the instruction set that the products run on, ``torch`` where the native kernels are not built.
        kernel: the name of their kernel.

    Raises:
        InputError: layers that do not fit each other or the head, or an instruction set that is not here.
    """

    def __init__(
        self,
        layers: Sequence[Layer | tuple[Any, ...]],
        head: Head = "none",
        dtype: native.Dtype = "float32",
        *,
        threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        self.layers = checked(layers)
        self.head = head
        self.dtype = dtype
        self.n_features = self.layers[0].weight.shape[1]
        outputs = self.layers[-1].weight.shape[0]
        if head not in HEADS or dtype not in native.DTYPES:
            raise InputError(f"head {head!r}, dtype {dtype!r}: expected one of {HEADS} and of {native.DTYPES}")
        if head == "logit" and outputs != 1:
            raise InputError(f"head 'logit' needs a single output, the last layer has {outputs}")
        if head == "mse" and outputs != self.n_features:
            raise InputError(f"head 'mse' needs as many outputs as inputs, got {outputs} and {self.n_features}")
        self._threads = native.default_threads() if threads is None else threads
        self._isa: native.Isa | None = None
        self.isa, self.kernel = "torch", "addmm"
        if native.extension is None:
            native.notice()
        else:
            self._isa = native.select(isa)
            self.isa, self.kernel = self._isa.name, self._isa.kernel(dtype) or ""
            if not self.kernel:
                raise InputError(f"dtype {dtype!r} has no kernel for {self.isa}")
        self.score: Run = self._run(head)

    @cached_property
    def forward(self) -> Run:
        """``forward(X)`` or ``forward(X, out)``: the last layer's outputs (n, outputs), whatever the head."""
        return self.score if self.head == "none" else self._run("none")

    def _run(self, head: Head) -> Run:
        """A bound method of the extension itself: a batch of one row has no time for a frame of Python."""
        if native.extension is None or self._isa is None:
            return _on_torch(self.layers, head)
        kernels = native.extension
        numbers = kernels.HEADS[head], kernels.DTYPES[self.dtype]
        return kernels.Chain(self._isa.index, coded(self.layers), *numbers, self._threads).run


def _on_torch(layers: Sequence[Layer], head: Head) -> Run:
    import torch
    from torch.nn import functional

    parameters = [(torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)) for layer in layers]

    def run(x: Any, out: NDArray[np.float32] | None = None, /) -> NDArray[np.float32]:
        rows = torch.from_numpy(np.require(x, np.float32, ["C", "A"]))
        with torch.inference_mode():
            h = rows
            for (weight, bias), layer in zip(parameters, layers, strict=True):
                h = functional.linear(h, weight, bias)
                match layer.activation:
                    case "relu":
                        h = h.relu_()
                    case "leaky_relu":
                        h = functional.leaky_relu(h, layer.slope, inplace=True)
                    case "tanh":
                        h = h.tanh_()
                    case "sigmoid":
                        h = h.sigmoid_()
                    case "identity":
                        pass
            if head == "mse":
                h = (h - rows).square_().mean(1)
            elif head == "logit":
                h = h[:, 0]
        result: NDArray[np.float32] = h.numpy()
        if out is None:
            return result
        out[...] = result
        return out

    return run
