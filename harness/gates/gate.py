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

Pair = tuple[Side, Side]  # reference and candidate

_LARGEST_DEFAULT_MARGIN = 0.20  # nobody who named no margin means to let more than this pass
_NEEDS_SESSIONS = (
    f"stored times of a machine shared with others are judged only once the baseline holds {MIN_SESSIONS} sessions,"
    " whose spread tells how far apart two of them lie"
)


class Outcome(str, Enum):
    """What the gate says of one result."""

    PASSED = "passed"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"


class ReferenceKind(str, Enum):
    """Where the reference times come from."""

    BESIDE = "measured beside the candidate, in the same shuffled blocks"
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
class Judged:
    """The gate's word on one time or one accuracy metric.

    Attributes:
        subject: what was judged, in words.
        outcome: the word.
        why: one sentence with the figures.
        time: the comparison of times it rests on; None for accuracy and for what is missing.
        confirmation: that of the second run; None when there was no need of one.
        accuracy: the comparison of accuracy it rests on.
    """

    subject: str
    outcome: Outcome
    why: str
    time: TimeComparison | None = None
    confirmation: TimeComparison | None = None
    accuracy: AccuracyComparison | None = None


@dataclass(frozen=True)
class GateReport:
    """Everything the gate found."""

    baseline: str
    candidate: str
    reference: ReferenceKind
    judged: tuple[Judged, ...]
    unknown: tuple[Key, ...]  # results the baseline does not have, which are not gated

    @property
    def exit_code(self) -> ExitCode:
        """1 when anything regressed, else 2 when anything is inconclusive or missing, else 0."""
        outcomes = {one.outcome for one in self.judged}
        return ExitCode.judged(failed=Outcome.REGRESSED in outcomes, inconclusive=outcomes != {Outcome.PASSED})


def gate(
    baseline: Baseline,
    pair: Pair,
    policy: Policy,
    *,
    reference: ReferenceKind,
    measure_again: Callable[[], Pair] | None,
) -> GateReport:
    """Judge the candidate of ``pair`` against its reference.

    A time has regressed only if the environments agree, both sides are valid, the lower 95 % limit of the slowdown
    lies above the margin, and a second run of fresh blocks says so too. It passes only if the upper 90 % limit lies
    below the margin. Everything else is inconclusive.

    Args:
        baseline: what must be there, with noise floors.
        pair: reference and candidate; the reference is ``baseline.side`` when ``reference`` is STORED.
        policy: what the user asks.
        reference: where the reference times come from.
        measure_again: gives a second pair from fresh blocks; called at most once, and only when there is something
            to confirm. None: nothing can be confirmed, so nothing regresses.

    Raises:
        EnvironmentMismatchError: the environments differ in something not allowed.
    """
    first, candidate = pair
    require_same(baseline.side, candidate, policy.allowed)
    require_same(first, candidate, policy.allowed)
    margins = {key: _margin(baseline, key, policy, reference) for key in baseline.side.observations}
    gated = _restrict(first, baseline.side.observations)
    times = {one.key: one for one in compare_times(gated, [candidate], {k: m.value for k, m in margins.items()})}
    accuracy = [_judge_accuracy(workload, first, candidate, policy) for workload in sorted(baseline.side.accuracy)]
    suspects = {key for key, one in times.items() if _suspect(one, margins[key])}
    doubtful = any(one.outcome is Outcome.REGRESSED for one in accuracy)
    second = _second(measure_again, baseline, policy) if suspects or doubtful else None
    again = _confirm_times(second, suspects, {k: m.value for k, m in margins.items()})
    judged = [_judge_time(key, times.get(key), margins[key], again.get(key)) for key in sorted(margins)]
    judged += [_confirm_accuracy(one, second, policy) for one in accuracy]
    unknown = tuple(sorted(candidate.observations.keys() - baseline.side.observations.keys()))
    return GateReport(baseline.side.name, candidate.name, reference, tuple(judged), unknown)


@dataclass(frozen=True)
class _Margin:
    """A margin to judge with, or why none can be."""

    value: float
    unmeasurable: str | None = None


def _margin(baseline: Baseline, key: Key, policy: Policy, reference: ReferenceKind) -> _Margin:
    """The margin of one key: the user's or 3 %, no less than the noise, wider where stored times are compared."""
    noise, widening = baseline.floors[key].effect, 0.0
    if reference is ReferenceKind.STORED:
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


