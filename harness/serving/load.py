"""A load test judged: what was offered and answered, its latency, and why the figure is no good where it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.measure.arrivals import poisson_schedule
from harness.measure.clock import Clock
from harness.measure.percentiles import PERCENTILES, percentile, requests_needed
from harness.measure.rate_search import highest_rate
from harness.measure.sampling import Samples
from harness.platform.counters import StealMeter
from harness.platform.second_clock import ClockWatch
from harness.platform.sysroot import SysRoot
from harness.serving.arrival_trace import Trace, TraceRecord
from harness.serving.generator import Sent, Target, generate

Arrivals = Literal["poisson", "constant", "trace"]
_LAG_S = 50e-6  # of the generator's 99th percentile, that is always allowed
_LAG_SHARE = 0.05  # of the bound
_LEAST_ACHIEVED = 0.99
_STOLEN_SHARE = 0.0025  # of a trial: what the hypervisor may take before a missed 99th percentile says nothing
_MISSES = 2  # trials of a search that have to miss the bound before a rate has missed it
_TOLERANCE = 1e-4  # of a score, relative to 1 + its size


@dataclass(frozen=True)
class LoadSpec:
    """One load test."""

    url: str
    rate: float  # requests per second offered
    seconds: float
    connections: int
    arrivals: Arrivals
    seed: int
    p99_bound_s: float | None
    patience_s: float = 10.0


@dataclass(frozen=True)
class LoadResult:
    """Its outcome.

    Attributes:
        offered_per_s: requests scheduled per second.
        achieved_per_s: answered with status 200 per second of the whole trial.
        requests: scheduled.
        by_status: answers by HTTP status; 0 without an answer.
        latencies_s: percentiles from the scheduled time, as upper confidence limits; refusals and errors count as
            longer than any; None where the requests are too few, or too many failed.
        observed_s: the same percentiles as they were seen, which is what other tools print; None where a request that
            failed is there.
        lag_p99_s: of the generator.
        different: answers that are not the detector's own, or differ from each other.
        checked: answers were compared with the detector's own.
        reasons: why the figure is invalid; none when it is valid.
        disturbed: generator or machine were at fault, so that another trial may say more.
        stolen_s: time that the hypervisor took from the CPUs of generator and server; None where it does not say.
        met: whether the bound on the 99th percentile held; None without a bound, or when invalid.
    """

    offered_per_s: float
    achieved_per_s: float
    requests: int
    by_status: dict[str, int]
    latencies_s: dict[str, float | None]
    lag_p99_s: float
    different: int
    checked: bool
    reasons: tuple[str, ...]
    met: bool | None
    disturbed: bool = False
    stolen_s: float | None = None
    observed_s: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchRecord:
    """A search for the highest rate that meets the bound.

    Attributes:
        low_per_s: highest rate that was met, and confirmed three times; None without one.
        high_per_s: lowest rate above it that missed the bound, twice or more.
        tried: every rate that was decided, in order, with whether it met the bound.
        disturbed: trials that said nothing of the server, and were repeated.
        undecided: so many were disturbed that the search was given up.
    """

    low_per_s: float | None
    high_per_s: float | None
    tried: tuple[tuple[float, bool], ...]
    disturbed: int
    undecided: bool


@dataclass(frozen=True)
class LoadRecord:
    """``load.json``."""

    spec: LoadSpec
    generator_cpus: tuple[int, ...]
    server: dict[str, Any] | None  # what the server says of itself
    rows: str  # which rows were sent
    result: LoadResult
    search: SearchRecord | None = None
    trace: TraceRecord | None = None  # of the arrivals


def schedule(spec: LoadSpec, trace: Trace | None = None) -> NDArray[np.int64]:
    """When requests leave, drawn before the start, or as they were recorded."""
    count = max(1, round(spec.rate * spec.seconds))
    if trace is not None:
        return trace.schedule(spec.rate, count)
    if spec.arrivals == "constant":
        return (np.arange(count) * (1e9 / spec.rate)).astype(np.int64)
    return poisson_schedule(spec.rate, count, seed=spec.seed)


def run_load(
    spec: LoadSpec,
    target: Target,
    payloads: Sequence[bytes],
    expected: NDArray[np.float32] | None,
    clock: Clock,
    *,
    shared_cpus: Sequence[int] = (),
    watched_cpus: Sequence[int] = (),
    trace: Trace | None = None,
) -> LoadResult:
    """Offer the load once and judge it.

    Args:
        spec: what to offer.
        target: where to.
        payloads: bodies of requests.
        expected: score of each payload by the detector; None when unknown.
        clock: where time comes from.
        shared_cpus: CPUs of both the generator and the server.
        watched_cpus: CPUs of either, of which the hypervisor may take time.
        trace: arrivals, in place of those that the spec draws.
    """
    times, clocks = schedule(spec, trace), ClockWatch()
    steal = StealMeter(SysRoot("/"), watched_cpus) if watched_cpus else None
    sent = generate(
        target, payloads, times, connections=spec.connections, patience_s=spec.patience_s, clock=clock
    )  # fmt: skip
    return judge(sent, spec, times, expected, shared_cpus, clock_mismatch=clocks.disagreement(),
                 stolen_s=None if steal is None else steal.seconds())  # fmt: skip


def judge(
    sent: Sent,
    spec: LoadSpec,
    times: NDArray[np.int64],
    expected: NDArray[np.float32] | None,
    shared_cpus: Sequence[int],
    *,
    clock_mismatch: str | None = None,
    stolen_s: float | None = None,
) -> LoadResult:
    """What the outcome of a trial says.

    Args:
        clock_mismatch: how the clock that timed it disagrees with the kernel's.
        stolen_s: time that the hypervisor took.
    """
    good = sent.statuses == 200
    latencies = np.where(good, sent.latencies_ns, np.iinfo(np.int64).max)
    lag_p99_s = float(np.percentile(sent.lags_ns, 99)) * 1e-9 if len(sent.lags_ns) else math.inf
    different = different_answers(sent.bodies, expected)
    offered = len(times) / (times[-1] * 1e-9) if times[-1] else spec.rate
    achieved = float(good.sum()) / (sent.wall_ns * 1e-9)
    percentiles = {name: _percentile(latencies, percent) for name, percent in PERCENTILES.items()}
    allowed = allowed_lag_s(spec.p99_bound_s)
    reasons = []
    if shared_cpus:
        reasons.append(f"generator and server share CPUs {', '.join(map(str, shared_cpus))}")
    if lag_p99_s > allowed:
        reasons.append(f"the generator lagged: p99 {lag_p99_s * 1e6:.0f} µs, at most {allowed * 1e6:.0f} µs")
    if clock_mismatch is not None:
        reasons.append(clock_mismatch)
    if different:
        reasons.append(f"{different} answers are not the detector's own")
    statuses, counts = np.unique(sent.statuses, return_counts=True)
    p99 = percentiles["p99_s"]
    disturbed, met = lag_p99_s > allowed, None
    if spec.p99_bound_s is not None and not reasons:
        if len(times) < requests_needed(99):
            reasons.append(f"p99 needs {requests_needed(99)} requests, {len(times)} were made")
        else:
            met = p99 is not None and p99 <= spec.p99_bound_s
    if met is False and (stolen_s or 0.0) > _STOLEN_SHARE * sent.wall_ns * 1e-9:
        reasons.append(f"the bound was missed while the hypervisor took {(stolen_s or 0.0) * 1e3:.0f} ms of the CPUs")
        disturbed, met = True, None
    return LoadResult(
        offered_per_s=float(offered),
        achieved_per_s=achieved,
        requests=len(times),
        by_status={str(status): int(count) for status, count in zip(statuses, counts, strict=True)},
        latencies_s=percentiles,
        lag_p99_s=lag_p99_s,
        different=different,
        checked=expected is not None,
        reasons=tuple(reasons),
        met=met,
        disturbed=disturbed,
        stolen_s=stolen_s,
        observed_s=_observed(latencies),
    )


def allowed_lag_s(p99_bound_s: float | None) -> float:
    """What the 99th percentile of the generator's lag may be at most."""
    return max(_LAG_S, _LAG_SHARE * (p99_bound_s or 0.0))


