"""One timed series inside one process: calibrate, warm up, sample until steady, and keep every sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.measure.causes import Watch
from harness.measure.clock import Clock
from harness.measure.estimates import process_estimate
from harness.measure.sampling import Counters, Limits, Samples, calibrate, collect, collect_calls
from harness.measure.steady import MAX_DOUBLING, PILOT_SAMPLES, Steady, next_pilot, steady_state
from harness.record.series import Series

_MOST_SAMPLES = 2_000
_MOST_REQUESTS = 20_000
MOST_SECONDS = 30.0  # after which a series of slow calls (a search for every row) ends with what it has
_PATIENCE = 4  # an unsettled series may take this many times the time it was given, each time it is doubled


@dataclass(frozen=True)
class Bench:
    """What every series of a process is timed with.

    Attributes:
        seconds: time to spend on one series, warm-up included.
        prepare: called before each sample, untimed, which is then one call: evicts the caches in cold-cache mode.
    """

    clock: Clock
    clock_cost_ns: float
    counters: Counters
    watch: Watch
    seconds: float
    prepare: Callable[[], object] | None = None


def batch_series(name: str, call: Callable[[], object], batch_size: int | None, bench: Bench) -> Series:
    """Time ``call`` in samples of as many calls as make a sample long enough for the clock.

    The pilot is doubled, up to four times, while the series has not settled.
    """
    inner = 1 if bench.prepare is not None else calibrate(call, bench.clock, bench.clock_cost_ns)

    def more(samples: int, budget_s: float, at_least: int) -> Samples:
        return collect(
            call,
            clock=bench.clock,
            counters=bench.counters,
            inner=inner,
            limits=Limits(samples=samples, budget_s=budget_s, at_least=at_least, most_s=MOST_SECONDS),
            watch=bench.watch,
            prepare=bench.prepare,
        )

    samples = more(_MOST_SAMPLES, bench.seconds, PILOT_SAMPLES)
    outcome = steady_state(samples.durations_ns)
    pilot = len(samples)
    while (longer := next_pilot(len(samples), outcome, initial=pilot)) is not None and not _slow(samples):
        extra = longer - len(samples)
        samples = joined(samples, more(extra, _PATIENCE * bench.seconds, min(extra, PILOT_SAMPLES)))
        outcome = steady_state(samples.durations_ns)
    return as_series(name, samples, outcome, batch_size)


def request_series(name: str, call: Callable[[], object], batch_size: int, bench: Bench) -> Series:
    """Time every ``call`` on its own, so that percentiles of a request can be given where it is long enough.

    Requests are short, so the longest pilot is taken at once.
    """
    samples = collect_calls(
        call,
        clock=bench.clock,
        counters=bench.counters,
        clock_cost_ns=bench.clock_cost_ns,
        limits=Limits(
            samples=_MOST_REQUESTS, budget_s=bench.seconds, at_least=MAX_DOUBLING * PILOT_SAMPLES, most_s=MOST_SECONDS
        ),
        watch=bench.watch,
        prepare=bench.prepare,
    )
    return as_series(name, samples, steady_state(samples.durations_ns), batch_size)


def _slow(samples: Samples) -> bool:
    return samples.wall_ns >= MOST_SECONDS * 1e9


def as_series(name: str, samples: Samples, outcome: Steady, batch_size: int | None) -> Series:
    """Samples with what was found out about them, as a record keeps it."""
    estimate = process_estimate(samples.durations_ns, samples.flags, inner=samples.inner, warmup=outcome.cut)
    return Series(
        name=name,
        batch_size=batch_size,
        inner=samples.inner,
        durations_ns=tuple(samples.durations_ns.tolist()),
        flags=tuple(samples.flags.tolist()),
        warmup=outcome.cut,
        steady=outcome.steady,
        estimate_s=estimate.undisturbed_s,
        estimate_all_s=estimate.median_s,
        page_faults=None if samples.page_faults is None else samples.page_faults / (samples.inner * len(samples)),
    )


def joined(first: Samples, second: Samples) -> Samples:
    """Two stretches of one series as one.

    Raises:
        ValueError: their samples are of different numbers of calls.
    """
    if first.inner != second.inner:
        raise ValueError(f"samples of {first.inner} and of {second.inner} calls do not make one series")
    stolen = [part.stolen_ns for part in (first, second) if part.stolen_ns is not None]
    faults = [part.page_faults for part in (first, second) if part.page_faults is not None]
    return Samples(
        durations_ns=np.concatenate([first.durations_ns, second.durations_ns]),
        flags=np.concatenate([first.flags, second.flags]),
        inner=first.inner,
        wall_ns=first.wall_ns + second.wall_ns,
        stolen_ns=sum(stolen) if stolen else None,
        page_faults=sum(faults) if len(faults) == 2 else None,
    )
