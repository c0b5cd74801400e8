"""Tail percentiles, given only where the number of requests allows one to be stated at 99 % confidence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.measure.sampling import Samples

PERCENTILES = {"p50_s": 50.0, "p90_s": 90.0, "p95_s": 95.0, "p99_s": 99.0, "p99_9_s": 99.9}
"""Of latencies that are reported: metric -> per cent."""

_RISK = 0.01
_POINTS = 120  # of a curve


@dataclass(frozen=True)
class Percentile:
    """An upper confidence limit of a latency percentile, or why there is none.

    Attributes:
        percentile: in (0, 100).
        value_s: seconds; None when not estimable.
        requests: how many requests were made.
        needed: the fewest requests from which this percentile is given.
        batched: the durations are means over several calls, which have no percentiles of a request.
    """

    percentile: float
    value_s: float | None
    requests: int
    needed: int
    batched: bool = False

    @property
    def note(self) -> str | None:
        """Why there is no value; None when there is one."""
        if self.value_s is not None:
            return None
        name, were = f"p{self.percentile:g}", "was" if self.requests == 1 else "were"
        if self.batched:
            return f"{name} not estimable: one request is too short to be timed on its own"
        return f"{name} needs {self.needed} requests, {self.requests} {were} made: {self.needed - self.requests} more"


def percentile(samples: Samples, percent: float) -> Percentile:
    """The order statistic that is at least the true percentile with 99 % confidence.

    All samples count, disturbed or not: a tail without its causes is not the tail a client sees. With ``t`` the largest
    number of over-latency requests the count allows (:func:`requests_needed`), the estimate is the t-th largest
    latency, which is pessimistic.

    Source: MLPerf Inference rules, appendix "Early Stopping Criterion".
    """
    requests, needed = len(samples), requests_needed(percent)
    if samples.inner > 1:
        return Percentile(percent, None, requests, needed, batched=True)
    if requests < needed:
        return Percentile(percent, None, requests, needed)
    position = requests - _overlatency_allowed(requests, percent)
    value = np.partition(samples.durations_ns, position)[position]
    return Percentile(percent, float(value) * 1e-9, requests, needed)


@lru_cache
def requests_needed(percent: float, overlatency: int = 1) -> int:
    """Fewest requests with which ``overlatency`` slow ones still show the percentile is met, at 99 % confidence.

    The smallest n with P[Binomial(n, 1 - percent/100) <= overlatency] <= 0.01: 64 for p90, 662 for p99.
    """
    if not 0 < percent < 100:
        raise ValueError(f"percent must be between 0 and 100, got {percent:g}")
    low, high = overlatency, overlatency + 1
    while not _confident(high, percent, overlatency):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _confident(middle, percent, overlatency) else (middle, high)
    return high


def _overlatency_allowed(requests: int, percent: float) -> int:
    """The largest number of over-latency requests among ``requests``; at least 1 (the caller checked)."""
    low, high = 1, requests
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _confident(requests, percent, middle) else (low, middle)
    return low


def _confident(requests: int, percent: float, overlatency: int) -> bool:
    from scipy.special import bdtr

    return bool(bdtr(overlatency, requests, 1 - percent / 100) <= _RISK)


def ecdf(durations: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most ``_POINTS`` steps of the empirical distribution function, closer together in the tails."""
    ordered = np.sort(np.asarray(durations, dtype=np.float64))
    last = len(ordered) - 1
    if last < _POINTS:
        ranks = np.arange(len(ordered))
    else:
        tail = np.geomspace(1 / len(ordered), 0.05, _POINTS // 3)
        shares = np.concatenate([[0.0], tail, np.linspace(0.05, 0.95, _POINTS // 3), 1 - tail, [1.0]])
        ranks = np.unique(np.round(shares * last).astype(np.int64))
    return ordered[ranks], (ranks + 1) / len(ordered)
