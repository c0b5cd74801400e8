"""DSEBM: deep structured energy-based model, after Zhai et al., ICML 2016, with the KDD99 net of ALAD's published code.

The energy of a row is half its squared distance to a learned centre minus the summed outputs of a net whose decoder
shares the encoder's weights. Training is denoising score matching: a step down the energy gradient should take away
added noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.base import normal_rows
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.scoring.program import ROWS, Builder, DenseLayer, Program
from harness.training.context import FitContext, Labels, Matrix, Vector
from harness.training.loop import gather, score_slices, seeded, train
from harness.training.nets import array_of, load_state, state_of
from harness.training.replicas import Noise, Replicas


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


@dataclass
class DSEBM(Replicated, OneClass):
    """``score_by``: ``energy`` (DSEBM-e) or ``reconstruction``, the length of the energy's gradient (DSEBM-r)."""

    name: ClassVar[str] = "dsebm"

    score_by: Literal["energy", "reconstruction"] = "energy"
    hidden: tuple[int, ...] = (128, 512)
    noise: float = 1.0
    learning_rate: float = 1e-4
    batch_size: int = 100
    epochs: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: nn.Module = nn.Identity()

    @classmethod
    def train_together(cls, replicas: Sequence[DSEBM], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Denoising score matching on the normal rows."""
        first = replicas[0]
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        noise = Noise([replica.seed for replica in replicas])
        together = Replicas([replica.net for replica in replicas], [replica.learning_rate for replica in replicas])
        leaf, depth = together.leaf, len(first.hidden)
        energy = Energy(
            [leaf(f"weights.{index}") for index in range(depth)],
            [leaf(f"biases.{index}") for index in range(2 * depth)],
            leaf("centre"),
        )
        rows = torch.from_numpy(normal)

        def step(indices: Tensor) -> Tensor:
            together.zero()
            x = gather(rows, indices)
            noisy = x + first.noise * noise.normal(x.shape[1], x.shape[2])
            _, gradient = energy(noisy)
            losses = (x - (noisy - gradient)).square().mean(dim=(1, 2))
            losses.sum().backward()  # type: ignore[no-untyped-call]
            together.step()
            return losses.detach()

        histories = train(
            step, rows=len(rows), batch_size=first.batch_size, epochs=first.epochs, context=context, drop_last=True,
            seeds=[replica.seed for replica in replicas],
        )  # fmt: skip
        together.write_back()
        for replica, history in zip(replicas, histories, strict=True):
            replica.history_ = history
            replica.choose(normal, context)

    def build(self, n_features: int) -> None:
        """Take a fresh net with Xavier-uniform weights, drawn from the seed."""
        self.n_features_ = n_features
        self.net = seeded(lambda: TiedNet((n_features, *self.hidden)), self.seed)

    def decision_function(self, X: ArrayLike) -> Vector:
        """Energy or length of its gradient, per row."""
        return score_slices(self.score, self.check_rows(X))

    def score(self, x: Tensor) -> Tensor:
        """Score per row of ``x`` (n, d), shape (n,)."""
        value, gradient = self._energy()(x)
        return value if self.score_by == "energy" else torch.linalg.vector_norm(gradient, dim=1)

    def program(self) -> Program:
        """Forward through the tied chain; for the gradient, back through it too."""
        net = self._tied()
        weights = [array_of(weight) for weight in net.weights]
        chain = [*weights, *(np.ascontiguousarray(weight.T) for weight in reversed(weights))]
        builder = Builder(self.n_features_)
        h, linear = ROWS, []
        for weight, bias in zip(chain, net.biases, strict=True):
            linear.append(builder.dense(h, DenseLayer(weight, array_of(bias))))
            h = builder.activation(linear[-1], "softplus")
        centred = builder.with_constant("subtract", ROWS, array_of(net.centre))
        if self.score_by == "energy":
            quadratic = builder.with_constant("multiply", builder.reduce("square_sum", centred), 0.5)
            return builder.finish(builder.elementwise("subtract", quadratic, builder.reduce("sum", h)))
        slope = builder.activation(linear[-1], "sigmoid")
        for weight, before in zip(chain[:0:-1], linear[-2::-1], strict=True):
            back = builder.dense(slope, _without_bias(weight.T))
            slope = builder.elementwise("multiply", back, builder.activation(before, "sigmoid"))
        gradient = builder.elementwise("subtract", centred, builder.dense(slope, _without_bias(chain[0].T)))
        return builder.finish(builder.reduce("l2", gradient))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        return state_of(self.net)

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the net and load its weights."""
        self.build(self.n_features_)
        load_state(self.net, state)

    def _energy(self) -> Energy:
        net = self._tied()
        return Energy([weight.t() for weight in net.weights], list(net.biases), net.centre)

    def _tied(self) -> TiedNet:
        assert isinstance(self.net, TiedNet)
        return self.net


def _without_bias(weight: NDArray[np.float32]) -> DenseLayer:
    return DenseLayer(np.ascontiguousarray(weight), np.zeros(len(weight), dtype=np.float32))
