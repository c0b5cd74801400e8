"""Training of recurrent and convolutional classifiers on the native kernels: a batch forward, back and a step at once.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.linalg import native
from harness.linalg.flat_parameters import flat, floats_of, parts
from harness.record.spec import TrainingDtype
from harness.training.adam import BETAS, EPS

TRUNKS = ("recurrent", "convolutions")  # in the order of the kernels' numbers


@dataclass(frozen=True)
class NativeForm:
    """A net as the kernels know it: a trunk and a head; see lpb_classifier_net in lparbench_kernels.h.

    Attributes:
        trunk: layers of an LSTM, or branches of convolutions.
        features: of a row, or of each of the ``steps`` of a window.
        sizes: units of the layers, or taps of the branches.
        dropout: share of each layer's values that is dropped.
        directions: of the layers, 1 or 2.
        heads: of the attention of the last step; 0 without.
        channels: of a branch's first convolution.
        normalised: whether the head begins with a normalisation over the batch.
        hidden: units of the head's layer; 0 without.
        hidden_dropout: share of these that is dropped.
        gamma: of the focal loss; 0 is the cross-entropy.
        weights: of the labels 0 and 1 in the loss.
    """

    trunk: Literal["recurrent", "convolutions"]
    features: int
    sizes: tuple[int, ...]
    dropout: tuple[float, ...]
    steps: int = 1
    directions: int = 1
    heads: int = 0
    channels: int = 0
    normalised: bool = False
    hidden: int = 0
    hidden_dropout: float = 0.0
    gamma: float = 0.0
    weights: tuple[float, float] = (1.0, 1.0)


class NativeClassifier:
    """A classifier in training; the net has what it learns after `write_back`. ``learning_rate`` may change.

    Args:
        net: to train, of the parameters that ``form`` stands for, in their order.
        form: of the net.
        learning_rate: AdamW's.
        weight_decay: AdamW's, of all parameters.
        max_grad_norm: longest gradient over all parameters; a longer one is scaled to it. None: any.
        seed: key of the bits by which values are dropped, see lparbench_kernels.h.
        dtype: to which operands of products are rounded; sums, parameters, gradients and all else are float32.
        isa: the instruction set to use instead of the best one, by its name.
    """

    def __init__(
        self,
        net: nn.Module,
        form: NativeForm,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        max_grad_norm: float | None = None,
        seed: int = 0,
        dtype: TrainingDtype = "float32",
        isa: str | None = None,
    ) -> None:
        assert native.extension is not None
        self.learning_rate = learning_rate
        self._net, self._steps = net, 0
        self._others = (*BETAS, EPS, max_grad_norm or 0.0)
        self._weight_decay, self._threads = weight_decay, native.default_threads()
        tensors, products = list(self._tensors()), native.extension.DTYPES[dtype]
        trunk = (
            TRUNKS.index(form.trunk), form.features, form.steps, form.directions, form.heads, form.channels,
            np.array(form.sizes, dtype=np.int64), np.array(form.dropout, dtype=np.float64),
        )  # fmt: skip
        self._compiled = native.extension.ClassifierTrainer(
            native.select(isa).index,
            trunk,
            (form.normalised, form.hidden, form.hidden_dropout, form.gamma, form.weights, seed, products),
            np.array([each.numel() for each in tensors], dtype=np.int64),
            np.array([each.requires_grad for each in tensors], dtype=np.int64),
            flat([each.detach().numpy() for each in tensors]),
        )

    def step(self, x: Tensor, y: Tensor) -> float:
        """A step down the mean loss of rows (n, d), or windows (n, steps, d), with labels (n,), 0 or 1."""
        loss = self._call(x, y, None)
        self._steps += 1
        return loss

    def gradients(self, x: Tensor, y: Tensor) -> tuple[float, dict[str, Tensor]]:
        """Loss and gradients by parameter, without a step; longer ones are not scaled."""
        whole = np.empty(floats_of([each.numel() for each in self._tensors()]), dtype=np.float32)
        loss = self._call(x, y, whole)
        return loss, {
            name: part.view_as(parameter)
            for (name, parameter), part in zip(self._net.named_parameters(), self._parts(whole), strict=False)
        }

    def write_back(self) -> None:
        """The parameters and running statistics as they are now into the net."""
        whole = np.empty(floats_of([each.numel() for each in self._tensors()]), dtype=np.float32)
        self._compiled.read(whole)
        with torch.no_grad():
            for tensor, part in zip(self._tensors(), self._parts(whole), strict=True):
                tensor.copy_(part.view_as(tensor))
            for norm in self._norms():
                assert norm.num_batches_tracked is not None
                norm.num_batches_tracked += self._steps
        self._steps = 0

    def _call(self, x: Tensor, y: Tensor, gradient: NDArray[np.float32] | None) -> float:
        labels = (y > 0.5).to(torch.int64).numpy()
        adam = (self.learning_rate, *self._others)
        rows = x.flatten(1).numpy()
        loss: float = self._compiled.step(rows, labels, adam, self._weight_decay, self._threads, gradient)
        return loss

    def _norms(self) -> Iterator[nn.BatchNorm1d]:
        return (part for part in self._net.modules() if isinstance(part, nn.BatchNorm1d))

    def _tensors(self) -> Iterator[Tensor]:
        """Parameters, and behind them running statistics."""
        yield from self._net.parameters()
        for norm in self._norms():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            yield norm.running_mean
            yield norm.running_var

    def _parts(self, whole: NDArray[np.float32]) -> list[Tensor]:
        return [torch.from_numpy(part) for part in parts(whole, [each.numel() for each in self._tensors()])]
