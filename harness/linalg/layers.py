"""Dense layers as data: what the inference chain and the trainer are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.native import ACTIVATIONS, Activation

if TYPE_CHECKING:
    from torch import nn


class Layer(NamedTuple):
    """``activation(x @ weight.T + bias)``: weight (outputs, inputs), bias (outputs,); ``slope`` is leaky ReLU's."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Activation = "identity"
    slope: float = 0.0


def checked(layers: Sequence[Layer | tuple[Any, ...]], sampled: int | None = None) -> list[Layer]:
    """The layers as contiguous float32, each fitting the one before.

    Args:
        layers: to check.
        sampled: the layer whose outputs are means and log-variances, of which the next layer takes half as many draws.

    Raises:
        InputError: no layers, a shape that does not fit, an unknown activation or a negative slope.
    """
    if not layers:
        raise InputError("a chain of dense layers needs at least one layer")
    fitting: list[Layer] = []
    for index, entry in enumerate(layers):
        layer = Layer(*entry)
        weight = np.require(layer.weight, np.float32, ["C", "A"])
        bias = np.require(layer.bias, np.float32, ["C", "A"])
        if weight.ndim != 2 or 0 in weight.shape or bias.shape != weight.shape[:1]:
            raise InputError(
                f"layer {index}: expected a weight (outputs, inputs) and a bias (outputs,), "
                f"got {weight.shape} and {bias.shape}"
            )
        taken = weight.shape[1] * (2 if sampled is not None and index == sampled + 1 else 1)
        if fitting and fitting[-1].weight.shape[0] != taken:
            raise InputError(f"layer {index}: takes {taken} inputs, gets {fitting[-1].weight.shape[0]}")
        if layer.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise InputError(f"layer {index}: activation {layer.activation!r}, expected one of {known}")
        if layer.slope < 0:
            raise InputError(f"layer {index}: slope {layer.slope}, expected at least 0")
        fitting.append(Layer(weight, bias, layer.activation, float(layer.slope)))
    return fitting


def coded(layers: Sequence[Layer]) -> list[tuple[NDArray[np.float32], NDArray[np.float32], int, float]]:
    """Checked layers in the terms of the extension module."""
    assert native.extension is not None
    numbers = native.extension.ACTIVATIONS
    return [(layer.weight, layer.bias, numbers[layer.activation], layer.slope) for layer in layers]


def fold_batch_norm(
    layer: Layer,
    mean: NDArray[np.floating[Any]],
    variance: NDArray[np.floating[Any]],
    weight: NDArray[np.floating[Any]],
    bias: NDArray[np.floating[Any]],
    eps: float,
) -> Layer:
    """``layer`` followed by a batch normalisation in evaluation mode, as one layer; all arrays (outputs,).

    The normalisation comes before the layer's activation.
    """
    scale = weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + eps)
    folded = (layer.bias.astype(np.float64) - mean) * scale + bias
    return Layer(
        (layer.weight * scale[:, None]).astype(np.float32), folded.astype(np.float32), layer.activation, layer.slope
    )


def from_torch(net: nn.Module, sampled: int | None = None) -> list[Layer]:
    """The layers of a sequential net of Linear, BatchNorm1d (folded), ReLU, LeakyReLU, Tanh, Sigmoid and Dropout.

    The values are copied as they are now; batch normalisation and dropout act as in evaluation mode. ``sampled`` is
    that of `checked`: the last layer of the encoder, when ``net`` is a dictionary of encoder and decoder.

    Raises:
        InputError: another kind of module, or an activation or normalisation that follows no Linear.
    """
    from torch import nn

    layers: list[Layer] = []
    for name, part in net.named_modules():
        fresh = bool(layers) and layers[-1].activation == "identity"
        match part:
            case nn.Sequential() | nn.ModuleDict() | nn.Dropout() | nn.Identity():
                pass
            case nn.Linear():
                weight = part.weight.detach().numpy().astype(np.float32)
                bias = np.zeros(len(weight), np.float32) if part.bias is None else part.bias.detach().numpy().copy()
                layers.append(Layer(weight, bias))
            case nn.BatchNorm1d() if fresh and part.running_mean is not None and part.running_var is not None:
                values = (part.running_mean, part.running_var, part.weight, part.bias)
                mean, variance, scale, shift = (value.detach().numpy() for value in values)
                layers[-1] = fold_batch_norm(layers[-1], mean, variance, scale, shift, part.eps)
            case nn.ReLU() if fresh:
                layers[-1] = layers[-1]._replace(activation="relu")
            case nn.LeakyReLU() if fresh:
                layers[-1] = layers[-1]._replace(activation="leaky_relu", slope=part.negative_slope)
            case nn.Tanh() if fresh:
                layers[-1] = layers[-1]._replace(activation="tanh")
            case nn.Sigmoid() if fresh:
                layers[-1] = layers[-1]._replace(activation="sigmoid")
            case _:
                kind = type(part).__name__
                raise InputError(f"module {name or 'net'} ({kind}) has no place in a chain of dense layers")
    return checked(layers, sampled)
