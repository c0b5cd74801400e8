"""How far accuracy may be off by the draw of rows: by bootstrap, by its variance, and over several random splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.measure.stats import t_quantile

RESAMPLES = 1_000
LEAST = 5  # anomalies; fewer resample to nearly the same
FEW = 1_000  # anomalies from which the spread over seeds says more than resampling the rows
MOST_ROWS = 100_000
_SEED = 0
_NORMAL_95 = 1.959963984540054  # quantile of the normal distribution


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


def roc_auc_interval(scores: NDArray[np.floating[Any]], y: NDArray[np.integer[Any]]) -> tuple[float, float] | None:
    """95 % interval of the ROC-AUC of ``scores`` (n,) against labels ``y`` (n,), 1 = anomaly.

    The variance is DeLong's (DeLong, DeLong and Clarke-Pearson 1988), the interval normal in the logit of the area, so
    that it stays within [0, 1]. None for fewer than `LEAST` rows of a kind.
    """
    from scipy.stats import rankdata

    positive = np.asarray(y) == 1
    anomalies, normal = int(positive.sum()), int((~positive).sum())
    if min(anomalies, normal) < LEAST:
        return None
    ranks = rankdata(scores)
    of_anomalies = (ranks[positive] - rankdata(scores[positive])) / normal
    of_normal = 1.0 - (ranks[~positive] - rankdata(scores[~positive])) / anomalies
    edge = 0.5 / (anomalies * normal)  # half a pair, where all pairs are ordered alike
    area = float(np.clip(of_anomalies.mean(), edge, 1.0 - edge))
    variance = max(of_anomalies.var(ddof=1) / anomalies + of_normal.var(ddof=1) / normal, edge**2)
    odds, half = np.log(area / (1.0 - area)), _NORMAL_95 * np.sqrt(variance) / (area * (1.0 - area))
    low, high = 1.0 / (1.0 + np.exp(-(odds - half))), 1.0 / (1.0 + np.exp(-(odds + half)))
    return float(low), float(high)


def over_splits(values: Sequence[float], test_to_train: float) -> tuple[float, float] | None:
    """95 % interval of a share in [0, 1] that was evaluated on several random splits of the same rows.

    Splits share rows, so that their figures vary less than those of new data: the variance of the mean is s² (1/n +
    test rows / training rows) instead of s²/n (Nadeau and Bengio 2003, "Inference for the generalization error").

    Args:
        values: one per split, each of a detector trained on the training rows of that split.
        test_to_train: test rows over training rows.

    Returns:
        Its limits; None where there are no two figures that differ.
    """
    if len(values) < 2 or min(values) == max(values):
        return None
    low, high = interval_of_mean(values, test_to_train)
    return max(0.0, low), min(1.0, high)


def interval_of_mean(values: Sequence[float], test_to_train: float) -> tuple[float, float]:
    """95 % interval of the mean of at least two values, as `over_splits`; on the same rows ``test_to_train`` is 0."""
    variance = float(np.var(values, ddof=1)) * (1.0 / len(values) + test_to_train)
    centre, half = float(np.mean(values)), t_quantile(0.95, len(values) - 1) * variance**0.5
    return centre - half, centre + half


def _average_precision(weight: NDArray[np.float64], positive: NDArray[np.bool_], ends: NDArray[np.int64]) -> float:
    """Of rows by falling score, row i counted ``weight[i]`` times; ``ends`` are the last rows of equal scores."""
    hits = np.cumsum(weight * positive)[ends]
    flagged = np.cumsum(weight)[ends]
    precision = np.divide(hits, flagged, out=np.zeros(len(ends)), where=flagged > 0)
    return float((precision * np.diff(hits, prepend=0.0)).sum() / hits[-1])
