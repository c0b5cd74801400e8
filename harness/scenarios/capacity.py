"""The highest rate of single-row requests that still meets a p99 bound, estimated from trials at many.

Several instances answer together: each has a queue of its own and an equal part of the rate, every trial begins at the
same moment, and the percentile is that of all their requests. Each of them knows what all of them measured, so that
they decide alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.measure.clock import Clock
from harness.measure.percentiles import PERCENTILES, percentile, requests_needed
from harness.measure.rate_estimate import RateEstimate, estimated_rate
from harness.measure.sampling import Samples
from harness.record.model import Served
from harness.record.series import Series
from harness.serving.arrival_trace import POISSON, Arrivals
from harness.wording import plural

_BOUND = 99.0
_MOST_TRIALS = 24  # of a search: what they leave uncertain is less than what differs between processes
_MOST_DISTURBED = 8  # trials of a search: another block is to come
_TRIAL_BOUNDS = 10  # a trial lasts this many times the bound, so that a queue has time to build up
_LOWEST = 1 / 8  # of the rate at which the server is always busy; one that fails even this is not searched for
_MOST_REQUESTS = 200_000  # of a trial
_MOST_KEPT = 20_000  # latencies kept raw of one process
PATIENCE_S = 120.0  # a search that has no answer by then is given up
_LEAD_NS = 30_000_000  # from the last instance's word to the next trial: time to read it

_NOTHING = RateEstimate()

Values = NDArray[np.int64]


class Group(Protocol):
    """Instances that serve at the same time."""

    @property
    def instances(self) -> int:
        """How many they are."""
        ...

    def exchange(self, values: Values) -> list[Values]:
        """Give ``values`` to the others and wait for theirs: what all of them gave, in an order common to all."""
        ...


class Alone:
    """A group of one."""

    instances = 1

    def exchange(self, values: Values) -> list[Values]:
        """See ``Group.exchange``."""
        return [values]


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of a schedule.

    Attributes:
        latencies_ns: of each request, from when it was due.
        keeps_up: whether the server did not fall behind, which short trials may not show in the latencies.
        spoilt: why no trial will say anything of the server; None where that is not so.
        disturbed: this trial says nothing of it, and is repeated.
    """

    latencies_ns: NDArray[np.int64]
    keeps_up: bool
    spoilt: str | None = None
    disturbed: bool = False


Serve = Callable[[float, NDArray[np.int64]], Trial]  # of a rate, and of times in ns from the start at that rate


class _NoAnswerError(Exception):
    pass


class _Trials:
    """Trials at given rates, each with arrivals of its own, and the latencies of all of them."""

    def __init__(
        self, serve: Serve, clock: Clock, group: Group, *, bound_s: float, seconds: float, seed: int, arrivals: Arrivals
    ) -> None:
        self._serve = serve
        self._clock = clock
        self._group = group
        self._begin_ns = 0
        self.late = False  # for any of the group: no time is left
        self._bound_s = bound_s
        self._seconds = max(seconds, _TRIAL_BOUNDS * bound_s)
        self._seed = seed
        self._arrivals = arrivals
        self._deadline = clock.now_ns() + round(PATIENCE_S * 1e9)
        self.done: list[tuple[float, bool, Values]] = []
        self.disturbed = 0

    def service_s(self, mine: float) -> float:
        """The slowest instance's time of a request; afterwards all of them begin together."""
        shared = self._group.exchange(np.array([round(mine * 1e9), self._clock.now_ns()], dtype=np.int64))
        self._begin_ns = max(int(values[1]) for values in shared) + _LEAD_NS
        return max(int(values[0]) for values in shared) * 1e-9

    def meets_bound(self, rate: float) -> bool | None:
        """Serve at ``rate``, of all instances together, for long enough to tell; None when the trial was disturbed."""
        own = rate / self._group.instances
        enough = max(requests_needed(_BOUND), math.ceil(own * self._seconds), self._arrivals.least)
        requests = min(_MOST_REQUESTS, enough)
        schedule = self._arrivals.draw(own, requests, self._seed + len(self.done) + self.disturbed)
        if self._group.instances > 1:
            self._clock.wait_until(self._begin_ns)
        trial = self._serve(own, schedule)
        if trial.spoilt is not None:
            raise _NoAnswerError(f"at {rate:,.0f} requests per second {trial.spoilt}")
        now = self._clock.now_ns()
        head = np.array([now > self._deadline, trial.keeps_up, now, trial.disturbed], dtype=np.int64)
        shared = self._group.exchange(np.concatenate([head, trial.latencies_ns]))
        self._begin_ns = max(int(values[2]) for values in shared) + _LEAD_NS
        latencies = np.concatenate([values[4:] for values in shared])
        p99_s = _percentile(latencies, _BOUND)
        met = p99_s is not None and p99_s <= self._bound_s and all(bool(values[1]) for values in shared)
        self.late = any(bool(values[0]) for values in shared)
        if any(bool(values[3]) for values in shared):
            self.disturbed += 1
            return None
        self.done.append((rate, met, latencies))
        return met

    def nearest(self, rate: float | None) -> Values:
        """Latencies of the trial next to ``rate`` of those that met the bound; none without a rate."""
        met = [(abs(tried - (rate or 0.0)), at) for at, (tried, met, _) in enumerate(self.done) if met]
        return self.done[min(met)[1]][2] if met and rate is not None else np.zeros(0, dtype=np.int64)


