"""The highest request rate that meets a latency bound: searched for, then confirmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CONFIRMATIONS = 3
_MAX_STEPS = 60
_STEP_GROWTH = 1.5  # so that a machine too noisy for the first rates has an answer soon


@dataclass(frozen=True)
class RateSearch:
    """Outcome of a search.

    Attributes:
        rate: highest confirmed rate per second; None when not even the lowest rate tried met the bound.
        tried: every rate tried, in order, with whether it met the bound.
    """

    rate: float | None
    tried: tuple[tuple[float, bool], ...]


def highest_rate(
    meets_bound: Callable[[float], bool], low: float, high: float, *, tolerance: float = 0.02
) -> RateSearch:
    """Bisect for the highest rate for which ``meets_bound`` holds, and confirm it three times.

    A rate that fails a confirmation is not the answer: the next one is lower, by ever longer steps, and has to be met
    and confirmed likewise, down to ``low``. What is published has been met four times in a row, so it is a minimum,
    not a lucky run.

    Args:
        meets_bound: measures at one rate; noisy.
        low: a rate thought to be sustainable, > 0; no rate below it is tried.
        high: a rate thought not to be; doubled while it is met.
        tolerance: relative width at which the bisection ends.
    """
    if not 0 < low < high:
        raise ValueError(f"need 0 < low < high, got {low} and {high}")
    tried: list[tuple[float, bool]] = []

    def met(rate: float) -> bool:
        outcome = meets_bound(rate)
        tried.append((rate, outcome))
        return outcome

    good = low
    while met(high) and len(tried) < _MAX_STEPS:
        good, high = high, 2 * high
    if good == low and not met(low):
        return RateSearch(None, tuple(tried))
    while high / good - 1 > tolerance and len(tried) < _MAX_STEPS:
        middle = (good * high) ** 0.5
        if met(middle):
            good = middle
        else:
            high = middle
    step, was_met = 2 * tolerance, True
    while good >= low and len(tried) < _MAX_STEPS:
        if (was_met or met(good)) and all(met(good) for _ in range(CONFIRMATIONS)):
            return RateSearch(good, tuple(tried))
        good, step, was_met = good / (1 + step), _STEP_GROWTH * step, False
    return RateSearch(None, tuple(tried))
