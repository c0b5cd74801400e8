"""Where a result lies now: which of its sessions are of its present level, as far as they and what was accepted say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.measure.sessions import level_of
from harness.measure.stats import Array

_CHANGED, _MOVED = 0.5, 0.1  # how probably a result changed that was accepted as changed, and any other
_STEP = 0.1  # standard deviation of the levels of a result, log scale
_FAR, _TIMES = 0.02, 4.0  # how probably a session is far off, and how many times further than the others
_FEW = 5  # sessions of a level that may mostly be far off


class Stretch(NamedTuple):
    """Sessions that may be all of the present level: their log seconds, and how probable it is."""

    logs: tuple[float, ...]
    probability: float


class Centres(NamedTuple):
    """Where a level may lie: log seconds, of how many sessions each is as certain, how probable; shape (any,)."""

    logs: Array
    sessions: Array
    probability: Array


@dataclass(frozen=True)
class Level:
    """Where a result lies since its last change: the centre of its log seconds over ``sessions``.

    Attributes:
        before: the level that the last change left; None where there was none.
        stretches: what else may be the level: a change that was accepted for a result may have moved its neighbours,
            and what was accepted may have been noise.
    """

    log: float
    sessions: int
    before: float | None
    stretches: tuple[Stretch, ...]


def level_since(logs: Sequence[float], sd: float | None, own: Sequence[int], others: Sequence[int]) -> Level:
    """The present level of a result.

    Args:
        logs: by session, NaN where one lacks it.
        sd: of a session about its level; None: not known, the last change of its own began the level.
        own: sessions at which it was accepted as changed.
        others: sessions at which other results were.

    Source: Barry and Hartigan (1992), "Product partition models for change point problems", with known places.
    """
    odds = {} if sd is None else dict.fromkeys(others, _MOVED)
    odds |= dict.fromkeys(own, 1.0 if sd is None else _CHANGED)
    odds[0] = 1.0
    starts = sorted(start for start in odds if start < len(logs))
    weights = _weights(logs, sd, [(start, odds[start]) for start in starts])
    stretches = [
        (at, Stretch(tuple(values), weight))
        for at, weight in enumerate(weights)
        if weight and (values := _known(logs[starts[at] :]))
    ]
    at, best = max(stretches, key=lambda stretch: stretch[1].probability)
    earlier = _known(logs[starts[at - 1] : starts[at]]) if at else []
    before = level_of(earlier, sd) if earlier else None
    return Level(level_of(best.logs, sd), len(best.logs), before, tuple(stretch for _, stretch in stretches))


def centres(level: Level, sd: float) -> Centres:
    """Where a level may lie: over its stretches, and over which of their sessions may be far off.

    Of a few sessions two can be far off to the same side by chance, and then the third alone shows the level. Of many
    the centre goes by most.

    Args:
        level: with its stretches.
        sd: of a session about its level.

    Source: Box and Tiao (1968), "A Bayesian approach to some outlier problems", Biometrika 55(1).
    """
    parts = [_centres(stretch, sd) for stretch in level.stretches]
    return Centres(*map(np.concatenate, zip(*parts, strict=True)))


def _centres(stretch: Stretch, sd: float) -> Centres:
    count, values = len(stretch.logs), np.array(stretch.logs)
    if count > _FEW:
        return Centres(
            np.array([level_of(stretch.logs, sd)]), np.array([float(count)]), np.array([stretch.probability])
        )
    far = _which(count)
    weights = np.where(far, _TIMES**-2, 1.0)
    sessions = weights.sum(axis=1)
    logs = weights @ values / sessions
    misfit = (weights * (values - logs[:, None]) ** 2).sum(axis=1) / sd**2
    odds = np.where(far, math.log(_FAR), math.log1p(-_FAR)).sum(axis=1)
    fit = odds + (np.log(weights).sum(axis=1) - np.log(sessions) - misfit) / 2
    shares = np.exp(fit - fit.max())
    return Centres(logs, sessions, stretch.probability * shares / shares.sum())


@lru_cache(maxsize=_FEW)
def _which(count: int) -> NDArray[np.bool_]:
    """Every choice among so many sessions, shape (choices, count)."""
    return np.array(list(product((False, True), repeat=count)), dtype=np.bool_)


def _weights(logs: Sequence[float], sd: float | None, starts: Sequence[tuple[int, float]]) -> list[float]:
    """How probably each of the starts began the present level, given how probable a change was there beforehand."""
    centre = fmean(_known(logs))
    ends = [start for start, _ in starts[1:]] + [len(logs)]
    total, weights = [0.0], [0.0]  # log evidence of the sessions before each start; of each start as the last
    for last, end in enumerate(ends):
        weights = []
        for first in range(last + 1):
            unchanged = sum(math.log1p(-odds) if odds < 1 else -math.inf for _, odds in starts[first + 1 : last + 1])
            fit = _fit(_known(logs[starts[first][0] : end]), sd, centre) if sd else 0.0
            weights.append(total[first] + math.log(starts[first][1]) + unchanged + fit)
        most = max(weights)
        total.append(most + math.log(math.fsum(math.exp(weight - most) for weight in weights)))
    return [math.exp(weight - total[-1]) for weight in weights]


def _fit(values: Sequence[float], sd: float, centre: float) -> float:
    """Log probability density of sessions about a level that is not known itself, but for a constant."""
    if not values:
        return 0.0
    count, mean = len(values), fmean(values)
    spread = math.fsum((value - mean) ** 2 for value in values) / sd**2
    of_mean = _STEP**2 + sd**2 / count
    return -(spread + (mean - centre) ** 2 / of_mean + math.log(of_mean * count / sd**2)) / 2


def _known(logs: Sequence[float]) -> list[float]:
    return [log for log in logs if not math.isnan(log)]
