"""The training loop: seeded permutations over rows held in one tensor, one step function per batch.

A detector plugs in ``step``; what it optimises, and with how many optimisers, is its own business. Rows are gathered
from a resident tensor because a per-sample data set costs more in Python than a small net costs in arithmetic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.detectors.base import Epoch, FitContext

Step = Callable[..., Tensor]
SCORING_ROWS = 8192  # rows per slice: activations of the nets here stay inside a second-level cache


def train(
    step: Step,
    *,
    rows: int,
    batch_size: int,
    epochs: int,
    seed: int,
    context: FitContext,
    loss_names: Sequence[str] = ("loss",),
    permutations: int = 1,
    drop_last: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Epoch, ...]:
    """Run ``epochs`` passes, calling ``step(indices, ...)`` per batch, and report each pass.

    Args:
        step: takes ``permutations`` int64 index tensors (batch,), each from an independent permutation; returns the
            detached losses, shape () or (len(loss_names),).
        rows: number of training rows.
        batch_size: rows per step; the last one may be smaller unless ``drop_last``.
        epochs: passes over the rows.
        seed: of the permutations.
        context: its listener is called after each pass; its ``max_steps`` bounds the steps of all passes together.
        loss_names: names of the losses ``step`` returns.
        permutations: independent orders per pass.
        drop_last: leave out the incomplete last batch.
        clock: seconds.
    """
    generator = torch.Generator().manual_seed(seed)
    end = rows - rows % batch_size if drop_last and rows >= batch_size else rows
    left = context.max_steps
    stopped = False
    history = []
    for index in range(epochs):
        if left == 0 or stopped:
            break
        started = clock()
        orders = [torch.randperm(rows, generator=generator) for _ in range(permutations)]
        total = torch.zeros(len(loss_names), dtype=torch.float64)
        steps = seen = unreported = 0
        for start in range(0, end, batch_size):
            batches = [order[start : min(start + batch_size, end)] for order in orders]
            total += step(*batches).reshape(-1)
            steps += 1
            unreported += 1
            seen += len(batches[0])
            last = steps == left or start + batch_size >= end
            if context.on_steps is not None and (last or unreported == context.lap_steps):
                stopped = not context.on_steps(unreported)
                unreported = 0
            if last or stopped:
                break
        means = (total / steps).tolist()
        epoch = Epoch(index, dict(zip(loss_names, means, strict=True)), clock() - started, steps, seen)
        history.append(epoch)
        left = None if left is None else left - steps
        if context.on_epoch is not None:
            context.on_epoch(epoch)
    return tuple(history)


def gradient_step(
    loss: Callable[[Tensor], Tensor],
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    *,
    clip_norm: float | None = None,
) -> Step:
    """A step down one loss: ``loss(indices)`` gives a scalar; gradients are clipped to ``clip_norm`` if given."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def step(indices: Tensor) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        value = loss(indices)
        value.backward()  # type: ignore[no-untyped-call]
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimiser.step()
        return value.detach()

    return step


def adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, *, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """Adam, in its fused form where the device has one: on a small net half of a step is optimiser dispatch."""
    given = list(parameters)
    try:
        return torch.optim.Adam(given, lr=learning_rate, betas=betas, fused=True)
    except RuntimeError:
        return torch.optim.Adam(given, lr=learning_rate, betas=betas)


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """``build()`` with torch's random state at ``seed``; the global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


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
