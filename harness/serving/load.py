"""A load test judged: what was offered and answered, its latency, and why the figure is no good where it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.measure.arrivals import constant_schedule, poisson_schedule
from harness.measure.clock import Clock
from harness.measure.percentiles import PERCENTILES, ecdf, percentile, requests_needed
from harness.measure.rate_estimate import estimated_rate
from harness.measure.sampling import Samples
from harness.platform.counters import StealMeter
from harness.platform.second_clock import ClockWatch
from harness.platform.sysroot import SysRoot
from harness.record.load_model import LatencyCurve, LoadResult, LoadSpec, LoadTimeline, SearchRecord
from harness.serving.arrival_trace import Trace
from harness.serving.generator import Sent, Target, generate
from harness.wording import plural

_LAG_S = 50e-6  # of the generator's 99th percentile, that is always allowed
_LAG_SHARE = 0.05  # of the bound
_LEAST_ACHIEVED = 0.99
_STOLEN_SHARE = 0.0025  # of a trial: what the hypervisor may take before a missed 99th percentile says nothing
_STEPS = 60  # of a trial's timeline
_TOLERANCE = 1e-4  # of a score, relative to 1 + its size


Expected = NDArray[np.float32] | Callable[[Sent], int] | None


class Requests(NamedTuple):
    """What a load sends.

    Attributes:
        bodies: in turn.
        expected: score of each by the detector, or what counts the answers that are not; None when unknown.
        lanes: of `harness.serving.generator.generate`.
    """

    bodies: Sequence[bytes]
    expected: Expected = None
    lanes: NDArray[np.int64] | None = None


def requests_of(spec: LoadSpec) -> int:
    """How many there are in a trial."""
    return max(1, round(spec.rate * spec.seconds))


def schedule(spec: LoadSpec, trace: Trace | None = None) -> NDArray[np.int64]:
    """When requests leave, drawn before the start, or as they were recorded."""
    count = requests_of(spec)
    if trace is not None:
        return trace.schedule(spec.rate, count)
    if spec.arrivals == "constant":
        return constant_schedule(spec.rate, count)
    return poisson_schedule(spec.rate, count, seed=spec.seed)


def run_load(
    spec: LoadSpec,
    target: Target,
    requests: Requests,
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
        requests: what to send, and what to make of the answers.
        clock: where time comes from.
        shared_cpus: CPUs of both the generator and the server.
        watched_cpus: CPUs of either, of which the hypervisor may take time.
        trace: arrivals, in place of those that the spec draws.
    """
    times, clocks = schedule(spec, trace), ClockWatch()
    steal = StealMeter(SysRoot("/"), watched_cpus) if watched_cpus else None
    sent = generate(
        target, requests.bodies, times, connections=spec.connections, patience_s=spec.patience_s, clock=clock,
        lanes=requests.lanes,
    )  # fmt: skip
    return judge(sent, spec, times, requests.expected, shared_cpus, clock_mismatch=clocks.disagreement(),
                 stolen_s=None if steal is None else steal.seconds())  # fmt: skip


