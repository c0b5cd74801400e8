"""How a chain of dense layers is trained on the native kernels; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import InputError
from harness.gemm import trainer
from harness.gemm.layers import Layer


@dataclass(frozen=True)
class NativeTraining:
    """Training by the native kernels: Adam on one chain of dense layers, with PyTorch's defaults where not named.

    ``loss``: ``bce``, cross-entropy of the single output with the label; ``mse``, of the output to the input, on rows
    labelled normal.
    """

    loss: Literal["bce", "mse"]
    learning_rate: float
    batch_size: int
    clip_norm: float | None


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
    return trainer.DenseTrainer(layers, how.loss, learning_rate=how.learning_rate, max_grad_norm=how.clip_norm)
