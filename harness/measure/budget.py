"""What a time budget buys, and when the precision asked for is reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.measure.stats import t_quantile
from harness.measure.verdicts import MAX_BLOCKS, MIN_BLOCKS

_ROUNDING = 1e-9  # blocks: a sum of seconds may miss a whole number by a hair


@dataclass(frozen=True)
class Budget:
    """Blocks that fit a budget.

    Attributes:
        blocks: how many blocks to run, at least one.
        seconds: predicted time for all of them, set-up included.
        half_width: predicted relative half-width of the 95 % interval; None for one block, or when no pilot told the
            spread.
        conclusive: whether there are enough blocks for any comparison; when False, ``needed_s`` says what would be.
        needed_s: time that the least conclusive plan takes.
    """

    blocks: int
    seconds: float
    half_width: float | None
    conclusive: bool
    needed_s: float


def fit_blocks(
    budget_s: float, block_s: float, *, setup_s: float = 0.0, sd: float | None = None, max_blocks: int = MAX_BLOCKS
) -> Budget:
    """Fit blocks of ``block_s`` seconds each into ``budget_s``, of which ``setup_s`` are spent once.

    Args:
        sd: standard deviation between processes on the log scale, from a pilot or an earlier run.
    """
    if block_s <= 0:
        raise ValueError(f"block_s must be positive, got {block_s}")
    blocks = max(1, min(max_blocks, math.floor((budget_s - setup_s) / block_s + _ROUNDING)))
    return Budget(
        blocks=blocks,
        seconds=setup_s + blocks * block_s,
        half_width=None if sd is None else predicted_half_width(sd, blocks),
        conclusive=blocks >= MIN_BLOCKS,
        needed_s=setup_s + MIN_BLOCKS * block_s,
    )


def predicted_half_width(sd: float, blocks: int) -> float | None:
    """Relative half-width of the 95 % interval over ``blocks`` processes with log-scale spread ``sd``."""
    if blocks < 2:
        return None
    return math.expm1(t_quantile(0.95, blocks - 1) * sd / math.sqrt(blocks))


def blocks_for_precision(sd: float, half_width: float, *, max_blocks: int = MAX_BLOCKS) -> int | None:
    """Fewest blocks, from six up, whose predicted half-width is at most ``half_width``; None when too many."""
    for blocks in range(MIN_BLOCKS, max_blocks + 1):
        predicted = predicted_half_width(sd, blocks)
        if predicted is not None and predicted <= half_width:
            return blocks
    return None


def pooled_sd(groups: Sequence[ArrayLike]) -> float | None:
    """Spread between processes on the log scale, common to several configurations of two or more processes each.

    A pilot has few processes of each configuration; together they tell the spread well enough to plan by.

    Args:
        groups: positive per-process estimates, one sequence per configuration; those with one process tell nothing.
    """
    logs = [np.log(np.asarray(group, dtype=np.float64)) for group in groups]
    known = [group for group in logs if len(group) > 1]
    if not known:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in known)
    return math.sqrt(squares / sum(len(group) - 1 for group in known))
