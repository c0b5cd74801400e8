"""The figures that pytest-benchmark shows of a benchmark's rounds, by its own definitions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RoundStats:
    """Seconds, but for counts and ``ops``, which is per second; the names are the format's."""

    min: float
    max: float
    mean: float
    stddev: float
    rounds: int
    median: float
    iqr: float
    q1: float
    q3: float
    iqr_outliers: int
    stddev_outliers: int
    outliers: str
    ld15iqr: float
    hd15iqr: float
    ops: float
    total: float
    data: tuple[float, ...]
    iterations: int = 1


def round_stats(data: Sequence[float]) -> RoundStats:
    """Statistics of rounds in seconds; quartiles are Tukey's, medians of the halves.

    Source: pytest_benchmark/stats.py, class Stats.
    """
    ordered, n = sorted(data), len(data)
    mean = statistics.fmean(data)
    stddev = statistics.stdev(data) if n > 1 else 0.0
    q1 = statistics.median(ordered[: (n + 1) // 2])
    q3 = statistics.median(ordered[n // 2 :])
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(not mean - stddev <= value <= mean + stddev for value in data)
    outliers = sum(not low <= value <= high for value in data)
    return RoundStats(
        min=ordered[0],
        max=ordered[-1],
        mean=mean,
        stddev=stddev,
        rounds=n,
        median=statistics.median(data),
        iqr=q3 - q1,
        q1=q1,
        q3=q3,
        iqr_outliers=outliers,
        stddev_outliers=far,
        outliers=f"{far};{outliers}",
        ld15iqr=min(value for value in ordered if value >= low),
        hd15iqr=max(value for value in ordered if value <= high),
        ops=n / sum(data),
        total=sum(data),
        data=tuple(data),
    )
