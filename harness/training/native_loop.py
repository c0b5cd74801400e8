"""Training of dense chains on this project's own kernels: the loop of ``training``, many batches to a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.datasets.coded_rows import CodedRows, Rows, rows_at_once
from harness.linalg import trainer
from harness.linalg.layers import from_torch
from harness.training.context import Epoch, FitContext, Schedule
from harness.training.loop import train
from harness.training.native_spec import NativeTraining, dense_trainer
from harness.training.replicas import Noise
from harness.training.validation import ValidationCurve

_WHOLE_EPOCH = 1 << 40
_DRAWN = 1 << 22  # numbers of noise that a replica draws at a time


def train_natively(
    nets: Sequence[nn.Module],
    how: Sequence[NativeTraining],
    X: Rows,
    y: NDArray[np.float32] | None,
    schedule: Schedule,
    context: FitContext,
    curve: ValidationCurve,
) -> list[tuple[Epoch, ...]]:
    """Train ``nets``, replicas of each other, as the torch loop would: same orders, same noise, same formulas.

    Args:
        nets: linear layers and activations; they are left with the trained weights. With sampling a dictionary of
            encoder and decoder.
        how: one per net; they differ in learning rate only.
        X: rows (n, d).
        y: targets (n,), for ``bce``.
        schedule: its losses are the loss, and with sampling the loss without the divergence.
        context: its listeners hear of the means over the nets.
        curve: of the first net, measured after each pass.

    Raises:
        InputError: the native kernels are not built here.
    """
    trainers = [dense_trainer(from_torch(net, each.sampled), each) for net, each in zip(nets, how, strict=True)]
    batch_size, latent = schedule.batch_size, trainers[0].latent
    noise = Noise(schedule.seeds)

    def step(indices: Tensor) -> Tensor:
        rows, labels, orders = X, y, [np.ascontiguousarray(order) for order in indices.numpy()]
        if isinstance(rows, CodedRows):  # the features of these batches alone, in their order
            taken = np.concatenate(orders)
            rows, labels = rows[taken], None if labels is None else labels[taken]
            orders = list(np.arange(len(taken)).reshape(indices.shape))
        noises = list(noise.normal(indices.shape[1], latent).numpy()) if latent else None
        losses = trainer.epoch_together(trainers, rows, labels, orders=orders, batch_size=batch_size, noises=noises)
        return torch.from_numpy(np.stack([of_net.mean(axis=0, dtype=np.float64) for of_net in losses]))

    batches = batches_per_step(context, batch_size * latent)
    if isinstance(X, CodedRows):
        batches = min(batches, max(1, rows_at_once(X.shape[1]) // (batch_size * len(nets))))
    history = train(
        step,
        replace(schedule, batches_per_step=batches),
        context,
        keep_going=curve.after(lambda: _write_back(nets[0], trainers[0])),
    )
    for net, trained in zip(nets, trainers, strict=True):
        _write_back(net, trained)
    return history


def batches_per_step(context: FitContext, drawn: int) -> int:
    """As many as may pass before a listener must be heard or a bound on the steps be looked at.

    ``drawn`` numbers of noise per batch must not fill the memory.
    """
    if context.max_steps is not None:
        return 1
    if context.on_steps is not None:
        return context.lap_steps
    return max(1, _DRAWN // drawn) if drawn else _WHOLE_EPOCH


def _write_back(net: nn.Module, trained: trainer.DenseTrainer) -> None:
    linear: list[Any] = [part for part in net.modules() if isinstance(part, nn.Linear)]
    with torch.no_grad():
        for part, layer in zip(linear, trained.layers(), strict=True):
            part.weight.copy_(torch.from_numpy(layer.weight))
            part.bias.copy_(torch.from_numpy(layer.bias))
