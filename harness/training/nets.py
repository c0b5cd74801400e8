"""Nets of dense layers: built from widths, turned into plain arrays, and those arrays into programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.scoring.program import Activation, DenseLayer

ActivationName = Literal["relu", "leaky_relu", "tanh", "sigmoid", "softplus", "identity"]


_MODULES: dict[ActivationName, type[nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "identity": nn.Identity,
}  # fmt: skip


def activation(name: ActivationName, slope: float = 0.01) -> nn.Module:
    """The torch module of an activation."""
    return nn.LeakyReLU(slope) if name == "leaky_relu" else _MODULES[name]()


def stack(
    sizes: Sequence[int], hidden: ActivationName, *, slope: float = 0.01, linear_after: frozenset[int] = frozenset()
) -> nn.Sequential:
    """Linear layers of widths ``sizes`` with ``hidden`` after each but the last and those in ``linear_after``."""
    parts: list[nn.Module] = []
    for index in range(len(sizes) - 1):
        parts.append(nn.Linear(sizes[index], sizes[index + 1]))
        if index != len(sizes) - 2 and index not in linear_after:
            parts.append(activation(hidden, slope))
    return nn.Sequential(*parts)


def xavier(parts: Mapping[str, nn.Module]) -> nn.ModuleDict:
    """The ``parts`` with Xavier-uniform weights and zero biases, as the papers' nets began in TensorFlow."""
    nets = nn.ModuleDict(dict(parts))
    for part in nets.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return nets


def layers_of(net: nn.Sequential) -> tuple[DenseLayer, ...]:
    """The net in evaluation mode as plain layers: batch normalisation folded into the layer before it, no dropout.

    Raises:
        TypeError: the net holds something else.
    """
    layers: list[DenseLayer] = []
    for part in net:
        match part:
            case nn.Linear():
                layers.append(DenseLayer(array_of(part.weight), bias_of(part)))
            case _ if layers:
                layers[-1] = followed(layers[-1], part)
            case nn.Dropout() | nn.Identity():
                pass
            case _:
                raise TypeError(f"{type(part).__name__} is no first part of a dense net")
    return tuple(layers)


def followed(layer: DenseLayer, part: nn.Module) -> DenseLayer:
    """The layer with what comes after it in evaluation mode: a normalisation, an activation, or nothing of dropout.

    Raises:
        TypeError: that is something else, or a normalisation after an activation.
    """
    match part:
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return _folded(layer, part)
        case nn.Dropout() | nn.Identity():
            return layer
        case _:
            kind, slope = activation_of(part)
            return replace(layer, activation=kind, slope=slope)


def array_of(tensor: Tensor) -> NDArray[np.float32]:
    """A float32 copy."""
    return tensor.detach().to("cpu", torch.float32).numpy().copy()


def state_of(net: nn.Module) -> dict[str, NDArray[Any]]:
    """Parameters and buffers by torch's names."""
    return {name: value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def load_state(net: nn.Module, state: dict[str, NDArray[Any]]) -> None:
    """Load what `state_of` gave and switch to evaluation mode."""
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    net.eval()


def bias_of(part: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> NDArray[np.float32]:
    """The bias of a layer, zeros where it has none."""
    outputs = part.out_features if isinstance(part, nn.Linear) else part.out_channels
    return np.zeros(outputs, dtype=np.float32) if part.bias is None else array_of(part.bias)


def normalisation_of(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and shift of a batch normalisation in evaluation mode."""
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("batch normalisation without running statistics depends on its batch")
    scale: NDArray[np.float32] = array_of(norm.weight) / np.sqrt(array_of(norm.running_var) + np.float32(norm.eps))
    return scale, array_of(norm.bias) - array_of(norm.running_mean) * scale


def _folded(layer: DenseLayer, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> DenseLayer:
    if layer.activation != "identity":
        raise TypeError("batch normalisation can be folded only into the linear layer right before it")
    scale, shift = normalisation_of(norm)
    return DenseLayer(layer.weight * scale[:, None], layer.bias * scale + shift)


def activation_of(part: nn.Module) -> tuple[Activation, float]:
    """Name and slope of an activation module."""
    if isinstance(part, nn.LeakyReLU):
        return "leaky_relu", float(part.negative_slope)
    for name, kind in _MODULES.items():
        if isinstance(part, kind) and name != "identity":
            return name, 0.0
    raise TypeError(f"{type(part).__name__} is no part of a dense net")
