"""Estimates and intervals. The process is the unit of inference; samples within one process only describe it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A centre with its confidence limits, which are None when there is one observation only."""

    centre: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Relative half-width: 0.02 means ± 2 % (on the log scale, so that it is the same up and down)."""
        if self.low is None or self.high is None:
            return None
        return math.expm1((math.log(self.high) - math.log(self.low)) / 2)


@dataclass(frozen=True)
class PairedEffect:
    """Effect of B against A over blocks that hold one process of each.

    Attributes:
        mean: mean log ratio; positive is slower (or worse) when the logs are of times.
        sd: standard deviation of the log ratios.
        low, high: two-sided 95 % limits of the mean.
        low90, high90: two-sided 90 % limits, which the equivalence test uses.
        blocks: number of pairs.
    """

    mean: float
    sd: float
    low: float
    high: float
    low90: float
    high90: float
    blocks: int

    @property
    def ratio(self) -> float:
        """B over A."""
        return math.exp(self.mean)


def interval_over_processes(estimates: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Geometric mean of positive per-process estimates with its t interval on the log scale.

    Source: Kalibera & Jones, arXiv 2007.10899; Hoefler & Belli, SC15, doi 10.1145/2807591.2807644.
    """
    logs = _logs(estimates)
    centre = float(logs.mean())
    if len(logs) < 2:
        return Interval(math.exp(centre), None, None, len(logs))
    half = t_quantile(confidence, len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half), len(logs))


def log_ratios(a: ArrayLike, b: ArrayLike) -> Array:
    """log(b / a) per block, shape (k,).

    Raises:
        ValueError: unequal lengths, or a value that is not finite and positive.
    """
    logs_a, logs_b = _logs(a), _logs(b)
    if logs_a.shape != logs_b.shape:
        raise ValueError(f"pairs need equal counts, got {len(logs_a)} and {len(logs_b)}")
    return logs_b - logs_a


def paired_effect(d: ArrayLike) -> PairedEffect:
    """Mean of the log ratios ``d``, shape (k,), k >= 2, with t limits on k - 1 degrees of freedom.

    Source: Kalibera & Jones, arXiv 2007.10899 (interval of a ratio at the level where the variance lives).
    """
    values = _finite(d)
    k = len(values)
    if k < 2:
        raise ValueError(f"an interval needs two blocks, got {k}")
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    error = sd / math.sqrt(k)
    half, half90 = t_quantile(0.95, k - 1) * error, t_quantile(0.90, k - 1) * error
    return PairedEffect(mean, sd, mean - half, mean + half, mean - half90, mean + half90, k)


def equivalence_p(d: ArrayLike, margin: float) -> float:
    """p of the two one-sided t-tests that |mean d| < log(1 + margin); small means equivalent.

    Below 0.05 exactly when the 90 % interval lies inside ± log(1 + margin).

    Source: Schuirmann (1987), the TOST procedure.
    """
    from scipy.special import stdtr

    effect, limit = paired_effect(d), math.log1p(margin)
    error = effect.sd / math.sqrt(effect.blocks)
    distance = limit - abs(effect.mean)
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(effect.blocks - 1, -distance / error))


def wilcoxon_p(d: ArrayLike, shift: float) -> float:
    """One-sided p of the signed-rank test that the log ratios lie above ``shift``; no normality assumed.

    Exact for any count, ties and zeros included: every assignment of signs to the mid-ranks that are there is equally
    likely, and their sums are counted one rank at a time.

    Source: Wilcoxon (1945), "Individual comparisons by ranking methods"; zeros are left out, as there.
    """
    moved = _finite(d) - shift
    moved = moved[moved != 0]
    if not len(moved):
        return 1.0
    _, group, sizes = np.unique(np.abs(moved), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(sizes) - sizes + 1)[group]  # mid-ranks are halves of whole numbers
    shares = np.zeros(int(doubled.sum()) + 1)
    shares[0] = 1.0
    for rank in doubled.tolist():
        shares = 0.5 * (shares + np.concatenate([np.zeros(rank), shares[:-rank]]))
    return float(min(1.0, shares[int(doubled[moved > 0].sum()) :].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for a family of comparisons, in the order given.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def noise_floor(d: ArrayLike, *, seed: int, flips: int = 2000, percent: float = 95.0) -> float:
    """Smallest relative effect that stands out from this machine's noise, from A/A log ratios ``d``, shape (k,).

    The 95th percentile of |mean d| over random sign flips: under "same code on both sides" a ratio and its inverse are
    equally likely. As a ratio minus one: 0.03 is 3 %. It holds for comparisons over the same number of blocks.

    Source: Fisher's randomisation test for paired data (The Design of Experiments, 1935).
    """
    return float(noise_floors(_finite(d)[None, :], seed=seed, flips=flips, percent=percent)[0])


def noise_floors(ratios: Array, *, seed: int, flips: int = 2000, percent: float = 95.0) -> Array:
    """The noise floor of each of several series of A/A log ratios, shape (series, k) -> (series,)."""
    means = np.abs(ratios @ _signs(seed, flips, ratios.shape[1])) / ratios.shape[1]
    return np.asarray(np.expm1(np.percentile(means, percent, axis=1)))


@lru_cache(maxsize=8)
def _signs(seed: int, flips: int, count: int) -> Array:
    """Random signs, shape (count, flips)."""
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(flips, count)).T


def t_quantile(confidence: float, degrees: float) -> float:
    """Two-sided quantile of Student's t: the interval is centre ± quantile x standard error."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _logs(values: ArrayLike) -> Array:
    array = _finite(values)
    if (array <= 0).any():
        raise ValueError("estimates must be positive")
    return np.asarray(np.log(array))


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"expected a non-empty one-dimensional series, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    return array
