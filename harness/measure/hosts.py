"""Which of many alike hosts is out of line: rates of the same work, measured on all hosts in waves.

A wave is one measurement on each host. What a wave has in common (time of day, a shared network) is taken out, the
noise is estimated from all hosts together, and each host is held against the median of the others. A limit in standard
deviations of the hosts' means could not be reached in small fleets: the largest is (n - 1) / √n, 2.85 of ten hosts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.measure.stats import Array, holm, t_quantile

MARGIN = 0.03  # of a rate; a smaller difference does not matter
ALPHA = 0.05
_UNSTEADY = 4.0  # times the usual variance
_MEDIAN_VARIANCE = math.pi / 2  # of the median of many normal values, over that of their mean
_POWER = 0.90
_TINY = 1e-12  # of a logarithm: the noise of repeated equal figures


@dataclass(frozen=True)
class HostEffect:
    """How one host stands to the others.

    Attributes:
        effect: mean log ratio of its rate to the median of the others; negative is slower.
        low, high: two-sided 95 % limits.
        p_slow, p_fast: that it is slower, faster by more than the margin by chance; not adjusted for other hosts.
        sd: of one of its measurements, on the log scale.
        waves: in which it was measured.
        unsteady: its variance is beyond four times that of the others, so it is judged by its own.
    """

    effect: float
    low: float
    high: float
    p_slow: float
    p_fast: float
    sd: float
    waves: int
    unsteady: bool = False


@dataclass(frozen=True)
class HostComparison:
    """How the hosts of a population stand to each other.

    Attributes:
        hosts: in the order given; None where it cannot be said of a host.
        sd: of a measurement on a steady host, on the log scale.
        degrees: of freedom behind it; 0 where nothing can be said.
        waves: the fewest of any steady host.
    """

    hosts: tuple[HostEffect | None, ...]
    sd: float
    degrees: int
    waves: int

    def detectable(self, tests: int, *, margin: float = MARGIN) -> float | None:
        """Share by which a host must be slower to be named in nine of ten fleets, after Holm over so many tests."""
        steady = sum(host is not None and not host.unsteady for host in self.hosts)
        if self.degrees < 1 or steady < 2:
            return None
        quantiles = t_quantile(1 - 2 * ALPHA / max(1, tests), self.degrees) + t_quantile(2 * _POWER - 1, self.degrees)
        return -math.expm1(-(math.log1p(margin) + quantiles * self.sd * _spread(steady, self.waves)))


@dataclass(frozen=True)
class _Fit:
    """Additive fit of hosts and waves to logarithms: means of the hosts, effects of the waves, and what is left."""

    means: Array
    waves: Array
    residuals: Array
    degrees: int


def compare_hosts(rates: ArrayLike, *, margin: float = MARGIN) -> HostComparison:
    """Hold each host against the others.

    Args:
        rates: shape (hosts, waves); what is not a positive number counts as not measured.
        margin: share of a rate that matters.
    """
    values = np.atleast_2d(np.asarray(rates, dtype=float))
    logs = np.log(np.where(np.isfinite(values) & (values > 0), values, np.nan))
    measured = np.flatnonzero(np.isfinite(logs).any(axis=1))
    steady = measured
    nothing = HostComparison((None,) * len(logs), 0.0, 0, 0)
    fit = _fitted(logs[steady])
    if len(measured) < 2 or fit.degrees < 1:
        return nothing
    unsteady = _unsteady(fit)
    if unsteady.any() and (~unsteady).sum() >= 2:
        rest = _fitted(logs[measured[~unsteady]])
        if rest.degrees >= 1:
            steady, fit = measured[~unsteady], rest
    sd = max(_TINY, math.sqrt(float(np.nansum(fit.residuals**2)) / fit.degrees))
    relative = logs - fit.waves
    means = np.full(len(logs), np.nan)
    means[measured] = np.nanmean(relative[measured], axis=1)
    counts = np.isfinite(relative).sum(axis=1)
    hosts: list[HostEffect | None] = [None] * len(logs)
    for host in measured:
        own = host not in steady
        others = steady[steady != host]
        degrees = int(counts[host]) - 1 if own else fit.degrees
        if degrees < 1 or not np.isfinite(means[host]):
            continue
        of_host = max(sd, float(np.nanstd(relative[host], ddof=1))) if own else sd
        error = math.hypot(of_host / math.sqrt(counts[host]), sd * _median_error(len(others), counts[others]))
        effect = float(means[host] - np.median(means[others]))
        limit = t_quantile(0.95, degrees) * error
        hosts[host] = HostEffect(
            effect,
            effect - limit,
            effect + limit,
            _below((effect + math.log1p(margin)) / error, degrees),
            _below((math.log1p(margin) - effect) / error, degrees),
            of_host,
            int(counts[host]),
            own,
        )
    return HostComparison(tuple(hosts), sd, fit.degrees, int(counts[steady].min()))


def changes(before: ArrayLike, after: ArrayLike, *, margin: float = MARGIN) -> tuple[HostEffect | None, ...]:
    """How each host changed between two fleets in waves of their own, and last how all of them together did.

    Within a fleet the hosts share what a wave has in common, so that all together are judged by the means of the
    waves, each of which counts once however many hosts it has.

    Args:
        before, after: rates, shape (hosts, waves) each, the same hosts in the same order.
        margin: share of a rate that matters.

    Returns:
        Log ratios of after to before; None where nothing can be said.

    Source: Welch (1947), for either side's own variance.
    """
    sides = [np.atleast_2d(np.asarray(values, dtype=float)) for values in (before, after)]
    sides = [np.log(np.where(np.isfinite(values) & (values > 0), values, np.nan)) for values in sides]
    single = [_change(a[np.isfinite(a)], b[np.isfinite(b)], margin=margin) for a, b in zip(*sides, strict=True)]
    both = np.array([effect is not None for effect in single], dtype=bool)
    levels = []
    for logs in (logs[both] for logs in sides):
        waves = logs[:, np.isfinite(logs).any(axis=0)]
        fit = _fitted(waves)
        levels.append(fit.means.mean() + fit.waves if both.any() else np.empty(0))
    return *single, _change(levels[0], levels[1], margin=margin)


def _change(before: Array, after: Array, *, margin: float) -> HostEffect | None:
    if len(before) < 2 or len(after) < 2:
        return None
    parts = [max(_TINY**2, float(values.var(ddof=1))) / len(values) for values in (before, after)]
    error = math.sqrt(sum(parts))
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (before, after), strict=True)
    )
    effect = float(after.mean() - before.mean())
    limit = t_quantile(0.95, degrees) * error
    return HostEffect(
        effect,
        effect - limit,
        effect + limit,
        _below((effect + math.log1p(margin)) / error, degrees),
        _below((math.log1p(margin) - effect) / error, degrees),
        float(after.std(ddof=1)),
        len(after),
    )


def _fitted(logs: Array) -> _Fit:
    """Least squares of host + wave, with what was not measured left out; the effects of the waves sum to zero."""
    there = np.isfinite(logs).astype(float)
    filled = np.where(there > 0, logs, 0.0)
    counts = np.maximum(1.0, there.sum(axis=1))
    centred = there * (filled - (filled.sum(axis=1) / counts)[:, None])
    normal = np.diag(there.sum(axis=0)) - (there / counts[:, None]).T @ there
    waves = np.linalg.pinv(normal) @ centred.sum(axis=0)
    means = ((filled - there * waves).sum(axis=1)) / counts
    residuals = np.where(there > 0, logs - means[:, None] - waves, np.nan)
    rank = int(np.linalg.matrix_rank(normal)) if normal.size else 0  # NumPy before 2.3 has no rank of nothing
    degrees = int(there.sum()) - len(logs) - rank
    return _Fit(means, waves, residuals, degrees)


def _unsteady(fit: _Fit) -> NDArray[np.bool_]:
    """Hosts whose residual variance is beyond four times the usual one, by F tests under Holm."""
    from scipy.special import fdtrc

    hosts = len(fit.residuals)
    degrees = np.isfinite(fit.residuals).sum(axis=1) - 1
    if hosts < 3 or degrees.max() < 1:
        return np.zeros(hosts, dtype=bool)
    kept = (hosts - 1) / hosts  # of a host's variance in its residuals, the waves' effects being fitted too
    variances = np.nansum(fit.residuals**2, axis=1) / np.maximum(1, degrees * kept)
    usual = max(_TINY**2, float(np.median(variances[degrees > 0])))
    ratios = variances / (_UNSTEADY * usual)
    p = [float(fdtrc(d, fit.degrees, ratio)) if d > 0 else 1.0 for d, ratio in zip(degrees, ratios, strict=True)]
    return np.array(holm(p)) < ALPHA


def _spread(hosts: int, waves: int) -> float:
    return math.sqrt((1 + _MEDIAN_VARIANCE / (hosts - 1)) / max(1, waves))


def _median_error(hosts: int, counts: Sequence[int] | NDArray[np.int64]) -> float:
    """Standard error of the median of so many means, in standard deviations of a measurement."""
    return math.sqrt(_MEDIAN_VARIANCE / hosts * float(np.mean(1 / np.asarray(counts))))


def _below(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, t))
