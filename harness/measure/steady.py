"""Warm-up is tested for, not assumed: where a series settles, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_SAMPLES = 60  # below this the drift flag misses most drifts
PILOT_SAMPLES = 100
MAX_DOUBLING = 4
_WINDOW = 5
_BATCH = 5
_LATE_SHARE = 0.8


@dataclass(frozen=True)
class Steady:
    """Outcome of the test on one series.

    Attributes:
        cut: leading samples that belong to the warm-up.
        steady: whether the series settles within the range searched.
        tested: False when the series was too short to tell; ``steady`` is then False too.
    """

    cut: int
    steady: bool
    tested: bool = True


def steady_state(durations: ArrayLike) -> Steady:
    """Find where the warm-up of a series ends by MSER-5 on its running median of 5.

    The cut minimises the squared standard error of what is left, over the first half of the series. A cut in the last
    20 % of that range means that no cut would do: the series drifts. The median filter keeps isolated disturbed samples
    from hiding a slow drift or an exponential approach.

    Args:
        durations: shape (n,), any unit, in order of measurement.

    Source: White (1997), "An effective truncation heuristic for bias reduction in simulation output" (MSER-5);
    testing rather than assuming steady state: Barrett et al., arXiv 1602.00602.
    """
    series = np.asarray(durations, dtype=np.float64)
    if len(series) < MIN_SAMPLES:
        return Steady(cut=0, steady=False, tested=False)
    smooth = _running_median(series)
    batches = smooth[: len(smooth) // _BATCH * _BATCH].reshape(-1, _BATCH).mean(axis=1)
    search = len(batches) // 2
    errors = [np.var(batches[first:]) / (len(batches) - first) for first in range(search)]
    best = int(np.argmin(errors))
    return Steady(cut=best * _BATCH, steady=best < _LATE_SHARE * search)


def next_pilot(samples: int, outcome: Steady, *, initial: int = PILOT_SAMPLES) -> int | None:
    """Length to which a pilot of ``samples`` must grow: double while unsteady, at most four times ``initial``.

    Returns None when the pilot is long enough, steady or not.
    """
    if outcome.steady or samples >= MAX_DOUBLING * initial:
        return None
    return min(2 * samples, MAX_DOUBLING * initial)


def _running_median(series: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(series, _WINDOW // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW), axis=1))
