"""A chain of dense layers over K replicas as one node of the gradient graph.

For nets this small most of a training step is autograd's bookkeeping: a node per operation, a buffer per gradient
and an accumulation per parameter. Here a whole chain is one node, its backward pass is written out, and parameter
gradients are added straight into the buffer the optimiser reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten
ALL = slice(None)


@dataclass
class Linear:
    """``x @ weight + bias`` with weight (K, in, out), bias (K, 1, out) and the buffers of their gradients."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor

    def forward(self, x: Tensor, saved: list[Any]) -> Tensor:
        """The product; its input is kept for the weights' gradient."""
        saved.append(x)
        return torch.baddbmm(self.bias, x, self.weight)

    def backward(self, g: Tensor, x: Tensor, learn: bool, wanted: slice | None) -> Tensor:
        """Add the weights' gradients if they ``learn``; give those of the ``wanted`` inputs."""
        if learn:
            self.weight_gradient.baddbmm_(x.transpose(1, 2), g)
            # a product with ones is the sum over rows, in one call that accumulates
            self.bias_gradient.baddbmm_(_row_of_ones(g.shape[0], g.shape[1], g.dtype), g)
        return g if wanted is None else torch.bmm(g, self._weights_of(wanted).transpose(1, 2))

    def _weights_of(self, inputs: slice) -> Tensor:
        return self.weight if inputs is ALL else self.weight[:, inputs]


@dataclass
class Logit(Linear):
    """A `Linear` of one output. As batched products torch computes these ten times slower than as what they are."""

    def forward(self, x: Tensor, saved: list[Any]) -> Tensor:
        """Dot products of the rows and the weights."""
        saved.append(x)
        products: Tensor = torch.linalg.vecdot(x, self.weight.transpose(1, 2))
        return products.unsqueeze(2).add_(self.bias)

    def backward(self, g: Tensor, x: Tensor, learn: bool, wanted: slice | None) -> Tensor:
        """Outer products."""
        if learn:
            self.weight_gradient.transpose(1, 2).baddbmm_(g.transpose(1, 2), x)
            self.bias_gradient.add_(g.sum(dim=1, keepdim=True))
        return g if wanted is None else g * self._weights_of(wanted).transpose(1, 2)


@dataclass
class Activation:
    """An elementwise function; ``slope`` is leaky ReLU's."""

    kind: str
    slope: float = 0.0

    def forward(self, x: Tensor, saved: list[Any]) -> Tensor:
        """In place where the gradient needs the output only."""
        match self.kind:
            case "relu":
                y = x.relu_()
            case "leaky_relu":
                y = aten.leaky_relu_(x, self.slope)
            case "tanh":
                y = x.tanh_()
            case "sigmoid":
                y = x.sigmoid_()
            case "softplus":
                saved.append(x)
                return torch.nn.functional.softplus(x)
            case _:
                raise ValueError(self.kind)
        saved.append(y)
        return y

    def backward(self, g: Tensor, y: Tensor, learn: bool, wanted: slice | None) -> Tensor:  # noqa: ARG002
        """The gradient of the input."""
        match self.kind:
            case "relu":
                gradient = aten.threshold_backward(g, y, 0)
            case "leaky_relu":
                gradient = aten.leaky_relu_backward(g, y, self.slope, True)
            case "tanh":
                gradient = aten.tanh_backward(g, y)
            case "sigmoid":
                gradient = aten.sigmoid_backward(g, y)
            case _:
                gradient = aten.softplus_backward(g, y, 1, 20)
        return gradient  # type: ignore[no-any-return]


@dataclass
class Dropout:
    """Multiplication by a mask, drawn by ``draw(rows, features)`` as (K, rows, features)."""

    draw: Any

    def forward(self, x: Tensor, saved: list[Any]) -> Tensor:
        """In place: the activation before it keeps its sign, or its gradient is zero anyway."""
        mask = self.draw(x.shape[1], x.shape[2])
        saved.append(mask)
        return x.mul_(mask)

    def backward(self, g: Tensor, mask: Tensor, learn: bool, wanted: slice | None) -> Tensor:  # noqa: ARG002
        """The same mask."""
        return g * mask


