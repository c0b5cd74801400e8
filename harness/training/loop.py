"""The training loop: seeded orders over rows held in one tensor, one step function per batch, K replicas at a time.

A detector plugs in ``step``; what it optimises, and with how many optimisers, is its own business. Rows are gathered
from a resident tensor because a per-sample data set costs more in Python than a small net costs in arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.training.adam import Adam
from harness.training.context import Epoch, FitContext

Step = Callable[..., Tensor]
Built = TypeVar("Built", bound=nn.Module)
SCORING_ROWS = 8192  # rows per slice: activations of the nets here stay inside a second-level cache


def train(
    step: Step,
    *,
    rows: int,
    batch_size: int,
    epochs: int,
    seeds: Sequence[int],
    context: FitContext,
    loss_names: Sequence[str] = ("loss",),
    orders: int = 1,
    drop_last: bool = False,
    batches_per_step: int = 1,
    keep_going: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[tuple[Epoch, ...]]:
    """Run ``epochs`` passes, calling ``step(indices, ...)`` per batch; the epochs of each replica.

    Args:
        step: takes ``orders`` int64 index tensors (K, batch), row k drawn for replica k, each from an independent
        order;
            returns the detached losses, (K,) or (K, len(loss_names)).
        rows: number of training rows.
        batch_size: rows per step; the last one may be smaller unless ``drop_last``.
        epochs: passes over the rows.
        seeds: of the replicas' orders, which do not depend on how many replicas there are.
        context: its listeners hear of the means over replicas; its ``max_steps`` bounds the steps of all passes
        together.
        loss_names: names of the losses ``step`` returns.
        orders: independent orders per pass.
        drop_last: leave out the incomplete last batch.
        batches_per_step: how many batches ``step`` is given at once, side by side, for a trainer that walks through
            them itself; it then returns the mean of their losses.
        keep_going: asked after each pass; False ends the training.
        clock: seconds.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    end = rows - rows % batch_size if drop_last and rows >= batch_size else rows
    left = context.max_steps
    stopped = False
    history: list[list[Epoch]] = [[] for _ in seeds]
    for index in range(epochs):
        if left == 0 or stopped:
            break
        started = clock()
        drawn = [torch.stack([torch.randperm(rows, generator=each) for each in generators]) for _ in range(orders)]
        total = torch.zeros(len(seeds), len(loss_names), dtype=torch.float64)
        steps = seen = unreported = 0
        stride = batch_size * batches_per_step
        for start in range(0, end, stride):
            batches = [order[:, start : min(start + stride, end)] for order in drawn]
            taken = -(-batches[0].shape[1] // batch_size)
            total += step(*batches).view(len(seeds), -1) * taken
            steps += taken
            unreported += taken
            seen += batches[0].shape[1]
            last = steps == left or start + stride >= end
            if context.on_steps is not None and (last or unreported == context.lap_steps):
                stopped = not context.on_steps(unreported)
                unreported = 0
            if last or stopped:
                break
        seconds = clock() - started
        means = total / steps
        for kept, row in zip(history, means, strict=True):
            kept.append(_epoch(index, loss_names, row, seconds, steps, seen))
        left = None if left is None else left - steps
        stopped = stopped or (keep_going is not None and not keep_going())
        if context.on_epoch is not None:
            context.on_epoch(_epoch(index, loss_names, means.mean(dim=0), seconds, steps, seen))
    return [tuple(kept) for kept in history]


def seeded(build: Callable[[], Built], seed: int) -> Built:
    """``build()`` with torch's random state at ``seed``; the global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def gather(rows: Tensor, indices: Tensor) -> Tensor:
    """``rows[indices]``: (K, batch, d) of (n, d) by (K, batch)."""
    return rows.index_select(0, indices.reshape(-1)).view(*indices.shape, -1)


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


def _epoch(index: int, names: Sequence[str], losses: Tensor, seconds: float, steps: int, rows: int) -> Epoch:
    return Epoch(index, dict(zip(names, losses.tolist(), strict=True)), seconds, steps, rows)


def descend(loss: Tensor, optimiser: Adam, clip_norm: float | None = None) -> Tensor:
    """One step of ``optimiser`` down the gradient of ``loss``; its value, without the gradient.

    Args:
        loss: one number that depends on the optimiser's parameters.
        optimiser: what makes the step.
        clip_norm: longest gradient over all parameters together; a longer one is scaled down to it.
    """
    for parameter in optimiser.parameters:
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(optimiser.parameters, clip_norm)
    optimiser.step()
    return loss.detach()
