"""How far an average precision may be off when it rests on a few anomalies: the stratified percentile bootstrap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
LEAST = 5  # anomalies; fewer resample to nearly the same
FEW = 1_000  # anomalies from which the spread over seeds says more than resampling the rows
MOST_ROWS = 100_000
_SEED = 0


def average_precision_interval(
    scores: NDArray[np.floating[Any]], y: NDArray[np.integer[Any]], resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """95 % interval of the average precision of ``scores`` (n,) against labels ``y`` (n,), 1 = anomaly.

    Anomalies and normal rows are resampled apart, so that the prevalence stays (Efron and Tibshirani 1993, ch. 13).
    None for fewer than `LEAST` anomalies, or so many rows or anomalies that it is not worth its time.
    """
    anomalies = int((y == 1).sum())
    if not LEAST <= anomalies < FEW or anomalies == len(y) or len(y) > MOST_ROWS:
        return None
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ordered, positive = scores[order], y[order] == 1
    ends = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    rng = np.random.default_rng(_SEED)
    kinds = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    precisions = np.empty(resamples)
    for index in range(resamples):
        weight = np.zeros(len(order))
        for places in kinds:
            weight[places] = np.bincount(rng.integers(len(places), size=len(places)), minlength=len(places))
        precisions[index] = _average_precision(weight, positive, ends)
    low, high = np.quantile(precisions, [0.025, 0.975])
    return float(low), float(high)


def _average_precision(weight: NDArray[np.float64], positive: NDArray[np.bool_], ends: NDArray[np.int64]) -> float:
    """Of rows by falling score, row i counted ``weight[i]`` times; ``ends`` are the last rows of equal scores."""
    hits = np.cumsum(weight * positive)[ends]
    flagged = np.cumsum(weight)[ends]
    precision = np.divide(hits, flagged, out=np.zeros(len(ends)), where=flagged > 0)
    return float((precision * np.diff(hits, prepend=0.0)).sum() / hits[-1])