def find_rate(
    trial: Callable[[float, int], LoadResult], low: float, high: float
) -> tuple[LoadResult | None, SearchRecord]:
    """The highest rate at which ``trial(rate, number)`` meets its bound, and its last result.

    A trial in which generator or machine were at fault is repeated and says nothing; a miss is believed when it happens
    again.
    """
    results: dict[float, LoadResult] = {}
    number = 0

    def meets(rate: float) -> bool | None:
        nonlocal number
        result = trial(rate, number)
        number += 1
        if result.met and result.achieved_per_s >= _LEAST_ACHIEVED * result.offered_per_s:
            results[rate] = result
            return True
        return None if result.disturbed else False

    search = highest_rate(meets, low, high, misses=_MISSES)
    record = SearchRecord(search.rate, search.missed, search.tried, search.disturbed, search.undecided)
    return (None if search.rate is None else results[search.rate]), record


def _percentile(latencies: NDArray[np.int64], percent: float) -> float | None:
    samples = Samples(latencies, np.zeros(len(latencies), dtype=np.uint8), 1, wall_ns=0)
    value = percentile(samples, percent).value_s
    return None if value is None or value > 1e9 else value


def _observed(latencies: NDArray[np.int64]) -> dict[str, float | None]:
    """Order statistics: the least latency that so many percent do not exceed."""
    ordered, lost = np.sort(latencies), np.iinfo(np.int64).max
    values = {name: int(ordered[math.ceil(percent / 100 * len(ordered)) - 1]) for name, percent in PERCENTILES.items()}
    return {name: None if value == lost else value * 1e-9 for name, value in values.items()}


def different_answers(bodies: Sequence[dict[bytes, int]], expected: NDArray[np.float32] | None) -> int:
    """Answers of status 200 that are not what the detector gives, or not what most others to the same payload are."""
    wrong = 0
    for index, answers in enumerate(bodies):
        if expected is None:
            wrong += sum(answers.values()) - max(answers.values(), default=0)
            continue
        wrong += sum(count for body, count in answers.items() if not _is_score(body, float(expected[index])))
    return wrong


def _is_score(body: bytes, expected: float) -> bool:
    try:
        answer = json.loads(body)
        score = next(answer[key] for key in ("reconstruction_error", "score", "probability") if key in answer)
        return abs(float(score) - expected) <= _TOLERANCE * (1 + abs(expected))
    except (ValueError, TypeError, StopIteration):
        return False
