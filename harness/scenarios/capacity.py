"""The highest rate of single-row requests that still meets a p99 bound: searched for by trials, then confirmed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.measure.arrivals import poisson_schedule
from harness.measure.clock import Clock
from harness.measure.percentiles import PERCENTILES, percentile, requests_needed
from harness.measure.rate_search import CONFIRMATIONS, highest_rate
from harness.measure.sampling import Samples
from harness.record.model import Served
from harness.record.series import Series

_BOUND = 99.0
_TOLERANCE = 0.02
_TRIAL_BOUNDS = 10  # a trial lasts this many times the bound, so that a queue has time to build up
_LOWEST = 1 / 8  # of the rate at which the server is always busy; one that fails even this is not searched for
_MOST_REQUESTS = 200_000  # of a trial
_MOST_KEPT = 20_000  # latencies kept raw of one process
PATIENCE_S = 120.0  # a search that has no answer by then is given up


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of a schedule.

    Attributes:
        latencies_ns: of each request, from when it was due.
        keeps_up: whether the server did not fall behind, which short trials may not show in the latencies.
        spoilt: why the trial says nothing of the server; None where it does.
    """

    latencies_ns: NDArray[np.int64]
    keeps_up: bool
    spoilt: str | None = None


Serve = Callable[[float, NDArray[np.int64]], Trial]  # of a rate, and of times in ns from the start at that rate


class _NoAnswerError(Exception):
    pass


class _Trials:
    """Trials at given rates, each with arrivals of its own, and the latencies of all of them."""

    def __init__(self, serve: Serve, clock: Clock, *, bound_s: float, seconds: float, seed: int) -> None:
        self._serve = serve
        self._clock = clock
        self._bound_s = bound_s
        self._seconds = max(seconds, _TRIAL_BOUNDS * bound_s)
        self._seed = seed
        self._deadline = clock.now_ns() + round(PATIENCE_S * 1e9)
        self.done: list[tuple[float, bool, NDArray[np.int64]]] = []

    def meets_bound(self, rate: float) -> bool:
        """Serve at ``rate`` for long enough to tell."""
        if self._clock.now_ns() > self._deadline:
            raise _NoAnswerError(f"no answer within {PATIENCE_S:g} s")
        requests = min(_MOST_REQUESTS, max(requests_needed(_BOUND), math.ceil(rate * self._seconds)))
        trial = self._serve(rate, poisson_schedule(rate, requests, seed=self._seed + len(self.done)))
        if trial.spoilt is not None:
            raise _NoAnswerError(f"at {rate:,.0f} requests per second {trial.spoilt}")
        p99_s = _percentile(trial.latencies_ns, _BOUND)
        met = p99_s is not None and p99_s <= self._bound_s and trial.keeps_up
        self.done.append((rate, met, trial.latencies_ns))
        return met


def capacity(
    serve: Serve, clock: Clock, *, service_s: float, bound_s: float, seconds: float, seed: int
) -> tuple[list[Series], Served]:
    """Search for the highest rate that meets the bound, and confirm it three times.

    Args:
        serve: serves one schedule of requests of one row.
        clock: where time comes from.
        service_s: time of one request alone.
        bound_s: on the 99th percentile of the latency.
        seconds: least duration of one trial.
        seed: of the arrivals.

    Returns:
        Latencies of the last confirmation as a series (none without an answer), and the outcome.
    """
    trials = _Trials(serve, clock, bound_s=bound_s, seconds=seconds, seed=seed)
    note, rate = None, None
    if service_s > bound_s:
        note = f"one request alone takes {service_s:.3g} s, more than the bound of {bound_s:g} s"
    else:
        try:
            rate = highest_rate(trials.meets_bound, _LOWEST / service_s, 1 / service_s, tolerance=_TOLERANCE).rate
            note = None if rate is not None else "no rate tried met the bound in every confirmation"
        except _NoAnswerError as error:
            note = str(error)
    at_rate = [latencies for tried, met, latencies in trials.done if met and tried == rate]
    step = max(1, math.ceil(len(at_rate[-1]) / _MOST_KEPT)) if at_rate else 1
    outcome = Served(
        rate=rate,
        bound_s=bound_s,
        service_s=service_s,
        confirmations=CONFIRMATIONS,
        requests=sum(len(latencies) for latencies in at_rate),
        latencies={name: _worst(at_rate, percent) for name, percent in PERCENTILES.items()},
        tried=tuple((tried, met) for tried, met, _ in trials.done),
        kept_every=step,
        note=note,
    )
    return ([_series(at_rate[-1][::step])] if at_rate else []), outcome


def _percentile(latencies: NDArray[np.int64], percent: float) -> float | None:
    flags = np.zeros(len(latencies), dtype=np.uint8)
    return percentile(Samples(latencies, flags, 1, wall_ns=0), percent).value_s


def _worst(trials: list[NDArray[np.int64]], percent: float) -> float | None:
    values = [_percentile(latencies, percent) for latencies in trials]
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def _series(latencies: NDArray[np.int64]) -> Series:
    """Latencies as a record keeps them; they are not flagged, because a tail is shown with whatever caused it."""
    median = float(np.median(latencies)) * 1e-9
    return Series(
        name="request",
        batch_size=1,
        inner=1,
        durations_ns=tuple(latencies.tolist()),
        flags=(),
        warmup=0,
        steady=True,
        estimate_s=median,
        estimate_all_s=median,
    )
