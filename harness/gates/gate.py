"""The gate: fails only on a difference that is certain, matters, repeats, and is the code's and nothing else's."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from harness.compare.compare import ACCURACY_MARGIN, AccuracyComparison, TimeComparison, compare_metric, compare_times
from harness.compare.environment import require_same
from harness.compare.observations import Key, Side
from harness.errors import ExitCode
from harness.gates.baseline import MIN_SESSIONS, Baseline
from harness.measure.verdicts import ALPHA, DEFAULT_MARGIN, CompareVerdict

Pair = tuple[Side, Side]  # baseline and candidate

_LARGEST_DEFAULT_MARGIN = 0.20  # nobody who named no margin means to let more than this pass
_NEEDS_SESSIONS = (
    f"stored times of a machine shared with others are judged only once the baseline holds {MIN_SESSIONS} sessions,"
    " whose spread tells how far apart two of them lie"
)


class GateVerdict(str, Enum):
    """What the gate concludes on one metric."""

    PASSED = "passed"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"


class BaselineSource(str, Enum):
    """Where the times of the baseline come from."""

    CONCURRENT = "measured with the candidate, in the same shuffled blocks"
    STORED = "stored in the baseline"


@dataclass(frozen=True)
class Policy:
    """What the user asks of the gate.

    Attributes:
        margin: relative slowdown that matters; None: 3 %, or the noise floor where that is higher.
        accuracy_margin: absolute loss of an accuracy metric that matters.
        allowed: facts that may differ, because the difference is what the gate is asked about.
    """

    margin: float | None = None
    accuracy_margin: float = ACCURACY_MARGIN
    allowed: Collection[str] = ()


@dataclass(frozen=True)
class GateResult:
    """Verdict on one metric: a time, or the accuracy of one workload.

    Attributes:
        subject: what was judged, in words.
        verdict: on it.
        why: one sentence with the figures.
        time: the comparison of times it rests on; None for accuracy and for what is missing.
        confirmation: that of the second run; None when none was needed.
        accuracy: the comparison of accuracy it rests on.
    """

    subject: str
    verdict: GateVerdict
    why: str
    time: TimeComparison | None = None
    confirmation: TimeComparison | None = None
    accuracy: AccuracyComparison | None = None


@dataclass(frozen=True)
class GateReport:
    """Everything the gate judged."""

    baseline: str
    candidate: str
    source: BaselineSource
    results: tuple[GateResult, ...]
    ungated: tuple[Key, ...]  # that the baseline does not have

    @property
    def exit_code(self) -> ExitCode:
        """1 when anything regressed, else 2 when anything is inconclusive or missing, else 0."""
        verdicts = {result.verdict for result in self.results}
        failed = GateVerdict.REGRESSED in verdicts
        return ExitCode.judged(failed=failed, inconclusive=verdicts != {GateVerdict.PASSED})


def gate(
    baseline: Baseline,
    pair: Pair,
    policy: Policy,
    *,
    source: BaselineSource,
    measure_again: Callable[[], Pair] | None,
) -> GateReport:
    """Judge the candidate of ``pair`` against the baseline.

    A time has regressed only if the environments agree, both sides are valid, the lower 95 % limit of the slowdown
    lies above the margin, and a second run of fresh blocks says so too. It passes only if the upper 90 % limit lies
    below the margin. Everything else is inconclusive.

    Args:
        baseline: what must be there, with noise floors.
        pair: baseline and candidate; the first is ``baseline.side`` when ``source`` is STORED.
        policy: what the user asks.
        source: where the times of the baseline come from.
        measure_again: gives a second pair from fresh blocks; called at most once, and only when there is something
            to confirm. None: nothing can be confirmed, so nothing regresses.

    Raises:
        EnvironmentMismatchError: the environments differ in something not allowed.
    """
    first, candidate = pair
    require_same(baseline.side, candidate, policy.allowed)
    require_same(first, candidate, policy.allowed)
    margins = {key: _margin(baseline, key, policy, source) for key in baseline.side.observations}
    values = {key: margin.value for key, margin in margins.items()}
    gated = _restrict(first, baseline.side.observations)
    times = {time.key: time for time in compare_times(gated, [candidate], values)}
    accuracy = [_judge_accuracy(workload, first, candidate, policy) for workload in sorted(baseline.side.accuracy)]
    suspects = {key for key, time in times.items() if _suspect(time, margins[key])}
    doubtful = any(result.verdict is GateVerdict.REGRESSED for result in accuracy)
    second = _second(measure_again, baseline, policy) if suspects or doubtful else None
    confirmations = _confirm_times(second, suspects, values)
    results = [_judge_time(key, times.get(key), margins[key], confirmations.get(key)) for key in sorted(margins)]
    results += [_confirm_accuracy(result, second, policy) for result in accuracy]
    ungated = tuple(sorted(candidate.observations.keys() - baseline.side.observations.keys()))
    return GateReport(baseline.side.name, candidate.name, source, tuple(results), ungated)


@dataclass(frozen=True)
class _Margin:
    """A margin to judge with, or why none can be."""

    value: float
    unmeasurable: str | None = None


def _margin(baseline: Baseline, key: Key, policy: Policy, source: BaselineSource) -> _Margin:
    """The margin of one key: the user's or 3 %, no less than the noise, wider where stored times are compared."""
    noise, widening = baseline.floors[key].effect, 0.0
    if source is BaselineSource.STORED:
        between = baseline.between_sessions(key)
        if between is None and not _dedicated(baseline.side):
            return _Margin(DEFAULT_MARGIN, _NEEDS_SESSIONS)
        widening = noise if between is None else between
        noise = max(noise, widening)
    if policy.margin is not None and policy.margin < noise:
        reason = f"a margin of {policy.margin:.1%} is not measurable here: the noise floor is {noise:.1%}"
        return _Margin(policy.margin, reason)
    value = max(DEFAULT_MARGIN, noise) if policy.margin is None else policy.margin
    if policy.margin is None and value > _LARGEST_DEFAULT_MARGIN:
        return _Margin(value, f"this machine is too noisy to gate on: the noise floor is {noise:.1%}")
    return _Margin((1 + value) * (1 + widening) - 1)


