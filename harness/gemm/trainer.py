"""Native training of a chain of dense layers: forward, backward and Adam, one call per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.gemm import native
from harness.gemm.chain import HEADS
from harness.gemm.layers import Layer, checked, coded

Loss = Literal["bce", "mse"]
_HEAD_OF_LOSS: dict[Loss, int] = {"bce": HEADS.index("logit"), "mse": HEADS.index("mse")}


def available() -> bool:
    """Whether training runs natively here."""
    return native.extension is not None


class DenseTrainer:
    """A chain of dense layers and its Adam optimiser, with PyTorch's formulas.

    Args:
        layers: (weight (outputs, inputs), bias (outputs,), activation, slope) each, or ``Layer``; copied.
        loss: ``bce``, binary cross entropy with the single output as logit, mean over the batch;
            ``mse``, mean squared error of the outputs to the inputs, over all elements of the batch.
        learning_rate, betas, eps: Adam's.
        max_grad_norm: clip the gradient's global L2 norm to this, as ``torch.nn.utils.clip_grad_norm_`` does.
        isa: the instruction set to use instead of the best one, by its name.

    Attributes:
        isa, kernel: what the products run on.

    Raises:
        InputError: layers that do not fit each other or the loss, or native kernels that are not built.
    """

    def __init__(
        self,
        layers: Sequence[Layer | tuple[Any, ...]],
        loss: Loss,
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        max_grad_norm: float | None = None,
        isa: str | None = None,
    ) -> None:
        self._layers = checked(layers)
        if loss not in _HEAD_OF_LOSS:
            raise InputError(f"loss {loss!r}: expected one of {', '.join(_HEAD_OF_LOSS)}")
        last, inputs = self._layers[-1], self._layers[0].weight.shape[1]
        if loss == "bce" and (last.weight.shape[0] != 1 or last.activation != "identity"):
            raise InputError("loss 'bce' needs a last layer with a single output and no activation")
        if loss == "mse" and last.weight.shape[0] != inputs:
            raise InputError(f"loss 'mse' needs as many outputs as inputs, got {last.weight.shape[0]} and {inputs}")
        if any(layer.activation == "leaky_relu" and layer.slope == 0.0 for layer in self._layers):
            raise InputError("leaky_relu with slope 0 is relu; name it so")
        selected = native.select(isa)
        assert native.extension is not None
        self.loss = loss
        self.isa, self.kernel = selected.name, str(selected.kernel("float32"))
        self._native = native.extension.Trainer(
            selected.index, coded(self._layers), _HEAD_OF_LOSS[loss], learning_rate, *betas, eps, max_grad_norm or 0.0
        )

    def epoch(
        self,
        X: NDArray[np.float32],
        y: NDArray[np.float32] | None = None,
        *,
        order: NDArray[np.int64],
        batch_size: int,
    ) -> NDArray[np.float32]:
        """Train on the rows ``X[order]`` in that order, in batches of which the last may be smaller.

        Args:
            X: rows (n, inputs).
            y: targets (n,), for ``bce``.
            order: row numbers; a permutation for an ordinary epoch.
            batch_size: rows per step.

        Returns:
            The mean loss of each batch, before its step.
        """
        losses = _losses(order, batch_size)
        self._native.epoch(*_data(X, y), np.require(order, np.int64, ["C", "A"]), batch_size, losses)
        return losses

    def gradients(self, X: NDArray[np.float32], y: NDArray[np.float32] | None = None) -> tuple[float, list[Layer]]:
        """The mean loss over the rows and its gradients, in the shape of the layers; nothing is updated."""
        found = self._empty()
        loss = self._native.gradients(*_data(X, y), [(layer.weight, layer.bias) for layer in found])
        return loss, found

    def layers(self) -> list[Layer]:
        """A copy of the layers as they are now."""
        found = self._empty()
        self._native.read([(layer.weight, layer.bias) for layer in found])
        return found

    def set_learning_rate(self, learning_rate: float) -> None:
        """The rate from the next step on."""
        self._native.set_learning_rate(learning_rate)

    def _empty(self) -> list[Layer]:
        return [
            layer._replace(weight=np.empty_like(layer.weight), bias=np.empty_like(layer.bias)) for layer in self._layers
        ]


def epoch_together(
    trainers: Sequence[DenseTrainer],
    X: NDArray[np.float32],
    y: NDArray[np.float32] | None = None,
    *,
    orders: Sequence[NDArray[np.int64]],
    batch_size: int,
    threads: int | None = None,
) -> list[NDArray[np.float32]]:
    """One epoch of several trainers over the same rows, each in its own order, spread over threads.

    Every trainer becomes exactly what it would have become alone.

    Args:
        trainers: seeds or learning rates of one net.
        X, y, batch_size: as for ``DenseTrainer.epoch``.
        orders: one per trainer, of equal lengths.
        threads: at most so many; by default the placement's.

    Returns:
        The losses of each trainer's batches.
    """
    if native.extension is None:
        raise InputError(str(native.missing()))
    losses = [_losses(order, batch_size) for order in orders]
    native.extension.epoch_many(
        [trainer._native for trainer in trainers],
        *_data(X, y),
        [np.require(order, np.int64, ["C", "A"]) for order in orders],
        batch_size,
        losses,
        native.default_threads() if threads is None else threads,
    )
    return losses


def _losses(order: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: expected at least 1")
    return np.empty(-(-len(order) // batch_size), np.float32)


def _data(
    X: NDArray[np.float32], y: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    return np.require(X, np.float32, ["C", "A"]), None if y is None else np.require(y, np.float32, ["C", "A"])
