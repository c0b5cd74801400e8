"""The highest rate that meets a latency bound, estimated from all trials, on a machine whose own speed drifts.

Close to the limit a trial is met by chance, and the limit moves with the speed of the machine. So each trial is set and
counted relative to a reference that is measured before and after it (its load), and the limit is estimated from all
trials: they update what is believed of a logistic curve of the load, and the next is set where the limit is believed
to be (QUEST: Watson and Pelli 1983, 10.3758/BF03202828, with the spread of the curve not known beforehand).

A pause of the machine makes a trial miss far below the limit. How often is estimated as well, because a curve with a
fixed share of such misses takes each for a limit that is lower (Wichmann and Hill 2001, 10.3758/BF03194544).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_LOWEST, _HIGHEST = 0.02, 1.6  # loads
_POINTS = 1800  # of the logarithm of the load: steps of a quarter of a percent
_SPREADS = np.geomspace(0.002, 0.15, 8)  # of the curve, in the logarithm of the load
_MET_ANYWAY = 0.02  # of the trials, whatever the load
_MISSED_ANYWAY = np.array([0.005, 0.02, 0.06, 0.15, 0.3, 0.5])  # of the trials, whatever the load: one of these shares
_LIKELY = np.array([0.3, 0.25, 0.2, 0.12, 0.08, 0.05])  # each of them, before there are trials
_LEAST = 10  # trials
_FIRST, _EVERY, _BELOW = 8, 4, 0.75  # after so many, one of so many is set so far below: it says how many miss anyway
_INTERVAL = (0.025, 0.5, 0.975)
_STEADY = 0.1  # of the reference: what it may change by around a trial
_DISTURBED_LOAD = 4  # trials at a load in a row that say nothing: the generator may be what cannot
_EDGE = 1.5  # of the lowest load: where ten misses end a search without a rate
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


@dataclass(frozen=True, kw_only=True)
class RateEstimate:
    """Outcome of a search.

    Attributes:
        load: relative to the reference, at which half of the trials meet the bound that do not miss it at any load;
            None when even the lowest load missed it, or nothing could be decided.
        load_low, load_high: ends of its interval of 95 %.
        missed_anyway: share of the trials that miss the bound at any load, because machine or server paused.
        references: in order, one more than there were trials.
        tried: the trials that said something, in order.
        disturbed: the others.
        undecided: so many were disturbed that there is no rate.
    """

    load: float | None = None
    load_low: float | None = None
    load_high: float | None = None
    missed_anyway: float | None = None
    references: tuple[float, ...] = ()
    tried: tuple[Tried, ...] = ()
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
    """What is believed of the middle of the curve: its weights by load, spread and share of misses at any load."""

    def __init__(self, lowest: float) -> None:
        self._loads = np.linspace(math.log(lowest), math.log(_HIGHEST), _POINTS)
        by_load = np.exp(self._loads)[:, None, None]  # any load is as likely as any other
        self._weights: Floats = np.broadcast_to(by_load * _LIKELY, (_POINTS, len(_SPREADS), len(_LIKELY))).copy()
        self._weights /= self._weights.sum()

    def add(self, load: float, *, met: bool) -> None:
        """Take a trial into account."""
        below = np.clip((self._loads[:, None] - math.log(load)) / _SPREADS, -50.0, 50.0)
        curve = 1 / (1 + np.exp(-below))
        likely = _MET_ANYWAY + (1 - _MET_ANYWAY - _MISSED_ANYWAY) * curve[:, :, None]
        self._weights *= likely if met else 1 - likely
        self._weights /= self._weights.sum()

    def quantiles(self) -> tuple[float, float, float]:
        """Of the load: the ends of its interval, and the middle in between."""
        summed = np.cumsum(self._weights.sum(axis=(1, 2)))
        places = np.searchsorted(summed, _INTERVAL)
        low, middle, high = np.exp(self._loads[np.minimum(places, _POINTS - 1)]).tolist()
        return low, middle, high

    def next_load(self) -> float:
        """Where the next trial is set: the mean, which is above the middle as long as much of what is above is open."""
        return float(self._weights.sum(axis=(1, 2)) @ np.exp(self._loads))

    def missed_anyway(self) -> float:
        """Share of the trials that miss the bound at any load."""
        return float(self._weights.sum(axis=(0, 1)) @ _MISSED_ANYWAY)


def estimated_rate(
    meets_bound: Callable[[float], bool | None],
    reference: Callable[[], float],
    *,
    lowest: float = _LOWEST,
    tolerance: float = 0.015,
    most: int = 60,
    most_disturbed: int = 30,
    time_left: Callable[[], bool] = lambda: True,
) -> RateEstimate:
    """Search until the interval of the load is as narrow as ``tolerance`` to either side, or ``most`` trials are made.

    Args:
        meets_bound: measures at one rate; noisy. None when something else than what is measured was at work: the trial
            is repeated and does not count.
        reference: how fast the machine does what is measured now, per second; it takes little time.
        lowest: load; a server that fails at it is not searched for.
        tolerance: relative.
        most: trials that say something.
        most_disturbed: trials that may say nothing before the search is given up.
        time_left: whether there is for another trial; the answer without one is that of ten trials, or undecided.
    """
    belief, tried, references = _Belief(lowest), list[Tried](), [reference()]
    disturbed = in_a_row = 0
    unable = math.inf  # a load at which no trial said anything
    low, middle, high = belief.quantiles()
    none = True
    if references[0] <= 0:
        return RateEstimate(references=tuple(references))
    while time_left() and len(tried) < most and not (len(tried) >= _LEAST and high / low <= (1 + tolerance) ** 2):
        load = belief.next_load()
        if len(tried) >= _FIRST and len(tried) % _EVERY == _EVERY - 1:
            load *= _BELOW
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
                break
            if in_a_row < _DISTURBED_LOAD and load < unable / (1 + tolerance):
                continue
            unable, outcome = min(unable, load), False
        in_a_row = 0
        tried.append(Tried(rate, rate / speed, outcome))
        belief.add(rate / speed, met=outcome)
        low, middle, high = belief.quantiles()
        none = not any(each.met for each in tried)
        if none and len(tried) >= _LEAST and belief.next_load() < _EDGE * lowest:
            break
    done = RateEstimate(references=tuple(references), tried=tuple(tried), disturbed=disturbed)
    cut = len(tried) < _LEAST or disturbed > most_disturbed
    if cut or none:
        return replace(done, undecided=cut or unable < math.inf)
    return replace(done, load=middle, load_low=low, load_high=high, missed_anyway=belief.missed_anyway())
