"""The rounds of a boosting as epochs: what the trees up to each round make of training and validation rows.

It is looked at when all trees are grown, so that it takes no part in the time of a training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import Rows
from harness.scoring.forest import Forest
from harness.training.context import Epoch, FitContext, Labels, Matrix
from harness.training.validation import MOST, validation_metrics

_MOST_RARE, _ANOMALIES = 10_000, 50  # rows where anomalies are rare, on which a curve rests; so many are enough
_MEASURED = 100  # rounds after which validation rows are ranked


def rounds_of(
    forest: Forest,
    prior: float,
    learnt: tuple[Rows, Labels],
    context: FitContext,
    *,
    positive_weight: float = 1.0,
    seconds: float = 0.0,
) -> tuple[Epoch, ...]:
    """One epoch per tree.

    Args:
        forest: the trees, in the order of their rounds.
        prior: logit before the first tree.
        learnt: training rows (n, d) and labels (n,); the loss is that of at most 2,000 of them, evenly spaced.
        context: has the validation rows.
        positive_weight: of an anomaly in the loss, where a normal row has 1.
        seconds: that growing took.
    """
    count, started = len(forest.feature), time.perf_counter()
    losses = _log_losses(forest, prior, *_some(*learnt, MOST), positive_weight)
    metrics: dict[int, dict[str, float]] = {}
    if context.X_val is not None and context.y_val is not None and len(context.y_val):
        wanted = math.ceil(_ANOMALIES / max(float(context.y_val.mean()), _ANOMALIES / _MOST_RARE))
        rows, labels = _some(context.X_val, context.y_val, max(MOST, wanted))
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MEASURED)).round().astype(np.int64))
        for number, logits in zip(chosen.tolist(), _logits(forest, prior, rows, chosen), strict=True):
            metrics[number] = validation_metrics(logits, labels)
    looked = time.perf_counter() - started
    rows_learnt = len(learnt[1])
    return tuple(
        Epoch(number, {"log loss": loss}, seconds / count, 0, rows_learnt, metrics.get(number, {}), looked / count)
        for number, loss in enumerate(losses)
    )


def _some(X: Rows, y: Labels, most: int) -> tuple[Matrix, Labels]:
    """Evenly spaced rows, of windows their last step, and their labels."""
    step = -(-len(y) // most)
    rows = np.asarray(X[::step], dtype=np.float32)
    return rows[:, -1] if rows.ndim == 3 else rows, y[::step]


def _log_losses(forest: Forest, prior: float, X: Matrix, y: Labels, positive_weight: float) -> list[float]:
    """Weighted mean of the log loss after each round."""
    weights = np.where(y == 1, positive_weight, 1.0)[:, None]
    signs = np.where(y == 1, -1.0, 1.0)[:, None]
    total, at = np.zeros(len(forest.feature)), 0
    for values in forest.values(X):
        rows = slice(at, at + len(values))
        logits = prior + values.cumsum(axis=1, dtype=np.float64)
        total += (weights[rows] * np.logaddexp(0.0, signs[rows] * logits)).sum(axis=0)
        at += len(values)
    losses: list[float] = (total / weights.sum()).tolist()
    return losses


def _logits(forest: Forest, prior: float, X: Matrix, rounds: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Of all rows, after each of the ``rounds``."""
    parts = [values.cumsum(axis=1, dtype=np.float64)[:, rounds] for values in forest.values(X)]
    return ((prior + column).astype(np.float32) for column in np.concatenate(parts).T)
