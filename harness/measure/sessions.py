"""Noise between sessions: how far one measurement of unchanged code lies from another, made on another day."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.measure.stats import Array

_UNEVEN = 2.0  # standard errors by which series must differ in noise before each is judged by its own
_LEAST_DEGREES = 2
_COARSE = 1e-4  # share of the pooled variance that the clock's resolution may hide in a series


@dataclass(frozen=True)
class SessionNoise:
    """Noise of a session's centre about its level, on the log scale.

    Attributes:
        sd: standard deviation.
        degrees: of freedom that it is estimated with.
        own_squares, own_degrees: squared deviations of the series alone, and their degrees of freedom.
    """

    sd: float
    degrees: float
    own_squares: float
    own_degrees: float


def session_noise(logs: Array, levels: NDArray[np.int64]) -> tuple[SessionNoise, ...] | None:
    """Noise of each of several series measured together, within their levels; None with too few sessions to tell.

    The variance of a centre has a part that all series of a session share and a part of its own, each with its degrees
    of freedom; those of the sum are Satterthwaite's. The own part is pooled over the series; where they differ in noise
    by more than chance, each is shrunk towards the pooled value only as far as the others are like it.

    Args:
        logs: log centres, shape (series, sessions), NaN where a session lacks the series.
        levels: number of the level that each belongs to, same shape; a change from one to the next is no noise.

    Source: Satterthwaite (1946); Smyth (2004), moderated variances, doi:10.2202/1544-6115.1027.
    """
    residuals, degrees = _within_levels(logs, levels)
    if degrees.sum() < _LEAST_DEGREES:
        return None
    known = ~np.isnan(residuals)
    count = int((degrees > 0).sum())
    values = np.where(known, residuals, 0.0)
    shared = values.sum(axis=0) / np.maximum(1, known.sum(axis=0))
    shared_degrees = degrees.sum() / count
    shared_variance = float((shared**2).sum() / shared_degrees)
    own_share = 1 - 1 / count
    squares = (np.where(known, residuals - shared, 0.0) ** 2).sum(axis=1)
    own, own_degrees = _moderated(squares, degrees * own_share) if count > 1 else (squares * 0, degrees * 0 + 1)
    own = own * own_share
    variance = own + shared_variance
    spread = own**2 / own_degrees + shared_variance**2 / shared_degrees
    total = np.divide(variance**2, spread, out=np.full(len(spread), float(degrees.sum())), where=spread > 0)
    return tuple(
        SessionNoise(math.sqrt(variance[row]), float(total[row]), float((values[row] ** 2).sum()), float(degrees[row]))
        for row in range(len(logs))
    )


def _within_levels(logs: Array, levels: NDArray[np.int64]) -> tuple[Array, Array]:
    """Deviations from the mean of the level, NaN where it has one session; and degrees of freedom per series."""
    residuals, degrees = np.full(logs.shape, np.nan), np.zeros(len(logs))
    for row, (series, numbers) in enumerate(zip(logs, levels, strict=True)):
        for level in np.unique(numbers):
            at = (numbers == level) & ~np.isnan(series)
            if at.sum() > 1:
                residuals[row, at] = series[at] - series[at].mean()
                degrees[row] += at.sum() - 1
    return residuals, degrees


def _moderated(squares: Array, degrees: Array) -> tuple[Array, Array]:
    """Variance of each series and its degrees of freedom: pooled, or shrunk where the series are not alike."""
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    pooled = squares.sum() / degrees.sum()
    alike = np.full(len(squares), pooled), np.full(len(squares), degrees.sum())
    judged = degrees > 0
    if judged.sum() < 3 or pooled <= 0:
        return alike
    half = degrees[judged] / 2
    raw = np.maximum(squares[judged] / degrees[judged], _COARSE * pooled)
    logs = np.log(raw) - digamma(half) + np.log(half)
    trigamma = polygamma(1, half)
    excess = float(logs.var(ddof=1) - trigamma.mean())
    error = math.sqrt(float((polygamma(3, half) + 2 * trigamma**2).mean()) / judged.sum())
    if excess <= _UNEVEN * error:
        return alike
    prior = float(brentq(lambda number: float(polygamma(1, number / 2)) - excess, 1e-3, 1e9))
    typical = math.exp(float(logs.mean()) + float(digamma(prior / 2)) - math.log(prior / 2))
    return (prior * typical + squares) / (prior + degrees), prior + degrees
