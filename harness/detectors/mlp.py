"""Supervised multilayer perceptron for intrusion detection, after the RocketCE document (IBM Power, NSL-KDD example).

d-64-32-1 with ReLU, binary cross-entropy on the logit, Adam 1e-4, batches of 64, 20 epochs, gradient norm clipped to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from harness.detectors import thresholds
from harness.detectors.base import Detector, FitContext, Labels, Matrix, as_training_rows
from harness.detectors.dense import DenseProgram
from harness.detectors.feedforward import FeedForward
from harness.detectors.training import adam, gradient_step, train
from harness.errors import InputError


@dataclass
class MLP(FeedForward):
    """Score is the logit: it does not saturate as the probability does in float32; probability 0.5 is a logit of 0.

    ``threshold``: ``probability`` (0.5), ``validation`` (highest F1 on the validation labels) or
    ``false_positive_rate`` (``target_rate`` of the normal validation rows are flagged).
    """

    name: ClassVar[str] = "mlp"
    supervised: ClassVar[bool] = True

    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-4
    batch_size: int = 64
    epochs: int = 20
    clip_norm: float | None = 1.0
    threshold: Literal["probability", "validation", "false_positive_rate"] = "probability"
    target_rate: float = 0.01

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Train on labelled rows."""
        context = context or FitContext()
        rows, labels = as_training_rows(X, y, self.name)
        if labels is None or len(set(labels.tolist())) < 2:
            raise InputError("mlp learns from labelled rows of both kinds; pass y, 0 for normal and 1 for an anomaly.")
        self.build(rows.shape[1])
        inputs, targets = torch.from_numpy(rows), torch.from_numpy(labels).float()
        module = self.module

        def loss(indices: Tensor) -> Tensor:
            return nn.functional.binary_cross_entropy_with_logits(module(inputs[indices]).view(-1), targets[indices])

        module.train()
        self.history_ = train(
            gradient_step(loss, module, adam(module.parameters(), self.learning_rate), clip_norm=self.clip_norm),
            rows=len(rows), batch_size=self.batch_size, epochs=self.epochs, seed=self.seed, context=context,
        )  # fmt: skip
        module.eval()
        self.take_threshold(self._choose(context.X_val, context.y_val))
        return self

    def sizes(self, n_features: int) -> tuple[int, ...]:
        """Layer widths, input to output."""
        return (n_features, *self.hidden, 1)

    def score(self, x: Tensor) -> Tensor:
        """Logit per row."""
        return self.module(x).view(-1)  # type: ignore[no-any-return]

    def dense_program(self) -> DenseProgram:
        """The net itself; its one output is the score."""
        return DenseProgram(self.layers(), "single")

    def _choose(self, X_val: Matrix | None, y_val: Labels | None) -> thresholds.Threshold:
        if self.threshold == "probability":
            return thresholds.Threshold(0.0, "probability 0.5 (a logit of 0)")
        if X_val is None or y_val is None:
            raise InputError(f"mlp: threshold = {self.threshold!r} needs a labelled validation split; there is none.")
        scores = self.decision_function(X_val)
        if self.threshold == "validation":
            return thresholds.best_f1(scores, y_val)
        return thresholds.at_false_positive_rate(scores, y_val, self.target_rate)
