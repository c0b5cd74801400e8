"""Autoencoder trained on normal traffic, after the RocketCE document (IBM Power, NSL-KDD example).

d-32-16-8-16-32-d, ReLU except at the code and the output, mean squared error, Adam 1e-3, batches of 64, 30 epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.detectors.base import normal_rows
from harness.detectors.feedforward import FeedForward
from harness.detectors.oneclass import OneClass
from harness.scoring.program import Program, reconstruction_error
from harness.training.context import Epoch, FitContext, Labels, Matrix
from harness.training.loop import gather, train
from harness.training.native_loop import train_natively
from harness.training.native_spec import NativeTraining
from harness.training.nets import layers_of, stack
from harness.training.replicas import Replicas


@dataclass
class Autoencoder(FeedForward, OneClass):
    """Score is the mean over features of the squared reconstruction error.

    ``hidden`` are the encoder's widths, the last one the code; the decoder mirrors them. The document flags what is
    above the 85th percentile of the errors of the normal training rows.
    """

    name: ClassVar[str] = "autoencoder"

    hidden: tuple[int, ...] = (32, 16, 8)
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 30
    percentile: float = 85.0

    @classmethod
    def train_together(cls, replicas: Sequence[Autoencoder], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Minimise the reconstruction error of the rows labelled normal (of all when there are no labels)."""
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        histories = (
            cls._train_natively(replicas, normal, context)
            if context.trainer == "native"
            else cls._train_on_torch(replicas, normal, context)
        )
        for replica, history in zip(replicas, histories, strict=True):
            replica.history_ = history
            replica.choose(normal, context)

    @classmethod
    def _train_natively(
        cls, replicas: Sequence[Autoencoder], normal: Matrix, context: FitContext
    ) -> list[tuple[Epoch, ...]]:
        return train_natively(
            [replica.net for replica in replicas],
            [replica.native_training() for replica in replicas],
            normal,
            None,
            epochs=replicas[0].epochs,
            seeds=[replica.seed for replica in replicas],
            context=context,
        )

    @classmethod
    def _train_on_torch(
        cls, replicas: Sequence[Autoencoder], normal: Matrix, context: FitContext
    ) -> list[tuple[Epoch, ...]]:
        first = replicas[0]
        together = Replicas([replica.net for replica in replicas], [replica.learning_rate for replica in replicas])
        net, rows = together.net(), torch.from_numpy(normal)

        def step(indices: Tensor) -> Tensor:
            together.zero()
            batch = gather(rows, indices)
            output, saved = net.forward(batch)
            error = output.sub_(batch)
            losses = error.square().mean(dim=(1, 2))
            net.backward(saved, error.mul_(2.0 / error[0].numel()))
            together.step()
            return losses

        histories = train(
            step, rows=len(rows), batch_size=first.batch_size, epochs=first.epochs,
            seeds=[replica.seed for replica in replicas], context=context,
        )  # fmt: skip
        together.write_back()
        return histories

    def architecture(self, n_features: int) -> nn.Sequential:
        """Encoder and mirrored decoder; the code has no activation."""
        sizes = (n_features, *self.hidden, *reversed(self.hidden[:-1]), n_features)
        return stack(sizes, "relu", linear_after=frozenset({len(self.hidden) - 1}))

    def score(self, x: Tensor) -> Tensor:
        """Mean squared reconstruction error per row."""
        return (self.net(x) - x).square_().mean(dim=1)  # type: ignore[no-any-return]

    def native_training(self) -> NativeTraining:
        """Reconstruction of normal rows."""
        return NativeTraining("mse", self.learning_rate, self.batch_size, None)

    def program(self) -> Program:
        """The net, closed by the reconstruction error."""
        return reconstruction_error(layers_of(self.net))
