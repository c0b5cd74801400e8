"""From scores to probabilities: fitted on validation rows alone, and judged by cross-fitting on them.

A classifier's logits are shifted by the logarithm of its class weights, and stretched; Platt's sigmoid of a·s + b takes
both back. Scores that are no logits are calibrated by isotonic regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
_FOLDS = 5
_BINS = 15
_LEAST = 20  # rows of each kind
_KNOTS = 64
_EDGE = 1e-6  # a probability of 0 or 1 cannot be known from a sample


@dataclass(frozen=True)
class Platt:
    """Probability is the sigmoid of ``slope``·score + ``intercept``; Platt 1999, with his smoothed labels."""

    slope: float
    intercept: float
    kind: Literal["platt"] = "platt"

    def probabilities(self, scores: Scores) -> NDArray[np.float32]:
        """Of scores (n,)."""
        logits = self.slope * np.asarray(scores, dtype=np.float64) + self.intercept
        return (0.5 * (1.0 + np.tanh(0.5 * logits))).astype(np.float32)


@dataclass(frozen=True)
class Isotonic:
    """Probability rises with the score, linear between knots and level outside them."""

    scores: tuple[float, ...]
    values: tuple[float, ...]
    kind: Literal["isotonic"] = "isotonic"

    def probabilities(self, scores: Scores) -> NDArray[np.float32]:
        """Of scores (n,)."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.values).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """A fitted map, and how good it is on validation rows that it was not fitted on.

    Attributes:
        map: from score to probability.
        rows: it was fitted on.
        ece: expected calibration error over bins of equal counts.
        brier: mean squared error of the probability.
    """

    map: Platt | Isotonic
    rows: int
    ece: float
    brier: float

    def probabilities(self, scores: Scores) -> NDArray[np.float32]:
        """Of scores (n,)."""
        return self.map.probabilities(scores)


def calibrate_scores(scores: Scores, y: Labels, *, logits: bool, seed: int = 0) -> Calibration | None:
    """Fit on validation scores (n,) and labels (n,); None where there are too few rows of either kind."""
    finite = np.isfinite(scores)
    scores, y = np.asarray(scores, dtype=np.float64)[finite], np.asarray(y)[finite]
    if min(int((y == 1).sum()), int((y == 0).sum())) < _LEAST:
        return None
    fit = _platt if logits else _isotonic
    fold = np.empty(len(y), dtype=np.int64)
    generator = np.random.default_rng(seed)
    for kind in (0, 1):  # folds with both kinds in each
        rows = generator.permutation(np.flatnonzero(y == kind))
        fold[rows] = np.arange(len(rows)) % _FOLDS
    crossed = np.empty(len(y))
    for part in range(_FOLDS):
        inside = fold == part
        crossed[inside] = fit(scores[~inside], y[~inside]).probabilities(scores[inside])
    return Calibration(
        fit(scores, y), len(y), expected_calibration_error(crossed, y), float(np.mean((crossed - y) ** 2))
    )


def expected_calibration_error(p: Scores, y: Labels, bins: int = _BINS) -> float:
    """Mean distance of mean probability and share of anomalies over bins of equal counts, weighted by their rows."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(p[part].mean() - y[part].mean()) * len(part) for part in parts) / len(p))


def _platt(scores: NDArray[np.float64], y: Labels) -> Platt:
    """Newton's method with step halving, as of Lin, Lin and Weng 2007."""
    positive = int((y == 1).sum())
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (len(y) - positive + 2))
    middle, scale = float(np.median(scores)), float(np.std(scores)) or 1.0
    x = np.column_stack(((scores - middle) / scale, np.ones_like(scores)))
    w = np.array([1.0, np.log((positive + 1) / (len(y) - positive + 1))])

    def loss(w: NDArray[np.float64]) -> float:
        logits = x @ w
        return float(np.sum(np.logaddexp(0.0, logits) - target * logits))

    now = loss(w)
    for _ in range(100):
        p = 0.5 * (1.0 + np.tanh(0.5 * (x @ w)))
        gradient = x.T @ (p - target)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (after := loss(w - size * step)) > now and size > 1e-10:
            size /= 2
        w = w - size * step
        if now - after <= 1e-12 * max(1.0, now):
            break
        now = after
    slope = float(w[0]) / scale
    return Platt(slope, float(w[1]) - slope * middle)


def _isotonic(scores: NDArray[np.float64], y: Labels) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=_EDGE, y_max=1 - _EDGE, out_of_bounds="clip").fit(scores, y)
    x, p = fitted.X_thresholds_, fitted.y_thresholds_
    if len(x) > _KNOTS:
        chosen = np.unique(np.round(np.linspace(0, len(x) - 1, _KNOTS)).astype(np.int64))
        x, p = x[chosen], p[chosen]
    return Isotonic(tuple(map(float, x)), tuple(map(float, p)))