def _restrict(side: Side, keys: Collection[Key] | Mapping[Key, object]) -> Side:
    kept = {key: one for key, one in side.observations.items() if key in keys}
    return replace(side, observations=kept)


def _suspect(one: TimeComparison, margin: _Margin) -> bool:
    return margin.unmeasurable is None and one.comparison.verdict is CompareVerdict.REGRESSED


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
    return {one.key: one for one in compare_times(_restrict(first, suspects), [candidate], margins)}


def _judge_time(key: Key, one: TimeComparison | None, margin: _Margin, again: TimeComparison | None) -> Judged:
    subject = str(key)
    if one is None:
        return Judged(subject, Outcome.MISSING, "the baseline has it and the candidate does not")
    comparison, effect = one.comparison, one.comparison.effect
    if margin.unmeasurable is not None:
        return Judged(subject, Outcome.INCONCLUSIVE, margin.unmeasurable, one)
    if effect is None or comparison.change_p is None:
        return Judged(subject, Outcome.INCONCLUSIVE, comparison.note or "there is no effect to judge", one)
    figures = (
        f"{math.expm1(effect.mean):+.1%} [{math.expm1(effect.low):+.1%}, {math.expm1(effect.high):+.1%}] time per call,"
        f" margin {margin.value:.1%}, {effect.blocks} blocks"
    )
    if comparison.verdict is CompareVerdict.REGRESSED:
        if again is None:
            return Judged(subject, Outcome.INCONCLUSIVE, f"{figures}; no second run has confirmed it", one)
        if again.comparison.verdict is CompareVerdict.REGRESSED:
            return Judged(subject, Outcome.REGRESSED, f"{figures}; a second run confirms it", one, again)
        doubt = f": {again.comparison.note}" if again.comparison.note else ""
        return Judged(subject, Outcome.INCONCLUSIVE, f"{figures}; a second run does not confirm it{doubt}", one, again)
    if comparison.not_worse_p is not None and comparison.not_worse_p <= ALPHA:
        return Judged(subject, Outcome.PASSED, figures, one)
    more = comparison.more_blocks
    need = f"about {more} more blocks would settle it" if more else "it is too close to the margin to settle"
    return Judged(subject, Outcome.INCONCLUSIVE, f"{figures}; {need}", one)


def _judge_accuracy(workload: str, first: Side, candidate: Side, policy: Policy) -> Judged:
    """Passed when the mean over the same seeds has not dropped by more than the margin; regressed if it surely has."""
    a, b = first.accuracy.get(workload), candidate.accuracy.get(workload)
    subject = f"{workload} accuracy"
    if a is None or a.headline is None or a.headline not in a.metrics:
        return Judged(subject, Outcome.MISSING, "the reference does not say which accuracy metric counts")
    subject = f"{workload} {a.headline}"
    if b is None or a.headline not in b.metrics:
        return Judged(subject, Outcome.MISSING, "the baseline has it and the candidate does not")
    one = compare_metric(
        workload, a.headline, candidate.name, a.metrics[a.headline], b.metrics[a.headline], policy.accuracy_margin
    )
    figures = f"{one.a.mean:.4f} -> {one.b.mean:.4f}, margin {policy.accuracy_margin:g}, {one.b.n} seeds"
    if one.a.n != one.b.n:
        why = f"{figures}; the baseline has {one.a.n}: train both with the same number of seeds"
        return Judged(subject, Outcome.INCONCLUSIVE, why, accuracy=one)
    if one.b.mean - one.a.mean >= -policy.accuracy_margin:
        return Judged(subject, Outcome.PASSED, figures, accuracy=one)
    if one.verdict is CompareVerdict.REGRESSED:
        return Judged(subject, Outcome.REGRESSED, figures, accuracy=one)
    return Judged(subject, Outcome.INCONCLUSIVE, f"{figures}; {one.note}", accuracy=one)


def _confirm_accuracy(one: Judged, second: Pair | None, policy: Policy) -> Judged:
    if one.outcome is not Outcome.REGRESSED or one.accuracy is None:
        return one
    if second is None:
        return replace(one, outcome=Outcome.INCONCLUSIVE, why=f"{one.why}; no second run has confirmed it")
    again = _judge_accuracy(one.accuracy.workload, *second, policy)
    if again.outcome is Outcome.REGRESSED:
        return replace(one, why=f"{one.why}; a second run confirms it")
    return replace(one, outcome=Outcome.INCONCLUSIVE, why=f"{one.why}; a second run does not confirm it")
