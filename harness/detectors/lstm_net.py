"""The layers of the LSTM detector and its focal loss. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.training.nets import array_of


class Layers(nn.Module):
    """LSTM layers with dropout after each, and one output from the last step."""

    def __init__(self, features: int, hidden: tuple[int, ...], dropout: tuple[float, ...]) -> None:
        super().__init__()
        widths = (features, *hidden)
        self.recurrent = nn.ModuleList(
            nn.LSTM(inputs, outputs, batch_first=True) for inputs, outputs in zip(widths, hidden, strict=False)
        )
        self.dropout = nn.ModuleList(nn.Dropout(share) for share in dropout)
        self.output = nn.Linear(hidden[-1], 1)
        for layer in self.recurrent:
            _initialise(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,) of windows ``x`` (n, steps, features)."""
        for layer, drop in zip(self.recurrent, self.dropout, strict=True):
            x = drop(layer(x)[0])
        logits: Tensor = self.output(x[:, -1])
        return logits.view(-1)


@dataclass(frozen=True)
class Gates:
    """Parameters of one layer; the rows of each are those of the gates i, f, g, o, one after the other."""

    input: Tensor
    recurrent: Tensor
    bias: Tensor
    second_bias: Tensor

    @property
    def width(self) -> int:
        """Units of the layer."""
        return self.recurrent.shape[1]

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Input weights, recurrent weights, and the sum of the biases."""
        return array_of(self.input), array_of(self.recurrent), array_of(self.bias + self.second_bias)


def gates_of(layer: nn.Module, *, backwards: bool = False) -> Gates:
    """The parameters of an ``nn.LSTM`` of one layer, in one direction."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return Gates(*(layer.get_parameter(f"{name}_reverse" if backwards else name) for name in names))


def _initialise(layer: nn.Module) -> None:
    """Glorot-uniform input weights, orthogonal recurrent ones, a forget bias of 1; one bias is enough."""
    gates = gates_of(layer)
    with torch.no_grad():
        for gate in torch.chunk(gates.input, 4):
            nn.init.xavier_uniform_(gate)
        for gate in torch.chunk(gates.recurrent, 4):
            nn.init.orthogonal_(gate)
        gates.bias.zero_()
        gates.second_bias.zero_()
        gates.bias[gates.width : 2 * gates.width] = 1.0
    gates.second_bias.requires_grad_(False)


def focal_loss(logits: Tensor, y: Tensor, gamma: float, alpha: float) -> Tensor:
    """Mean of -alpha_t (1 - p_t)^gamma log p_t over logits (n,) and labels (n,), 0 or 1."""
    cost = functional.binary_cross_entropy_with_logits(logits, y, reduction="none")  # -log p_t
    weight = torch.where(y > 0.5, alpha, 1.0 - alpha)
    return (weight * (1.0 - torch.exp(-cost)).pow(gamma) * cost).mean()