def _dedicated(side: Side) -> bool:
    return side.fingerprint.get("lpar_dedicated") is True or side.fingerprint.get("hypervisor") == "bare metal"


def _restrict(side: Side, keys: Collection[Key]) -> Side:
    return replace(side, observations={key: side.observations[key] for key in side.observations if key in keys})


def _suspect(time: TimeComparison, margin: _Margin) -> bool:
    return margin.unmeasurable is None and time.comparison.verdict is CompareVerdict.REGRESSED


def _second(measure_again: Callable[[], Pair] | None, baseline: Baseline, policy: Policy) -> Pair | None:
    if measure_again is None:
        return None
    first, candidate = measure_again()
    require_same(baseline.side, candidate, policy.allowed)
    require_same(first, candidate, policy.allowed)
    return first, candidate


def _confirm_times(second: Pair | None, suspects: set[Key], margins: Mapping[Key, float]) -> dict[Key, TimeComparison]:
    if second is None:
        return {}
    first, candidate = second
    return {time.key: time for time in compare_times(_restrict(first, suspects), [candidate], margins)}


def _judge_time(
    key: Key, time: TimeComparison | None, margin: _Margin, confirmation: TimeComparison | None
) -> GateResult:
    subject = str(key)
    if time is None:
        return GateResult(subject, GateVerdict.MISSING, "the baseline has it and the candidate does not")

    def inconclusive(why: str) -> GateResult:
        return GateResult(subject, GateVerdict.INCONCLUSIVE, why, time, confirmation)

    comparison, effect = time.comparison, time.comparison.effect
    if margin.unmeasurable is not None:
        return inconclusive(margin.unmeasurable)
    if effect is None or comparison.change_p is None:
        return inconclusive(comparison.note or "there is no effect to judge")
    figures = (
        f"{math.expm1(effect.mean):+.1%} [{math.expm1(effect.low):+.1%}, {math.expm1(effect.high):+.1%}]"
        f" {key.estimate}, margin {margin.value:.1%}, {effect.blocks} blocks"
    )
    if comparison.verdict is CompareVerdict.REGRESSED:
        if confirmation is None:
            return inconclusive(f"{figures}; no second run has confirmed it")
        if confirmation.comparison.verdict is CompareVerdict.REGRESSED:
            why = f"{figures}; a second run confirms it"
            return GateResult(subject, GateVerdict.REGRESSED, why, time, confirmation)
        doubt = f": {confirmation.comparison.note}" if confirmation.comparison.note else ""
        return inconclusive(f"{figures}; a second run does not confirm it{doubt}")
    if comparison.not_worse_p is not None and comparison.not_worse_p <= ALPHA:
        return GateResult(subject, GateVerdict.PASSED, figures, time)
    more = comparison.more_blocks
    need = f"about {more} more blocks would settle it" if more else "it is too close to the margin to settle"
    return inconclusive(f"{figures}; {need}")


def _judge_accuracy(workload: str, first: Side, candidate: Side, policy: Policy) -> GateResult:
    """Passed when the mean over the same seeds has not dropped by more than the margin; regressed if it surely has."""
    a, b = first.accuracy.get(workload), candidate.accuracy.get(workload)
    if a is None or a.headline is None or a.headline not in a.metrics:
        why = "the baseline does not say which accuracy metric counts"
        return GateResult(f"{workload} accuracy", GateVerdict.MISSING, why)
    subject = f"{workload} {a.headline}"
    if b is None or a.headline not in b.metrics:
        return GateResult(subject, GateVerdict.MISSING, "the baseline has it and the candidate does not")
    metric = compare_metric(
        workload, a.headline, candidate.name, a.metrics[a.headline], b.metrics[a.headline], policy.accuracy_margin
    )
    figures = f"{metric.a.mean:.4f} -> {metric.b.mean:.4f}, margin {policy.accuracy_margin:g}, {metric.b.n} seeds"
    if metric.a.n != metric.b.n:
        why = f"{figures}; the baseline has {metric.a.n}: train both with the same number of seeds"
        return GateResult(subject, GateVerdict.INCONCLUSIVE, why, accuracy=metric)
    if metric.b.mean - metric.a.mean >= -policy.accuracy_margin:
        return GateResult(subject, GateVerdict.PASSED, figures, accuracy=metric)
    if metric.verdict is CompareVerdict.REGRESSED:
        return GateResult(subject, GateVerdict.REGRESSED, figures, accuracy=metric)
    return GateResult(subject, GateVerdict.INCONCLUSIVE, f"{figures}; {metric.note}", accuracy=metric)


def _confirm_accuracy(result: GateResult, second: Pair | None, policy: Policy) -> GateResult:
    if result.verdict is not GateVerdict.REGRESSED or result.accuracy is None:
        return result
    if second is None:
        why = f"{result.why}; no second run has confirmed it"
        return replace(result, verdict=GateVerdict.INCONCLUSIVE, why=why)
    if _judge_accuracy(result.accuracy.workload, *second, policy).verdict is GateVerdict.REGRESSED:
        return replace(result, why=f"{result.why}; a second run confirms it")
    return replace(result, verdict=GateVerdict.INCONCLUSIVE, why=f"{result.why}; a second run does not confirm it")
