"""DSEBM: deep structured energy-based model, after Zhai et al., ICML 2016, with the KDD99 net of ALAD's published code.

The energy of a row is half its squared distance to a learned centre minus the summed outputs of a net whose decoder
shares the encoder's weights. Training is denoising score matching: a step down the energy gradient should take away
added noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from harness.detectors.base import normal_rows
from harness.detectors.net_detector import NetDetector
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, DenseLayer, Program
from harness.training.context import FitContext, Labels, Matrix

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.energy_net import Energy


@dataclass
class DSEBM(NetDetector, Replicated, OneClass):
    """The defaults are those of ALAD's published code for KDD99.

    Args:
        score_by: default ``energy`` (DSEBM-e), or ``reconstruction``, the length of the energy's gradient (DSEBM-r).
        hidden: widths of the encoder's layers; the decoder shares their weights.
        noise: float > 0, default 1. Standard deviation of the noise that training takes away.
    """

    name: ClassVar[str] = "dsebm"

    score_by: Literal["energy", "reconstruction"] = "energy"
    hidden: tuple[int, ...] = (128, 512)
    noise: float = 1.0
    learning_rate: float = 1e-4
    batch_size: int = 100

    @classmethod
    def train_together(cls, replicas: Sequence[DSEBM], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Denoising score matching on the normal rows."""
        from harness.linalg import native
        from harness.training.loop import train
        from harness.training.validation import MOST, ValidationCurve

        first = replicas[0]
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        natively = context.trainer == "native" and native.missing() is None
        step, write_back, together = (cls._natively if natively else cls._on_torch)(replicas, normal, context)
        curve = ValidationCurve(first.decision_function, first.fitted_net(), context, MOST)
        schedule = replace(cls.schedule(replicas, len(normal), drop_last=True), batches_per_step=together)
        histories = train(step, schedule, context, keep_going=curve.after(write_back))
        histories[0] = curve.added_to(histories[0])
        write_back()
        for replica, history in zip(replicas, histories, strict=True):
            replica.history_ = history
            replica.choose(normal, context)

    @classmethod
    def _on_torch(
        cls,
        replicas: Sequence[DSEBM],
        normal: Matrix,
        context: FitContext,  # noqa: ARG003
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[], None], int]:
        """The step, what gives the replicas their weights, and the batches of a step."""
        from harness.detectors.energy_net import Energy
        from harness.training.loop import gathering
        from harness.training.replicas import Noise, Replicas

        first = replicas[0]
        noise = Noise([replica.random_state for replica in replicas])
        together = Replicas([each.fitted_net() for each in replicas], [each.learning_rate for each in replicas])
        leaf, depth = together.leaf, len(first.hidden)
        energy = Energy(
            [leaf(f"weights.{index}") for index in range(depth)],
            [leaf(f"biases.{index}") for index in range(2 * depth)],
            leaf("centre"),
        )
        gather = gathering(normal)

        def step(indices: Tensor) -> Tensor:
            x = gather(indices)
            noisy = x + first.noise * noise.normal(x.shape[1], x.shape[2])
            _, gradient = energy(noisy)
            losses = (x - (noisy - gradient)).square().mean(dim=(1, 2))
            together.descend(losses)
            return losses.detach()

        return step, together.write_back, 1

    @classmethod
    def _natively(
        cls, replicas: Sequence[DSEBM], normal: Matrix, context: FitContext
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[], None], int]:
        """The same on the native kernels."""
        from harness.detectors.energy_tape import EnergyTapes

        first = replicas[0]
        tapes = EnergyTapes(replicas, normal, min(first.batch_size, len(normal)), first.noise)
        return tapes.step, tapes.write_back, tapes.per_call(context)

    @property
    def trains_natively(self) -> bool:
        """Always."""
        return True

    def architecture(self) -> nn.Module:
        """The net with Xavier-uniform weights."""
        from harness.detectors.energy_net import TiedNet

        return TiedNet((self.n_features_in_, *self.hidden))

    def score_tensor(self, x: Tensor) -> Tensor:
        """Score per row of ``x`` (n, d), shape (n,)."""
        import torch

        value, gradient = self._energy()(x)
        return value if self.score_by == "energy" else torch.linalg.vector_norm(gradient, dim=1)

    def program(self) -> Program:
        """Forward through the tied chain; for the gradient, back through it too."""
        from harness.detectors.energy_net import TiedNet
        from harness.training.nets import array_of

        net = self.net_as(TiedNet)
        weights = [array_of(weight) for weight in net.weights]
        chain = [*weights, *(np.ascontiguousarray(weight.T) for weight in reversed(weights))]
        builder = Builder(self.n_features_in_)
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

    def _energy(self) -> Energy:
        from harness.detectors.energy_net import Energy, TiedNet

        net = self.net_as(TiedNet)
        return Energy([weight.t() for weight in net.weights], list(net.biases), net.centre)


def _without_bias(weight: NDArray[np.float32]) -> DenseLayer:
    return DenseLayer(np.ascontiguousarray(weight), np.zeros(len(weight), dtype=np.float32))
