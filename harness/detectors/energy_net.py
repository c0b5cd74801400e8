"""The net of DSEBM, whose decoder shares the encoder's weights, and its energy. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


class TiedNet(nn.Module):
    """Weights (out, in) of the encoder, biases of encoder and decoder, and the centre of the quadratic term."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = nn.ParameterList(nn.Parameter(nn.init.xavier_uniform_(torch.empty(pair))) for pair in pairs)
        down, up = sizes[1:], sizes[-2::-1]
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in (*down, *up))
        self.centre = nn.Parameter(torch.zeros(sizes[0]))


@dataclass(frozen=True)
class Energy:
    """The energy and its gradient; weights (..., in, out), biases (..., 1, out), centre (..., 1, d)."""

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    centre: Tensor

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy (..., n) and its gradient (..., n, d) at rows ``x`` (..., n, d)."""
        chain = [*self.weights, *(weight.transpose(-1, -2) for weight in reversed(self.weights))]
        h, linear = x, []
        for weight, bias in zip(chain, self.biases, strict=True):
            linear.append(h @ weight + bias)
            h = functional.softplus(linear[-1])
        value = 0.5 * (x - self.centre).square().sum(dim=-1) - h.sum(dim=-1)
        slope = torch.sigmoid(linear[-1])
        for weight, before in zip(chain[:0:-1], linear[-2::-1], strict=True):
            slope = (slope @ weight.transpose(-1, -2)) * torch.sigmoid(before)
        return value, x - self.centre - slope @ chain[0].transpose(-1, -2)
