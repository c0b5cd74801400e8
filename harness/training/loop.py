"""The training loop: seeded orders over rows held in one tensor, one step function per batch, K replicas at a time.

A detector plugs in ``step``; what it optimises, and with how many optimisers, is its own business. Rows are gathered
from a resident tensor because a per-sample data set costs more in Python than a small net costs in arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.datasets.coded_rows import CodedRows, Rows
from harness.training.adam import Adam
from harness.training.context import Epoch, FitContext, Schedule
from harness.training.random_state import random_state
from harness.training.ranks import Ranks

Step = Callable[..., Tensor]
Batches = Iterable[tuple[int, Sequence[Tensor]]]
"""Rows of each batch, and what the step is given."""
Built = TypeVar("Built", bound=nn.Module)
SCORING_ROWS = 8192  # rows per slice: activations of the nets here stay inside a second-level cache


def train(
    step: Step,
    schedule: Schedule,
    context: FitContext,
    *,
    source: Callable[[int], Batches] | None = None,
    keep_going: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[tuple[Epoch, ...]]:
    """Call ``step(indices, ...)`` per batch of ``schedule``; the epochs of each replica.

    Args:
        step: takes ``schedule.orders`` int64 index tensors (K, batch), row k drawn for replica k, each from an
            independent order; returns the detached losses, (K,) or (K, len(loss_names)).
        schedule: passes, batches and seeds.
        context: its listeners hear of the means over replicas; its ``max_steps`` bounds the steps of all passes
            together.
        source: of the batches of a pass, by its number, for a step that takes other things than indices; of a pass
            over ``schedule.rows`` rows.
        keep_going: asked after each pass; False ends the training.
        clock: seconds.
    """
    seeds, names = schedule.seeds, schedule.loss_names
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    left = context.max_steps
    history: list[list[Epoch]] = [[] for _ in seeds]
    for index in range(schedule.epochs):
        if left == 0:
            break
        started = clock()
        batches = _shuffled(generators, schedule, context) if source is None else source(index)
        losses = torch.zeros(len(seeds), len(names), dtype=torch.float64)
        taken = _pass(step, batches, schedule, context, left, losses)
        seconds, means = clock() - started, losses / taken.steps
        for epochs, row in zip(history, means, strict=True):
            epochs.append(_epoch(index, names, row, seconds, taken))
        left = None if left is None else left - taken.steps
        stopped = taken.stopped or (keep_going is not None and not keep_going())
        if context.on_epoch is not None:
            context.on_epoch(_epoch(index, names, means.mean(dim=0), seconds, taken))
        if stopped:
            break
    return [tuple(epochs) for epochs in history]


@dataclass(frozen=True)
class _Taken:
    """Steps and rows of a pass, and whether a listener ended the training."""

    steps: int
    rows: int
    stopped: bool


def _shuffled(generators: Sequence[torch.Generator], schedule: Schedule, context: FitContext) -> Batches:
    """Index tensors of the batches of a pass, in a new order; of several ranks, this one's share of each."""
    orders = [
        torch.stack([torch.randperm(schedule.rows, generator=each) for each in generators])
        for _ in range(schedule.orders)
    ]
    return _cut(orders, schedule, context)


def _cut(orders: Sequence[Tensor], schedule: Schedule, context: FitContext) -> Iterator[tuple[int, Sequence[Tensor]]]:
    stride = schedule.batch_size * schedule.batches_per_step
    for start in range(0, schedule.end, stride):
        batches = [order[:, start : min(start + stride, schedule.end)] for order in orders]
        count = batches[0].shape[1]
        yield count, batches if context.ranks is None else [context.ranks.own(batch) for batch in batches]


def _pass(
    step: Step, batches: Batches, schedule: Schedule, context: FitContext, left: int | None, losses: Tensor
) -> _Taken:
    """One pass of at most ``left`` steps; the sums of their losses are added to ``losses`` (K, len(loss_names))."""
    steps = rows = unreported = 0
    stopped = False
    for count, given in batches:
        walked = -(-count // schedule.batch_size)
        losses += step(*given).view(len(losses), -1) * walked
        steps += walked
        unreported += walked
        rows += count
        last = steps == left or rows >= schedule.end
        if context.on_steps is not None and (last or unreported == context.lap_steps):
            stopped = not context.on_steps(unreported)
            stopped = stopped if context.ranks is None else bool(context.ranks.first(stopped))
            unreported = 0
        if last or stopped:
            break
    return _Taken(steps, rows, stopped)


def seeded(build: Callable[[], Built], seed: int) -> Built:
    """``build()`` with torch's random state at ``seed``; the global state is left as it was."""
    with random_state(seed):
        return build()


def gather(rows: Tensor, indices: Tensor) -> Tensor:
    """``rows[indices]``: (K, batch, d) of (n, d) by (K, batch)."""
    return rows.index_select(0, indices.reshape(-1)).view(*indices.shape, -1)


def gathering(X: Rows) -> Callable[[Tensor], Tensor]:
    """`gather` from ``X`` (n, d); of rows held as codes those of the batch alone become features."""
    if isinstance(X, CodedRows):
        return lambda indices: torch.from_numpy(X[indices.reshape(-1).numpy()]).view(*indices.shape, -1)
    rows = torch.from_numpy(X)
    return lambda indices: gather(rows, indices)


def score_slices(
    score: Callable[[Tensor], Tensor], X: NDArray[np.float32], rows: int = SCORING_ROWS
) -> NDArray[np.float32]:
    """``score`` over ``X`` (n, d) in slices of ``rows``; shape (n,), float32."""
    out = np.empty(len(X), dtype=np.float32)
    source = torch.from_numpy(X)
    with torch.inference_mode():
        for start in range(0, len(X), rows):
            out[start : start + rows] = score(source[start : start + rows]).numpy()
    return out


def _epoch(index: int, names: Sequence[str], losses: Tensor, seconds: float, taken: _Taken) -> Epoch:
    return Epoch(index, dict(zip(names, losses.tolist(), strict=True)), seconds, taken.steps, taken.rows)


def descend(
    loss: Tensor,
    optimiser: Adam,
    max_grad_norm: float | None = None,
    *,
    ranks: Ranks | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """One step of ``optimiser`` down the gradient of ``loss``; its value, without the gradient.

    Args:
        loss: one number that depends on the optimiser's parameters.
        optimiser: what makes the step.
        max_grad_norm: longest gradient over all parameters together; a longer one is scaled down to it.
        ranks: that share the batch; its loss and gradient are taken over all of them.
        weight: what the loss is a mean over, where that is not the number of rows.
    """
    for parameter in optimiser.parameters:
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    value = loss.detach()
    if ranks is not None:
        value = ranks.combine([each.grad for each in optimiser.parameters if each.grad is not None], value, weight)
    if max_grad_norm is not None:
        nn.utils.clip_grad_norm_(optimiser.parameters, max_grad_norm)
    optimiser.step()
    return value
