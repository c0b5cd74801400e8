"""The highest request rate that meets a latency bound: searched for, then confirmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CONFIRMATIONS = 3
_MAX_STEPS = 60


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
    meets_bound: Callable[[float], bool],
    low: float,
    high: float,
    *,
    tolerance: float = 0.02,
) -> RateSearch:
    """Bisect for the highest rate for which ``meets_bound`` holds, and confirm it three times.

    A rate that fails a confirmation is not the answer: the search goes on below it. What is published has been met at
    the search and at every confirmation, so it is a minimum, not a lucky run.

    Args:
        meets_bound: measures at one rate; noisy.
        low: a rate thought to be sustainable, > 0.
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

    while met(high) and len(tried) < _MAX_STEPS:
        low, high = high, 2 * high
    known_good: float | None = low if len(tried) > 1 or met(low) else None
    while known_good is not None and len(tried) < _MAX_STEPS:
        if high / known_good - 1 > tolerance:
            middle = (known_good * high) ** 0.5
            if met(middle):
                known_good = middle
            else:
                high = middle
            continue
        if all(met(known_good) for _ in range(CONFIRMATIONS)):
            return RateSearch(known_good, tuple(tried))
        high = known_good
        lower = known_good / (1 + 4 * tolerance)
        known_good = lower if met(lower) else None
    return RateSearch(None, tuple(tried))
