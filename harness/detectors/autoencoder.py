"""Autoencoder trained on normal traffic, after the RocketCE document (IBM Power, NSL-KDD example).

d-32-16-8-16-32-d, ReLU except at the code and the output, mean squared error, Adam 1e-3, batches of 64, 30 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from harness.detectors import thresholds
from harness.detectors.base import Detector, FitContext, Matrix, as_training_rows, normal_rows
from harness.detectors.dense import DenseProgram
from harness.detectors.feedforward import FeedForward
from harness.detectors.training import adam, gradient_step, train
from harness.errors import InputError


@dataclass
class Autoencoder(FeedForward):
    """Score is the mean over features of the squared reconstruction error.

    ``hidden`` are the encoder's widths, the last one the code; the decoder mirrors them. ``threshold``: ``percentile``
    (the document's: ``percentile`` of the errors of the normal training rows) or ``validation`` (highest F1 on the
    validation labels).
    """

    name: ClassVar[str] = "autoencoder"

    hidden: tuple[int, ...] = (32, 16, 8)
    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 30
    threshold: Literal["percentile", "validation"] = "percentile"
    percentile: float = 85.0

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Train on the rows labelled normal (on all rows when there are no labels)."""
        context = context or FitContext()
        rows = normal_rows(*as_training_rows(X, y, self.name), self.name)
        self.build(rows.shape[1])
        inputs, module = torch.from_numpy(rows), self.module

        def loss(indices: Tensor) -> Tensor:
            batch = inputs[indices]
            return nn.functional.mse_loss(module(batch), batch)

        module.train()
        self.history_ = train(
            gradient_step(loss, module, adam(module.parameters(), self.learning_rate)),
            rows=len(rows), batch_size=self.batch_size, epochs=self.epochs, seed=self.seed, context=context,
        )  # fmt: skip
        module.eval()
        self.take_threshold(self._choose(rows, context))
        return self

    def sizes(self, n_features: int) -> tuple[int, ...]:
        """Layer widths, input to output."""
        return (n_features, *self.hidden, *reversed(self.hidden[:-1]), n_features)

    def linear_layers(self) -> frozenset[int]:
        """The code has no activation."""
        return frozenset({len(self.hidden) - 1})

    def score(self, x: Tensor) -> Tensor:
        """Mean squared reconstruction error per row."""
        return (self.module(x) - x).square_().mean(dim=1)  # type: ignore[no-any-return]

    def dense_program(self) -> DenseProgram:
        """The net, closed by the reconstruction error."""
        return DenseProgram(self.layers(), "mean_squared_error")

    def _choose(self, rows: Matrix, context: FitContext) -> thresholds.Threshold:
        if self.threshold == "percentile":
            return thresholds.at_percentile(self.decision_function(rows), self.percentile, "normal training rows")
        if context.X_val is None or context.y_val is None:
            raise InputError("autoencoder: threshold = 'validation' needs a labelled validation split; there is none.")
        return thresholds.best_f1(self.decision_function(context.X_val), context.y_val)
