"""Noise between sessions: how far one measurement of unchanged code lies from another, made on another day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from operator import mul
from statistics import fmean, median

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.measure.stats import Array

_LEAST_DEGREES = 2
_GRID = np.arange(-2.5, 3.51, 0.125)  # log standard deviations of one series, the pooled one being 0
_CENTRES = np.arange(-2.0, 3.01, 0.125)  # of the series of one suite
_SPREADS = np.array([0.06, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0])  # between the series of one suite
_USUAL_SPREAD = 0.3  # scale of a half-normal distribution: series of one suite mostly differ by less than factor two
_SHARED_DEGREES = 3.0  # what is known beforehand of a machine's own sessions, as degrees of freedom
_SHARED_RATIO = 0.5  # of what a session does to all series, to what it does to one
_HUBER, _ROUNDS = 2.0, 4  # standard deviations from which a session counts less towards its level
_STEPS, _PRECISION = 30, 1e-4  # of a search for quantiles


@dataclass(frozen=True)
class Noise:
    """What is known of the noise of several series measured together: how probable every standard deviation is.

    Attributes:
        sds: candidates for the standard deviation of a session's own deviation, shape (grid,), log scale.
        prior: how probable they are for each series by what the others show, shape (series, grid).
        squares, degrees: squared deviations of each series itself and their degrees of freedom, shape (series,).
        shared: standard deviation of what a session does to all series alike.
        shared_most: the same, no less than what is usual where little is known.
        least: what is known to be there at least, shape (series,).
    """

    sds: Array
    prior: Array = field(repr=False)
    squares: Array
    degrees: Array
    shared: float
    shared_most: float
    least: Array

    @cached_property
    def weights(self) -> Array:
        """Probability of every standard deviation, shape (series, grid)."""
        product = self.prior * _likelihood(self.sds, self.squares, self.degrees)
        return np.asarray(product / product.sum(axis=1, keepdims=True))

    @cached_property
    def typical(self) -> float:
        """Root of the mean variance of the series, without what they share."""
        return math.sqrt(float((self.weights * self.sds**2).sum(axis=1).mean()))

    @property
    def sd(self) -> Array:
        """Standard deviation of a session about its level, shape (series,)."""
        return np.asarray(np.sqrt((self.weights * self._total(self.shared) ** 2).sum(axis=1)))

    def quantiles(self, tail: ArrayLike, *, shared: Array | None = None) -> Array:
        """What a session exceeds with probability ``tail``, shape (series,).

        Args:
            tail: below a half, of all series or of each.
            shared: standard deviation of what all series share, where that is known better, shape (series,).
        """
        from scipy.special import ndtr, ndtri

        sds = self._total(self.shared if shared is None else shared[:, None])
        normal = -np.asarray(ndtri(tail))
        guess = np.sqrt((self.weights * sds**2).sum(axis=1)) * normal
        low, high = np.zeros(len(guess)), np.broadcast_to(sds.max() * normal, guess.shape)
        for _ in range(_STEPS):  # Newton's method on the logarithm, kept within bounds
            z = guess[:, None] / sds
            beyond = (self.weights * ndtr(-z)).sum(axis=1)
            density = (self.weights * np.exp(-(z**2) / 2) / sds).sum(axis=1) / math.sqrt(2 * math.pi)
            low, high = np.where(beyond > tail, guess, low), np.where(beyond > tail, high, guess)
            tiny = np.finfo(float).tiny
            better = guess + beyond * np.log(np.maximum(beyond, tiny) / tail) / np.maximum(density, tiny)
            better = np.where((better > low) & (better < high), better, (low + high) / 2)
            close, guess = bool((np.abs(better - guess) <= _PRECISION * guess).all()), better
            if close:
                break
        return np.asarray(guess)

    def tails(self, shifts: Array, *, shared: Array | None = None) -> Array:
        """Probability that a session exceeds its level by ``shifts``, shape (series, any)."""
        from scipy.special import ndtr

        sds = self._total(self.shared if shared is None else shared[:, None])
        return np.asarray((self.weights[:, None, :] * ndtr(-shifts[:, :, None] / sds[:, None, :])).sum(axis=2))

    def only(self, rows: NDArray[np.int64]) -> Noise:
        """Noise of some series alone."""
        nothing = np.zeros(len(rows))
        return self.of(rows.tolist(), nothing, nothing, nothing)

    def of(self, rows: Sequence[int], squares: Array, degrees: Array, least: Array) -> Noise:
        """Noise of some series, with further squared deviations of theirs and what is there at least."""
        at = np.array(rows, dtype=np.int64)
        return replace(
            self,
            prior=self.prior[at],
            squares=self.squares[at] + squares,
            degrees=self.degrees[at] + degrees,
            least=np.maximum(self.least[at], least),
        )

    def _total(self, shared: float | Array) -> Array:
        return np.maximum(np.sqrt(self.sds[None, :] ** 2 + shared**2), self.least[:, None])


def session_noise(logs: Array, levels: NDArray[np.int64]) -> Noise | None:
    """Noise of several series measured together, within their levels; None with too few sessions to tell.

    A deviation has a part that all series of a session share and a part of its own. The standard deviations of the own
    parts are log-normal over the series, about a centre and with a spread that are not known; every centre and spread
    counts by how well it explains the others, so that a series is taken for as noisy as its own sessions and its
    neighbours allow, and a series of few sessions has the heavy tails that not knowing gives.

    Args:
        logs: log centres, shape (series, sessions), NaN where a session lacks the series.
        levels: number of the level that each belongs to, same shape; a change from one to the next is no noise.

    Source: Efron and Morris (1973), "Stein's estimation rule and its competitors: an empirical Bayes approach"; Lu and
    Stephens (2016), variance adaptive shrinkage, doi:10.1093/bioinformatics/btw483.
    """
    residuals, degrees = _within_levels(logs, levels)
    if degrees.sum() < _LEAST_DEGREES:
        return None
    known = ~np.isnan(residuals)
    values = np.where(known, residuals, 0.0)
    several = int((degrees > 0).sum())
    own_share = 1 - 1 / several if several > 1 else 1.0
    common = values.sum(axis=0) / np.maximum(1, known.sum(axis=0)) if several > 1 else np.zeros(logs.shape[1])
    squares = (np.where(known, residuals - common, 0.0) ** 2).sum(axis=1)
    own_degrees = degrees * own_share
    pooled = math.sqrt(float(squares.sum() / own_degrees.sum())) or float(np.finfo(float).tiny) ** 0.25
    shared = math.sqrt(float((common**2).sum()) / (degrees.sum() / several))
    noise = Noise(
        pooled * np.exp(_GRID),
        _prior(pooled * np.exp(_GRID), squares, own_degrees),
        squares,
        own_degrees,
        shared,
        shared,
        np.zeros(len(logs)),
    )
    if several == 1:
        return noise
    usual = _SHARED_DEGREES * (_SHARED_RATIO * noise.typical) ** 2
    known_degrees = degrees.sum() / several
    most = math.sqrt((usual + known_degrees * shared**2) / (_SHARED_DEGREES + known_degrees))
    return replace(noise, shared_most=most)


def level_of(logs: Sequence[float], sd: float | None) -> float:
    """Centre of the sessions of one level: their mean, sessions far off counting less.

    Args:
        logs: of the sessions.
        sd: of a session about its level; None: not known, all count alike.

    Source: Huber (1964), "Robust estimation of a location parameter".
    """
    if not sd or len(logs) < 3:
        return fmean(logs)
    centre = median(logs)
    for _ in range(_ROUNDS):
        weights = [min(1.0, _HUBER * sd / max(abs(log - centre), sd)) for log in logs]
        centre = sum(map(mul, logs, weights)) / sum(weights)
    return centre


def _within_levels(logs: Array, levels: NDArray[np.int64]) -> tuple[Array, Array]:
    """Deviations from the mean of the level, NaN where it has one session; and degrees of freedom per series."""
    residuals, degrees = np.full(logs.shape, np.nan), np.zeros(len(logs))
    for row, (series, numbers) in enumerate(zip(logs, levels, strict=True)):
        for level in range(int(numbers[0]), int(numbers[-1]) + 1):
            at = (numbers == level) & ~np.isnan(series)
            if (count := at.sum()) > 1:
                residuals[row, at] = series[at] - series[at].sum() / count
                degrees[row] += count - 1
    return residuals, degrees


def _prior(sds: Array, squares: Array, degrees: Array) -> Array:
    """How probable every standard deviation is for each series by what all the others show, shape (series, grid)."""
    shapes, logs = _shapes()
    fits = np.log(np.maximum(_likelihood(sds, squares, degrees) @ shapes.T, np.finfo(float).tiny))
    others = logs + fits.sum(axis=0) - fits
    return np.asarray(np.exp(others - others.max(axis=1, keepdims=True)) @ shapes)


def _likelihood(sds: Array, squares: Array, degrees: Array) -> Array:
    """Of every standard deviation by the deviations of each series, the largest being 1, shape (series, grid)."""
    logs = -degrees[:, None] * np.log(sds) - squares[:, None] / 2 / sds**2
    return np.asarray(np.exp(logs - logs.max(axis=1, keepdims=True)))


@lru_cache(maxsize=1)
def _shapes() -> tuple[Array, Array]:
    """Distributions of log standard deviations, shape (shapes, grid), and the logarithm of how usual each is."""
    spreads, centres = (grid.ravel() for grid in np.meshgrid(_SPREADS, _CENTRES, indexing="ij"))
    shapes = np.exp(-(((_GRID - centres[:, None]) / spreads[:, None]) ** 2) / 2)
    return shapes / shapes.sum(axis=1, keepdims=True), -((spreads / _USUAL_SPREAD) ** 2) / 2
