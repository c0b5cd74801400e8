"""Supervised multilayer perceptron for intrusion detection, after the RocketCE document (IBM Power, NSL-KDD example).

d-64-32-1 with ReLU, binary cross-entropy on the logit, Adam 1e-4, batches of 64, 20 epochs, gradient norm clipped
to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.classifier import Classifier
from harness.detectors.feedforward import FeedForward
from harness.scoring.program import Program, score_of_chain
from harness.training.context import Epoch, FitContext, Labels, Matrix
from harness.training.loop import gather, train
from harness.training.native_loop import train_natively
from harness.training.native_spec import NativeTraining
from harness.training.nets import layers_of, stack
from harness.training.replicas import Replicas


@dataclass
class MLP(FeedForward, Classifier):
    """Score is the logit: it does not saturate as the probability does in float32."""

    name: ClassVar[str] = "mlp"

    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-4
    batch_size: int = 64
    epochs: int = 20
    clip_norm: float | None = 1.0

    @classmethod
    def train_together(cls, replicas: Sequence[MLP], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Minimise the cross-entropy of labelled rows."""
        labels = replicas[0].require_both_kinds(y)
        for replica in replicas:
            replica.build(X.shape[1])
        histories = (
            cls._train_natively(replicas, X, labels, context)
            if context.trainer == "native"
            else cls._train_on_torch(replicas, X, labels, context)
        )
        for replica, history in zip(replicas, histories, strict=True):
            replica.history_ = history
            replica.choose(context)

    @classmethod
    def _train_natively(
        cls, replicas: Sequence[MLP], X: Matrix, y: Labels, context: FitContext
    ) -> list[tuple[Epoch, ...]]:
        return train_natively(
            [replica.net for replica in replicas],
            [replica.native_training() for replica in replicas],
            X,
            y.astype(np.float32),
            epochs=replicas[0].epochs,
            seeds=[replica.seed for replica in replicas],
            context=context,
        )

    @classmethod
    def _train_on_torch(
        cls, replicas: Sequence[MLP], X: Matrix, y: Labels, context: FitContext
    ) -> list[tuple[Epoch, ...]]:
        first = replicas[0]
        together = Replicas([replica.net for replica in replicas], [replica.learning_rate for replica in replicas])
        net, rows, targets = together.net(), torch.from_numpy(X), torch.from_numpy(y).float()

        def step(indices: Tensor) -> Tensor:
            together.zero()
            logits, saved = net.forward(gather(rows, indices))
            wanted = targets[indices][:, :, None]
            losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=(1, 2))
            net.backward(saved, (logits.sigmoid() - wanted).div_(indices.shape[1]))
            if first.clip_norm is not None:
                together.clip(first.clip_norm)
            together.step()
            return losses

        histories = train(
            step, rows=len(X), batch_size=first.batch_size, epochs=first.epochs,
            seeds=[replica.seed for replica in replicas], context=context,
        )  # fmt: skip
        together.write_back()
        return histories

    def architecture(self, n_features: int) -> nn.Sequential:
        """d, the hidden widths, one logit."""
        return stack((n_features, *self.hidden, 1), "relu")

    def score(self, x: Tensor) -> Tensor:
        """Logit per row."""
        return self.net(x).view(-1)  # type: ignore[no-any-return]

    def native_training(self) -> NativeTraining:
        """Cross-entropy on the logit."""
        return NativeTraining("bce", self.learning_rate, self.batch_size, self.clip_norm)

    def program(self) -> Program:
        """The net itself; its one output is the score."""
        return score_of_chain(layers_of(self.net))
