"""Supervised multilayer perceptron for intrusion detection, after the RocketCE document for NSL-KDD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.datasets.coded_rows import Rows
from harness.detectors.base import both_kinds
from harness.detectors.classifier import Classifier
from harness.detectors.feedforward import FeedForward
from harness.scoring.builder import score_of_chain
from harness.scoring.program import Program
from harness.training.context import FitContext, Labels, Vector
from harness.training.native_spec import NativeTraining

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class MLP(FeedForward, Classifier):
    """ReLU, binary cross-entropy on the logit, which is the score: it does not saturate as the probability does.

    The defaults are the document's: d-64-32-1, Adam 1e-4, batches of 64, 20 epochs, gradient norm clipped to 1.
    """

    name: ClassVar[str] = "mlp"

    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-4
    max_grad_norm: float | None = 1.0

    def training_rows(self, X: Rows, y: Labels | None) -> tuple[Rows, Vector | None]:
        """All rows with their labels."""
        return X, both_kinds(y, self.name).astype(np.float32)

    def loss(self, output: Tensor, rows: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Cross-entropy of the logits."""
        from torch.nn import functional

        assert targets is not None
        losses = functional.binary_cross_entropy_with_logits(output, targets, reduction="none").mean(dim=(1, 2))
        return losses, (output.sigmoid() - targets).div_(output.shape[1])

    def finish(self, rows: Rows, context: FitContext) -> None:  # noqa: ARG002
        """By probability or the validation labels."""
        self.choose(context)

    def architecture(self) -> nn.Module:
        """d, the hidden widths, one logit."""
        from harness.training.nets import stack

        return stack((self.n_features_in_, *self.hidden, 1), "relu")

    def score_tensor(self, x: Tensor) -> Tensor:
        """Logit per row."""
        logits: Tensor = self.fitted_net()(x)
        return logits.view(-1)

    def native_training(self) -> NativeTraining:
        """Cross-entropy on the logit."""
        return NativeTraining("bce", self.learning_rate, self.batch_size, self.max_grad_norm)

    def program(self) -> Program:
        """The net itself; its one output is the score."""
        return score_of_chain(self.layers())
