"""The highest rate that meets a latency bound, estimated from all trials, on a machine whose own speed drifts.

Close to the limit a trial is met by chance, and the limit moves with the speed of the machine. So each trial is set and
counted relative to a reference that is measured before and after it (its load), and the limit is estimated from all
trials: they update what is believed of a logistic curve of the load, and the next is set where the limit is believed
to be (QUEST: Watson and Pelli 1983, 10.3758/BF03202828, with the spread of the curve not known beforehand).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MET = 0.75  # share of the trials that meet the bound at the rate that is published
_LOWEST, _HIGHEST = 0.02, 1.6  # loads; a server that fails at the lowest is not searched for
_POINTS = 1800  # of the logarithm of the load: steps of a quarter of a percent
_SPREADS = np.geomspace(0.002, 0.05, 7)  # of the curve, in the logarithm of the load
_LAPSE = 0.02  # of the trials say the contrary, whatever the load
_LEAST, _MOST = 10, 40  # trials
_INTERVAL = (0.025, 0.5, 0.975)
_STEADY = 0.1  # of the reference: what it may change by around a trial
_DISTURBED_LOAD = 4  # trials at a load in a row that say nothing: the generator may be what cannot
_EDGE = 1.15
_DRIFT = 1.25  # of the range of the references: how far from one search the machine is in another, by simulation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """A trial that said something.

    Attributes:
        rate: per second.
        load: relative to the reference next to it.
        met: whether the bound held.
    """

    rate: float
    load: float
    met: bool


@dataclass(frozen=True)
class RateEstimate:
    """Outcome of a search.

    Attributes:
        load: at which the bound is met in three trials of four, relative to the reference; None when even the lowest
            load missed it, or nothing could be decided.
        load_low, load_high: ends of its interval of 95 %.
        references: in order, one more than there were trials.
        tried: the trials that said something, in order.
        disturbed: the others.
        undecided: so many were disturbed that there is no rate.
    """

    load: float | None
    load_low: float | None
    load_high: float | None
    references: tuple[float, ...]
    tried: tuple[Tried, ...]
    disturbed: int = 0
    undecided: bool = False

    @property
    def rate(self) -> float | None:
        """Per second, at the machine's middle speed during the search."""
        return None if self.load is None else self.load * float(np.median(self.references))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where nineteen of twenty repetitions find it: the load is uncertain, and the machine goes on drifting."""
        if self.load is None or self.load_low is None or self.load_high is None:
            return None
        middle = float(np.median(self.references))
        drift = _DRIFT * math.log(max(self.references) / min(self.references))
        below = math.hypot(math.log(self.load / self.load_low), drift)
        above = math.hypot(math.log(self.load_high / self.load), drift)
        return self.load * middle * math.exp(-below), self.load * middle * math.exp(above)


class _Belief:
    """What is believed of the load at which trials are met in three cases of four."""

    def __init__(self) -> None:
        loads = np.linspace(math.log(_LOWEST), math.log(_HIGHEST), _POINTS)
        self._middles, self._spreads = np.meshgrid(loads, _SPREADS, indexing="ij")
        self._limits = self._middles - self._spreads * math.log(MET / (1 - MET))
        self._weights: Floats = np.exp(self._middles) / len(_SPREADS)  # any load is as likely as any other
        self._order = np.argsort(self._limits, axis=None)

    def add(self, load: float, *, met: bool) -> None:
        """Take a trial into account."""
        below = np.clip((self._middles - math.log(load)) / self._spreads, -50.0, 50.0)
        likely = _LAPSE + (1 - 2 * _LAPSE) / (1 + np.exp(-below))
        self._weights = self._weights * (likely if met else 1 - likely)
        self._weights /= self._weights.sum()

    def quantiles(self) -> tuple[float, float, float]:
        """Of the load: the ends of its interval, and the middle in between."""
        summed = np.cumsum(self._weights.ravel()[self._order])
        places = np.searchsorted(summed, np.array(_INTERVAL) * summed[-1])
        low, middle, high = np.exp(self._limits.ravel()[self._order[np.minimum(places, len(summed) - 1)]]).tolist()
        return low, middle, high


def estimated_rate(
    meets_bound: Callable[[float], bool | None],
    reference: Callable[[], float],
    *,
    tolerance: float = 0.015,
    most_disturbed: int = 30,
) -> RateEstimate:
    """Search until the interval of the load is as narrow as ``tolerance`` to either side, or forty trials are made.

    Args:
        meets_bound: measures at one rate; noisy. None when something else than what is measured was at work: the trial
            is repeated and does not count.
        reference: how fast the machine does what is measured now, per second; it takes little time.
        tolerance: relative.
        most_disturbed: trials that may say nothing before the search is given up.
    """
    belief, tried, references = _Belief(), list[Tried](), [reference()]
    if references[0] <= 0:
        return RateEstimate(None, None, None, tuple(references), ())
    disturbed = in_a_row = 0
    unable = math.inf  # a load at which no trial said anything
    low, load, high = belief.quantiles()
    while len(tried) < _MOST and not (len(tried) >= _LEAST and high / low <= (1 + tolerance) ** 2):
        rate = load * references[-1]
        outcome = meets_bound(rate)
        before, after = references[-1], reference() or references[-1]
        references.append(after)
        speed = math.sqrt(before * after)
        if abs(math.log(after / before)) > _STEADY:
            outcome = None
        if outcome is None:
            disturbed, in_a_row = disturbed + 1, in_a_row + 1
            if disturbed > most_disturbed:
                return RateEstimate(None, None, None, tuple(references), tuple(tried), disturbed, undecided=True)
            if in_a_row < _DISTURBED_LOAD and load < unable:
                continue
            unable, outcome = min(unable, load), False
        in_a_row = 0
        tried.append(Tried(rate, rate / speed, outcome))
        belief.add(rate / speed, met=outcome)
        low, load, high = belief.quantiles()
        if len(tried) >= _LEAST and high < _EDGE * _LOWEST:
            break
    none = not any(each.met for each in tried)
    if none:
        undecided = unable < math.inf
        return RateEstimate(None, None, None, tuple(references), tuple(tried), disturbed, undecided)
    return RateEstimate(load, low, high, tuple(references), tuple(tried), disturbed)