@dataclass
class BatchNorm:
    """Normalisation of each feature over the rows of its own replica; weight and bias are (K, 1, features)."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor
    running_mean: Tensor  # (K * features,)
    running_variance: Tensor
    momentum: float
    eps: float

    def forward(self, x: Tensor, saved: list[Any]) -> Tensor:
        """Batch statistics; the running ones are updated."""
        count, rows, features = x.shape
        wide = x.transpose(0, 1).reshape(rows, count * features)
        y, mean, inverse = aten.native_batch_norm(
            wide, self.weight.reshape(-1), self.bias.reshape(-1), self.running_mean, self.running_variance, True,
            self.momentum, self.eps,
        )  # fmt: skip
        saved.append((wide, mean, inverse))
        normal: Tensor = y.view(rows, count, features).transpose(0, 1).contiguous()
        return normal

    def backward(self, g: Tensor, kept: tuple[Tensor, ...], learn: bool, wanted: slice | None) -> Tensor:  # noqa: ARG002
        """Through the batch statistics."""
        wide, mean, inverse = kept
        count, rows, features = g.shape
        gradient, weight, bias = aten.native_batch_norm_backward(
            g.transpose(0, 1).reshape(rows, count * features), wide, self.weight.reshape(-1), self.running_mean,
            self.running_variance, mean, inverse, True, self.eps, [True, learn, learn],
        )  # fmt: skip
        if learn:
            self.weight_gradient.add_(weight.view_as(self.weight))
            self.bias_gradient.add_(bias.view_as(self.bias))
        return gradient.view(rows, count, features).transpose(0, 1).contiguous()  # type: ignore[no-any-return]


Layer = Linear | Activation | Dropout | BatchNorm


@lru_cache(maxsize=16)
def _row_of_ones(count: int, rows: int, dtype: torch.dtype) -> Tensor:
    return torch.ones(count, 1, rows, dtype=dtype)


def forward(layers: Sequence[Layer], x: Tensor) -> tuple[Tensor, list[Any]]:
    """The output for ``x`` (K, rows, in), and what `backward` needs."""
    saved: list[Any] = []
    for layer in layers:
        x = layer.forward(x, saved)
    return x, saved


def backward(
    layers: Sequence[Layer], saved: list[Any], g: Tensor, *, learn: bool = True, wanted: slice | None = None
) -> Tensor:
    """Send the gradient ``g`` of the output back; the gradient of the ``wanted`` features of the input, if any.

    To want less than `ALL` of them the chain must begin with a linear layer.
    """
    for index in range(len(layers) - 1, -1, -1):
        g = layers[index].backward(g, saved[index], learn, ALL if index else wanted)
    return g


def of_rows(saved: list[Any], rows: slice) -> list[Any]:
    """What `forward` saved, for these rows only; not of a chain with batch normalisation."""
    return [kept[:, rows] for kept in saved]


def apply(layers: Sequence[Layer], x: Tensor, *, learn: bool = True) -> Tensor:
    """``x`` (K, rows, in) through ``layers``, as a node of the graph; weights get gradients if they ``learn``."""
    output: Tensor = _Chain.apply(x, _ANCHOR, layers, learn)  # type: ignore[no-untyped-call]
    return output


# A node without an input that needs a gradient is left out of the graph; parameters are no inputs here.
_ANCHOR = torch.zeros((), requires_grad=True)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, layers: Sequence[Layer], learn: bool) -> Tensor:  # noqa: ARG004
        y, ctx.saved = forward(layers, x)
        ctx.layers, ctx.learn = layers, learn
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, None, None]:
        wanted = ctx.needs_input_grad[0]
        if not ctx.learn and not wanted:
            return None, None, None, None
        g = backward(ctx.layers, ctx.saved, g, learn=ctx.learn, wanted=ALL if wanted else None)
        ctx.saved = []
        return (g if wanted else None), None, None, None
