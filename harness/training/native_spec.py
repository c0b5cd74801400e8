"""How a chain of dense layers is trained on the native kernels; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import InputError
from harness.linalg import trainer
from harness.linalg.layers import Layer


@dataclass(frozen=True)
class NativeTraining:
    """Training by the native kernels: Adam on one chain of dense layers, with PyTorch's defaults where not named.

    ``loss``: ``bce``, cross-entropy of the single output with the label; any other is of the output to the input, on
    rows labelled normal. ``sampled`` and ``divergence_weight`` are layer and weight of `trainer.Sampling`.
    """

    loss: trainer.Loss
    learning_rate: float
    batch_size: int
    max_grad_norm: float | None
    sampled: int | None = None
    divergence_weight: float = 0.0


def dense_trainer(layers: Sequence[Layer], how: NativeTraining) -> trainer.DenseTrainer:
    """A native trainer of ``layers``.

    Raises:
        InputError: the native kernels are not built here.
    """
    if not trainer.available():
        raise InputError(
            "The native kernels are not built here, so nothing can be trained on them.",
            remedy="Install with a C compiler at hand, or use backend eager.",
        )
    return trainer.DenseTrainer(
        layers,
        how.loss,
        learning_rate=how.learning_rate,
        sampling=None if how.sampled is None else trainer.Sampling(how.sampled, how.divergence_weight),
        max_grad_norm=how.max_grad_norm,
    )


def trained_form(layers: Sequence[Layer], how: NativeTraining) -> list[Layer]:
    """The ``layers`` that score, as they are trained: logits, and means with log-variances, which begin at zero."""
    trained = list(layers)
    if how.loss in ("bce", "bernoulli"):
        trained[-1] = trained[-1]._replace(activation="identity")
    if how.sampled is not None:
        means = trained[how.sampled]
        weight, bias = (np.concatenate([part, np.zeros_like(part)]) for part in (means.weight, means.bias))
        trained[how.sampled] = means._replace(weight=weight, bias=bias)
    return trained
