"""Autoencoder trained on normal traffic, after the RocketCE document for NSL-KDD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.datasets.coded_rows import Rows
from harness.detectors.base import normal_rows
from harness.detectors.feedforward import FeedForward
from harness.detectors.oneclass import OneClass
from harness.scoring.builder import reconstruction_error
from harness.scoring.program import Program
from harness.training.context import FitContext, Labels, Vector
from harness.training.native_spec import NativeTraining

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Autoencoder(FeedForward, OneClass):
    """Score is the mean over features of the squared reconstruction error; ReLU except at the code and the output.

    The defaults are the document's: d-32-16-8-16-32-d, Adam 1e-3, batches of 64, 30 epochs; it flags what is above the
    85th percentile of the errors of the normal training rows.

    Args:
        hidden: widths of the encoder's layers, each >= 1, the last one the code's; the decoder mirrors them.
    """

    name: ClassVar[str] = "autoencoder"

    hidden: tuple[int, ...] = (32, 16, 8)
    epochs: int = 30
    contamination: float = 0.15

    def training_rows(self, X: Rows, y: Labels | None) -> tuple[Rows, Vector | None]:
        """The rows labelled normal, or all when there are no labels."""
        return normal_rows(X, y, self.name), None

    def loss(self, output: Tensor, rows: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Mean squared reconstruction error."""
        error = output.sub_(rows)
        return error.square().mean(dim=(1, 2)), error.mul_(2.0 / error[0].numel())

    def finish(self, rows: Rows, context: FitContext) -> None:
        """By the scores of ``rows`` or the validation labels."""
        self.choose(rows, context)

    def architecture(self) -> nn.Module:
        """Encoder and mirrored decoder; the code has no activation."""
        from harness.training.nets import stack

        sizes = (self.n_features_in_, *self.hidden, *reversed(self.hidden[:-1]), self.n_features_in_)
        return stack(sizes, "relu", linear_after=frozenset({len(self.hidden) - 1}))

    def score_tensor(self, x: Tensor) -> Tensor:
        """Mean squared reconstruction error per row."""
        output: Tensor = self.fitted_net()(x)
        return (output - x).square_().mean(dim=1)

    def native_training(self) -> NativeTraining:
        """Reconstruction of normal rows."""
        return NativeTraining("mse", self.learning_rate, self.batch_size, self.max_grad_norm)

    def program(self) -> Program:
        """The net, closed by the reconstruction error."""
        return reconstruction_error(self.layers())