def judge(
    sent: Sent,
    spec: LoadSpec,
    times: NDArray[np.int64],
    expected: Expected,
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
    percentiles = {name: _percentile(latencies, percent) for name, percent in PERCENTILES.items()}
    lag_p99_s = float(np.percentile(sent.lags_ns, 99)) * 1e-9 if len(sent.lags_ns) else None
    disturbed = lag_p99_s is None or lag_p99_s > allowed_lag_s(spec.p99_bound_s)
    different = expected(sent) if callable(expected) else different_answers(sent.bodies, expected)
    reasons = _reasons(lag_p99_s, spec, shared_cpus, clock_mismatch, different)
    met = None
    if spec.p99_bound_s is not None and not reasons:
        if len(times) < requests_needed(99):
            reasons.append(f"p99 needs {requests_needed(99)} requests; made: {len(times)}")
        else:
            met = (p99 := percentiles["p99_s"]) is not None and p99 <= spec.p99_bound_s
    if met is False and (stolen_s or 0.0) > _STOLEN_SHARE * sent.wall_ns * 1e-9:
        reasons.append(f"the bound was missed while the hypervisor took {(stolen_s or 0.0) * 1e3:.0f} ms of the CPUs")
        disturbed, met = True, None
    statuses, counts = np.unique(sent.statuses, return_counts=True)
    return LoadResult(
        offered_per_s=float(len(times) / (times[-1] * 1e-9) if times[-1] else spec.rate),
        achieved_per_s=float(good.sum()) / (sent.wall_ns * 1e-9),
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
        timeline=_timeline(sent, times),
        curve=_curve(sent.latencies_ns[good], len(times)),
    )


def _reasons(
    lag_p99_s: float | None, spec: LoadSpec, shared_cpus: Sequence[int], clock_mismatch: str | None, different: int
) -> list[str]:
    """Why a trial says nothing of the server."""
    allowed, reasons = allowed_lag_s(spec.p99_bound_s), []
    if shared_cpus:
        reasons.append(f"generator and server share CPUs {', '.join(map(str, shared_cpus))}")
    if lag_p99_s is None:
        reasons.append("the generator sent nothing")
    elif lag_p99_s > allowed:
        reasons.append(f"the generator lagged: p99 {lag_p99_s * 1e3:.3g} ms, at most {allowed * 1e3:.3g} ms")
    if clock_mismatch is not None:
        reasons.append(clock_mismatch)
    if different:
        reasons.append(f"{plural(different, 'answer is', 'answers are')} not the detector's own")
    return reasons


def allowed_lag_s(p99_bound_s: float | None) -> float:
    """What the 99th percentile of the generator's lag may be at most."""
    return max(_LAG_S, _LAG_SHARE * (p99_bound_s or 0.0))


def find_rate(
    trial: Callable[[float, int], LoadResult], reference: Callable[[], float]
) -> tuple[LoadResult | None, SearchRecord]:
    """The highest rate at which ``trial(rate, number)`` meets its bound, and the result of the trial next to it.

    A trial in which generator or machine were at fault is repeated and says nothing.

    Args:
        trial: an open-loop load.
        reference: the rate of a closed loop of the same requests, which says how fast the machine is now.
    """
    results: dict[float, LoadResult] = {}
    number = 0

    def meets(rate: float) -> bool | None:
        nonlocal number
        result = trial(rate, number)
        number += 1
        if result.met and _keeps_up(result):
            results[rate] = result
            return True
        return None if result.disturbed else False

    estimate = estimated_rate(meets, reference)
    low, high = estimate.interval or (None, None)
    record = SearchRecord(
        rate_per_s=estimate.rate, low_per_s=low, high_per_s=high, load=estimate.load, load_low=estimate.load_low,
        load_high=estimate.load_high, closed_per_s=estimate.references,
        tried=tuple((each.rate, each.load, each.met) for each in estimate.tried), disturbed=estimate.disturbed,
        undecided=estimate.undecided, missed_anyway=estimate.missed_anyway,
    )  # fmt: skip
    if estimate.load is None:
        return None, record
    load = estimate.load
    nearest = min((each for each in estimate.tried if each.met), key=lambda each: abs(math.log(each.load / load)))
    return results[nearest.rate], record


def _keeps_up(result: LoadResult) -> bool:
    """Whether a server that met its bound answered what was offered, the latency of the last request aside."""
    seconds = result.requests / result.offered_per_s + (result.latencies_s.get("p99_s") or 0.0)
    return result.achieved_per_s * seconds >= _LEAST_ACHIEVED * result.requests


def _percentile(latencies: NDArray[np.int64], percent: float) -> float | None:
    samples = Samples(latencies, np.zeros(len(latencies), dtype=np.uint8), 1, wall_ns=0)
    value = percentile(samples, percent).value_s
    return None if value is None or value > 1e9 else value


def _observed(latencies: NDArray[np.int64]) -> dict[str, float | None]:
    """Order statistics: the least latency that so many percent do not exceed."""
    ordered, lost = np.sort(latencies), np.iinfo(np.int64).max
    values = {name: int(ordered[math.ceil(percent / 100 * len(ordered)) - 1]) for name, percent in PERCENTILES.items()}
    return {name: None if value == lost else value * 1e-9 for name, value in values.items()}


def _timeline(sent: Sent, times: NDArray[np.int64]) -> LoadTimeline:
    """Steps of 1, 2 or 5 times a power of ten, at most sixty; an answer that never came counts when it was given up."""
    ends = times + sent.latencies_ns
    wall_ns = max(sent.wall_ns, int(ends.max()), 1)
    step_ns = next(step for step in _steps_ns() if _STEPS * step >= wall_ns)
    good, count = sent.statuses == 200, wall_ns // step_ns + 1

    def per_step(moments: NDArray[np.int64]) -> tuple[int, ...]:
        return tuple(np.bincount(moments // step_ns, minlength=count).tolist())

    return LoadTimeline(
        step_ns * 1e-9, wall_ns * 1e-9, per_step(times), per_step(ends[good]), per_step(ends[~good])
    )  # fmt: skip


def _steps_ns() -> Iterator[int]:
    decade = 1_000_000
    while True:
        yield from (decade, 2 * decade, 5 * decade)
        decade *= 10


def _curve(latencies_ns: NDArray[np.int64], requests: int) -> LatencyCurve:
    if not len(latencies_ns):
        return LatencyCurve((), ())
    ordered = np.sort(latencies_ns) * 1e-9
    seconds = np.unique(ecdf(ordered)[0])
    shares = np.searchsorted(ordered, seconds, side="right") / requests
    return LatencyCurve(tuple(seconds.tolist()), tuple(shares.tolist()))


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
