"""Native training of a chain of dense layers: forward, backward and Adam, one call per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import native
from harness.linalg.layers import Layer, checked, coded

Loss = Literal["bce", "mse", "gaussian", "bernoulli"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


def available() -> bool:
    """Whether training runs natively here."""
    return native.extension is not None


@dataclass(frozen=True)
class Sampling:
    """Of a variational autoencoder: ``layer`` is the one whose linear outputs are the means and then the log-variances
    of a code, which is drawn from them for the next layer; ``weight`` is that of the code's divergence from the
    standard normal, summed over the code, in the loss.
    """

    layer: int
    weight: float = 1.0


class DenseTrainer:
    """A chain of dense layers and its Adam optimiser, with PyTorch's formulas.

    Args:
        layers: (weight (outputs, inputs), bias (outputs,), activation, slope) each, or ``Layer``; copied.
        loss: ``bce``, binary cross entropy with the single output as logit, mean over the batch;
            ``mse``, mean squared error of the outputs to the inputs, over all elements of the batch;
            ``gaussian``, the same summed over features, mean over the batch;
            ``bernoulli``, cross entropy of the outputs as logits with inputs in [0, 1], summed and averaged likewise.
        sampling: where a code is drawn; None for a plain chain.
        learning_rate, betas, eps: Adam's.
        max_grad_norm: clip the gradient's global L2 norm to this, as ``torch.nn.utils.clip_grad_norm_`` does.
        isa: the instruction set to use instead of the best one, by its name.

    Attributes:
        isa, kernel: what the products run on.
        latent: width of the code; 0 where nothing is sampled.

    Raises:
        InputError: layers that do not fit each other or the loss, or native kernels that are not built.
    """

    def __init__(
        self,
        layers: Sequence[Layer | tuple[Any, ...]],
        loss: Loss,
        *,
        learning_rate: float,
        sampling: Sampling | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        max_grad_norm: float | None = None,
        isa: str | None = None,
    ) -> None:
        sampled = None if sampling is None else sampling.layer
        self._layers = checked(layers, sampled)
        if loss not in LOSSES:
            raise InputError(f"loss {loss!r}: expected one of {', '.join(LOSSES)}")
        last, inputs = self._layers[-1], self._layers[0].weight.shape[1]
        if loss == "bce" and (last.weight.shape[0] != 1 or last.activation != "identity"):
            raise InputError("loss 'bce' needs a last layer with a single output and no activation")
        if loss != "bce" and last.weight.shape[0] != inputs:
            raise InputError(f"loss {loss!r} needs as many outputs as inputs, got {last.weight.shape[0]} and {inputs}")
        if loss == "bernoulli" and last.activation != "identity":
            raise InputError("loss 'bernoulli' needs a last layer without an activation")
        if sampled is not None and not (
            0 <= sampled < len(self._layers) - 1 and self._layers[sampled].activation == "identity"
        ):
            raise InputError(f"sampled {sampled}: expected a layer without an activation, before the last")
        if any(layer.activation == "leaky_relu" and layer.slope == 0.0 for layer in self._layers):
            raise InputError("leaky_relu with slope 0 is relu; name it so")
        selected = native.select(isa)
        assert native.extension is not None
        self.loss = loss
        self.latent = 0 if sampled is None else self._layers[sampled + 1].weight.shape[1]
        self.isa, self.kernel = selected.name, str(selected.kernel("float32"))
        self._native = native.extension.Trainer(
            selected.index,
            coded(self._layers),
            native.extension.LOSSES[loss],
            *((-1, 0.0) if sampling is None else (sampling.layer, sampling.weight)),
            learning_rate,
            *betas,
            eps,
            max_grad_norm or 0.0,
        )

    def epoch(
        self,
        X: NDArray[np.float32],
        y: NDArray[np.float32] | None = None,
        *,
        order: NDArray[np.int64],
        batch_size: int,
        noise: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Train on the rows ``X[order]`` in that order, in batches of which the last may be smaller.

        Args:
            X: rows (n, inputs).
            y: targets (n,), for ``bce``.
            order: row numbers; a permutation for an ordinary epoch.
            batch_size: rows per step.
            noise: standard normal numbers (len(order), latent) that the codes are drawn by; needed with ``sampling``.

        Returns:
            The mean loss of each batch, before its step, (batches,); with ``sampling`` (batches, 2), the second number
            being the loss without the divergence.
        """
        losses = self._losses(order, batch_size)
        rows = np.require(order, np.int64, ["C", "A"])
        self._native.epoch(*_data(X, y), rows, _aligned(noise), batch_size, losses)
        return losses

    def gradients(
        self, X: NDArray[np.float32], y: NDArray[np.float32] | None = None, noise: NDArray[np.float32] | None = None
    ) -> tuple[float, list[Layer]]:
        """The mean loss over the rows and its gradients, in the shape of the layers; nothing is updated."""
        layers = self._empty()
        loss = self._native.gradients(*_data(X, y), _aligned(noise), [(layer.weight, layer.bias) for layer in layers])
        return loss, layers

    def layers(self) -> list[Layer]:
        """A copy of the layers as they are now."""
        layers = self._empty()
        self._native.read([(layer.weight, layer.bias) for layer in layers])
        return layers

    def set_learning_rate(self, learning_rate: float) -> None:
        """The rate from the next step on."""
        self._native.set_learning_rate(learning_rate)

    def _losses(self, order: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size}: expected at least 1")
        batches = -(-len(order) // batch_size)
        return np.empty((batches, 2) if self.latent else batches, np.float32)

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
    noises: Sequence[NDArray[np.float32] | None] | None = None,
    threads: int | None = None,
) -> list[NDArray[np.float32]]:
    """One epoch of several trainers over the same rows, each in its own order, spread over threads.

    Every trainer becomes exactly what it would have become alone.

    Args:
        trainers: seeds or learning rates of one net.
        X, y, batch_size: as for ``DenseTrainer.epoch``.
        orders: one per trainer, of equal lengths.
        noises: one per trainer, as for ``DenseTrainer.epoch``.
        threads: at most so many; by default the placement's.

    Returns:
        The losses of each trainer's batches.
    """
    if native.extension is None:
        raise InputError(str(native.missing()))
    taught = {trainer.loss == "bce" for trainer in trainers}
    if len(taught) > 1:
        raise InputError(
            "epoch_together: of these trainers some take labels and some do not.", remedy="Train them separately."
        )
    losses = [trainer._losses(order, batch_size) for trainer, order in zip(trainers, orders, strict=True)]
    native.extension.epoch_many(
        [trainer._native for trainer in trainers],
        *_data(X, y),
        [np.require(order, np.int64, ["C", "A"]) for order in orders],
        [_aligned(noise) for noise in noises or [None] * len(trainers)],
        batch_size,
        losses,
        native.default_threads() if threads is None else threads,
    )
    return losses


def _aligned(x: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if x is None else np.require(x, np.float32, ["C", "A"])


def _data(
    X: NDArray[np.float32], y: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    return np.require(X, np.float32, ["C", "A"]), _aligned(y)