def capacity(
    serve: Serve,
    clock: Clock,
    *,
    service_s: float,
    bound_s: float,
    seconds: float,
    seed: int,
    group: Group | None = None,
    arrivals: Arrivals = POISSON,
) -> tuple[list[Series], Served]:
    """Search for the rate at which half of the trials meet the bound.

    Each by an upper limit of its 99th percentile, so that the percentile itself is below the bound.

    Args:
        serve: serves one schedule of requests of one row.
        clock: where time comes from.
        service_s: time of one request alone.
        bound_s: on the 99th percentile of the latency.
        seconds: least duration of one trial.
        seed: of the arrivals.
        group: instances that serve at the same time; rates are those of all of them.
        arrivals: how requests come to each instance.

    Returns:
        Latencies of the trial next to the rate that met the bound, as a series (none without an answer); the outcome.
    """
    group = group or Alone()
    trials = _Trials(serve, clock, group, bound_s=bound_s, seconds=seconds, seed=seed, arrivals=arrivals)
    service_s = trials.service_s(service_s) if group.instances > 1 else service_s
    estimate, note = _searched(trials, group.instances, service_s, bound_s)
    low, high = estimate.interval or (None, None)
    at_rate = trials.nearest(estimate.rate)
    step = max(1, math.ceil(len(at_rate) / _MOST_KEPT))
    outcome = Served(
        rate=estimate.rate,
        bound_s=bound_s,
        service_s=service_s,
        confirmations=0,
        requests=len(at_rate),
        latencies={name: _percentile(at_rate, percent) for name, percent in PERCENTILES.items()},
        tried=tuple((tried, met) for tried, met, _ in trials.done),
        kept_every=step,
        note=note,
        tried_p99_s=tuple(_percentile(latencies, _BOUND) for _, _, latencies in trials.done),
        rate_low=low,
        rate_high=high,
        missed_anyway=estimate.missed_anyway,
    )
    return ([_series(at_rate[::step])] if len(at_rate) else []), outcome


def _searched(trials: _Trials, instances: int, service_s: float, bound_s: float) -> tuple[RateEstimate, str | None]:
    """What was found, and why there is no rate."""
    if service_s > bound_s:
        return _NOTHING, f"one request alone takes {service_s:.3g} s, more than the bound of {bound_s:g} s"
    busy = instances / service_s
    try:
        estimate = estimated_rate(
            trials.meets_bound, lambda: busy, lowest=_LOWEST, most=_MOST_TRIALS, most_disturbed=_MOST_DISTURBED,
            time_left=lambda: not trials.late,
        )  # fmt: skip
    except _NoAnswerError as error:
        return _NOTHING, str(error)
    if estimate.undecided and trials.late:
        return estimate, f"no answer within {PATIENCE_S:g} s"
    if estimate.undecided:
        disturbed = plural(estimate.disturbed, "trial")
        return estimate, f"generator or machine disturbed {disturbed}; no rate could be decided"
    return estimate, "no rate tried met the bound" if estimate.rate is None else None


def _percentile(latencies: NDArray[np.int64], percent: float) -> float | None:
    flags = np.zeros(len(latencies), dtype=np.uint8)
    return percentile(Samples(latencies, flags, 1, wall_ns=0), percent).value_s


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
