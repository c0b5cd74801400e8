"""Training of dense chains on this project's own kernels: the loop of ``training``, many batches to a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.detectors.base import Epoch, FitContext
from harness.detectors.training import train
from harness.errors import InputError
from harness.gemm import trainer
from harness.gemm.layers import from_torch

_WHOLE_EPOCH = 1 << 40


def train_natively(
    nets: Sequence[nn.Sequential],
    loss: trainer.Loss,
    X: NDArray[np.float32],
    y: NDArray[np.float32] | None,
    *,
    learning_rates: Sequence[float],
    batch_size: int,
    epochs: int,
    seeds: Sequence[int],
    clip_norm: float | None,
    context: FitContext,
) -> list[tuple[Epoch, ...]]:
    """Train ``nets``, replicas of each other, as the torch loop would: same orders, same formulas, same rounding class.

    Args:
        nets: linear layers and activations; they are left with the trained weights.
        loss: ``bce`` on the single output, or ``mse`` to the input.
        X: rows (n, d).
        y: targets (n,), for ``bce``.
        learning_rates: Adam's, one per net.
        batch_size: rows per step.
        epochs: passes over the rows.
        seeds: of the orders, one per net.
        clip_norm: bound on the global norm of each net's gradient.
        context: its listeners hear of the means over the nets.

    Raises:
        InputError: the native kernels are not built here.
    """
    if not trainer.available():
        raise InputError(
            "The native kernels are not built here, so nothing can be trained on them.",
            remedy="Install with a C compiler at hand, or use backend eager.",
        )
    trainers = [
        trainer.DenseTrainer(from_torch(net), loss, learning_rate=rate, max_grad_norm=clip_norm)
        for net, rate in zip(nets, learning_rates, strict=True)
    ]

    def step(indices: Tensor) -> Tensor:
        orders = [np.ascontiguousarray(order) for order in indices.numpy()]
        losses = trainer.epoch_together(trainers, X, y, orders=orders, batch_size=batch_size)
        return torch.tensor([float(of_net.mean(dtype=np.float64)) for of_net in losses], dtype=torch.float64)

    history = train(
        step,
        rows=len(X),
        batch_size=batch_size,
        epochs=epochs,
        seeds=seeds,
        context=context,
        batches_per_step=_batches_per_step(context),
    )
    for net, trained in zip(nets, trainers, strict=True):
        _write_back(net, trained)
    return history


def _batches_per_step(context: FitContext) -> int:
    """As many as may pass before a listener must be heard or a bound on the steps be looked at."""
    if context.max_steps is not None:
        return 1
    return context.lap_steps if context.on_steps is not None else _WHOLE_EPOCH


def _write_back(net: nn.Sequential, trained: trainer.DenseTrainer) -> None:
    linear: list[Any] = [part for part in net if isinstance(part, nn.Linear)]
    with torch.no_grad():
        for part, layer in zip(linear, trained.layers(), strict=True):
            part.weight.copy_(torch.from_numpy(layer.weight))
            part.bias.copy_(torch.from_numpy(layer.bias))
