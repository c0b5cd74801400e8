"""The highest request rate that meets a latency bound: searched for, then confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

CONFIRMATIONS = 3
_MAX_STEPS = 60
_DISTURBED_STEP = 4  # of a rate, after which a lower one is tried: the generator may be what cannot
# Down from a rate that was not confirmed. Around the answer a trial is met by chance, long steps would publish that;
# they grow, so that a machine too noisy for the first rates has an answer within the steps that there are.
_STEP = 0.5  # of the tolerance
_STEP_GROWTH = 1.15


@dataclass(frozen=True)
class Step:
    """A rate, and whether it met the bound.

    Attributes:
        rate: per second.
        met: what was decided.
        trials: numbers of the trials that decided it, from 0; those that were disturbed are none of them.
        disturbed: every trial was, so that it is not known whether the bound is met.
    """

    rate: float
    met: bool
    trials: tuple[int, ...]
    disturbed: bool = False


@dataclass(frozen=True)
class RateSearch:
    """Outcome of a search.

    Attributes:
        rate: highest confirmed rate per second; None when not even the lowest rate tried met the bound, or nothing
            could be decided.
        missed: lowest rate above it that did not meet the bound; the highest rate that does is in between.
        steps: every rate decided, in order.
        disturbed: trials that said nothing, and were repeated.
        undecided: so many were disturbed that there is no rate.
    """

    rate: float | None
    missed: float | None
    steps: tuple[Step, ...]
    disturbed: int = 0
    undecided: bool = False

    @property
    def tried(self) -> tuple[tuple[float, bool], ...]:
        """Rates with what was decided."""
        return tuple((step.rate, step.met) for step in self.steps)


class _DisturbedError(Exception):
    pass


class _Steps:
    """Rates decided by trials."""

    def __init__(self, meets_bound: Callable[[float], bool | None], misses: int, most_disturbed: int) -> None:
        self._meets_bound, self._misses, self._most_disturbed = meets_bound, misses, most_disturbed
        self.done: list[Step] = []
        self.disturbed = 0
        self._trials = 0

    def left(self) -> bool:
        """Whether another may be taken."""
        return len(self.done) < _MAX_STEPS

    def met(self, rate: float) -> bool:
        """Whether a rate meets the bound: at the first trial, or in most of as many as a miss takes to be believed."""
        votes: list[int] = []  # trials
        hits = disturbed = 0
        while len(votes) - hits < self._misses:
            outcome = self._meets_bound(rate)
            self._trials += 1
            if outcome is None:
                self.disturbed += 1
                disturbed += 1
                if self.disturbed > self._most_disturbed:
                    raise _DisturbedError
                if disturbed == _DISTURBED_STEP:
                    self.done.append(Step(rate, met=False, trials=tuple(votes), disturbed=True))
                    return False
                continue
            votes.append(self._trials - 1)
            hits += outcome
            if outcome and (len(votes) == 1 or hits == self._misses):
                break
        met = len(votes) - hits < self._misses
        self.done.append(Step(rate, met, tuple(votes)))
        return met

    @property
    def missed(self) -> list[float]:
        """Rates that did not meet the bound when they were last tried, rising."""
        last = {step.rate: step.met for step in self.done}
        return sorted(rate for rate, met in last.items() if not met)


def highest_rate(
    meets_bound: Callable[[float], bool | None],
    low: float,
    high: float,
    *,
    tolerance: float = 0.02,
    misses: int = 1,
    most_disturbed: int = 30,
) -> RateSearch:
    """Bracket the highest rate for which ``meets_bound`` holds, bisect, and confirm it three times.

    A rate that fails a confirmation is not the answer: the next one is lower, by ever longer steps, and has to be met
    and confirmed likewise, down to ``low``. What is published has been met four times in a row, so it is a minimum,
    not a lucky run.

    Args:
        meets_bound: measures at one rate; noisy. None when something else than what is measured was at work: the trial
            is repeated and does not count.
        low: a rate thought to be sustainable, > 0; no rate below it is tried.
        high: a rate thought not to be; doubled while it is met.
        tolerance: relative width at which the bisection ends.
        misses: trials that have to miss the bound before a rate has missed it. With more than one the upper end of the
            bracket is tried again before the answer is confirmed, so that an unlucky miss does not hide what is above.
        most_disturbed: trials that may say nothing before the search is given up.
    """
    if not 0 < low < high:
        raise ValueError(f"need 0 < low < high, got {low} and {high}")
    steps = _Steps(meets_bound, misses, most_disturbed)
    try:
        rate = _searched(steps, low, high, tolerance, reopen=misses > 1)
    except _DisturbedError:
        return RateSearch(None, None, tuple(steps.done), steps.disturbed, undecided=True)
    undecided = rate is None and any(step.disturbed for step in steps.done)
    above = min((missed for missed in steps.missed if missed > (rate or 0.0)), default=None)
    return RateSearch(rate, above, tuple(steps.done), steps.disturbed, undecided)


def _searched(steps: _Steps, low: float, high: float, tolerance: float, *, reopen: bool) -> float | None:
    good = low
    while steps.met(high) and steps.left():
        good, high = high, 2 * high
    if good == low and not steps.met(low):
        return None
    while True:
        while high / good - 1 > tolerance and steps.left():
            middle = math.sqrt(good * high)
            if steps.met(middle):
                good = middle
            else:
                high = middle
        if not (reopen and steps.left() and steps.met(high)):
            break
        good, high = high, min((rate for rate in steps.missed if rate > high), default=2 * high)
    step, was_met = _STEP * tolerance, True
    while good >= low and steps.left():
        if (was_met or steps.met(good)) and all(steps.met(good) for _ in range(CONFIRMATIONS)):
            return good
        good, step, was_met = good / (1 + step), _STEP_GROWTH * step, False
    return None
