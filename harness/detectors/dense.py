"""A scoring chain of dense layers as plain arrays: what ONNX, the native kernels and PCA have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Activation = Literal["identity", "relu", "tanh", "sigmoid", "softplus"]
Output = Literal["single", "mean_squared_error"]

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@dataclass(frozen=True)
class DenseLayer:
    """``activation(x @ weight.T + bias)`` with weight (out, in) and bias (out,), float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Activation


@dataclass(frozen=True)
class DenseProgram:
    """Layers in order and how the last one's output becomes a score.

    ``single``: the only output column is the score. ``mean_squared_error``: the mean over features of the squared
    difference between the chain's input and its output (an autoencoder).
    """

    layers: tuple[DenseLayer, ...]
    output: Output

    @property
    def n_features(self) -> int:
        """Width of a row."""
        return int(self.layers[0].weight.shape[1])

    @property
    def macs_per_row(self) -> int:
        """Multiply-accumulates to score one row."""
        return sum(int(layer.weight.size) for layer in self.layers)
