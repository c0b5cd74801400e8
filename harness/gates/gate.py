"""The gate: fails only on a difference that is certain, matters, repeats, and is the code's and nothing else's."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from harness.compare.compare import AccuracyComparison, TimeComparison, compare_metric, compare_times
from harness.compare.environment import require_known, require_same
from harness.compare.matching import matched
from harness.compare.observations import Key, Side
from harness.errors import ExitCode
from harness.gates.baseline import MIN_SESSIONS, Baseline
from harness.gates.policy import Policy
from harness.gates.stored import LARGEST_DEFAULT_MARGIN, MOST_RUNS, Look, look
from harness.measure.stats import PairedEffect, t_quantile
from harness.measure.verdicts import ALPHA, CompareVerdict
from harness.wording import percentage, plural, signed

Pair = tuple[Side, Side]  # baseline and candidate
MeasureAgain = Callable[[Collection[Key]], Pair | None]  # some results from fresh blocks, or these and all others

_TOO_NOISY = "this machine is too noisy to gate on"
_OPEN = 0.001  # share of unchanged results that noise alone may leave open at the second look

_NEEDS_SESSIONS = (
    f"stored times of a machine shared with others are judged only once the baseline holds {MIN_SESSIONS} sessions,"
    " whose spread shows by how much two of them differ"
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
    left_out: tuple[str, ...] = ()  # files given with the runs that hold nothing to judge

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
    measure_again: MeasureAgain | None,
    looks: int = 1,
) -> GateReport:
    """Judge the candidate of ``pair`` against the baseline.

    Against a side measured in the same blocks, a time has regressed only if the environments agree, both sides are
    valid, the lower 95 % limit of the slowdown lies above the margin, and a second run of fresh blocks says so too. It
    passes only if the upper 90 % limit lies below the margin. Against stored sessions see
    :mod:`harness.gates.stored`. Everything else is inconclusive.

    Args:
        baseline: what must be there, with noise floors.
        pair: baseline and candidate; the first is ``baseline.side`` when ``source`` is STORED.
        policy: what the user asks.
        source: where the times of the baseline come from.
        measure_again: gives another pair from fresh blocks with the results that are open, None when there are no
            more; called only when there is something to confirm, once, and up to nineteen times against stored
            sessions. None: nothing can be confirmed, so nothing regresses.
        looks: how often blocks of this pair have been judged; at the second look, half the error is left, and who named
            no margin lets pass what is no more than the noise of all these blocks.

    Raises:
        EnvironmentMismatchError: the environments differ in something not allowed.
    """
    first, candidate = pair = _named_as(baseline, pair)
    _require_same(baseline.side, candidate, policy)
    _require_same(first, candidate, policy)
    accuracy = [_judge_accuracy(workload, first, candidate, policy) for workload in sorted(baseline.side.accuracy)]
    doubtful = any(result.verdict is GateVerdict.REGRESSED for result in accuracy)
    repeat = _Repeat(measure_again, baseline, policy)
    if source is BaselineSource.STORED and baseline.noise is not None:
        results = _judge_sessions(baseline, candidate, policy, repeat, doubtful=doubtful)
    else:
        results = _judge_blocks(baseline, pair, policy, source, repeat, doubtful=doubtful, looks=looks)
    results += [_confirm_accuracy(result, repeat.second, policy) for result in accuracy]
    ungated = tuple(sorted(candidate.observations.keys() - baseline.side.observations.keys()))
    judged = (candidate, *(side for _, side in repeat.pairs))
    left_out = tuple(dict.fromkeys(why for side in judged for why in side.left_out))
    return GateReport(baseline.side.name, candidate.name, source, tuple(results), ungated, left_out)


def _named_as(baseline: Baseline, pair: Pair) -> Pair:
    """Both sides with the names that the baseline has for their results."""
    return matched(baseline.side, pair[0]), matched(baseline.side, pair[1])


@dataclass
class _Repeat:
    """Further pairs from fresh blocks, each measured when it is asked for."""

    measure: MeasureAgain | None
    baseline: Baseline
    policy: Policy
    pairs: list[Pair] = field(default_factory=list)

    def __call__(self, keys: Collection[Key]) -> Pair | None:
        """The next pair, with these results at least; None where there cannot be one."""
        pair = None if self.measure is None else self.measure(keys)
        if pair is None:
            return None
        first, candidate = _named_as(self.baseline, pair)
        _require_same(self.baseline.side, candidate, self.policy)
        _require_same(first, candidate, self.policy)
        self.pairs.append((first, candidate))
        return self.pairs[-1]

    @property
    def second(self) -> Pair | None:
        """The pair that confirms the first."""
        return self.pairs[0] if self.pairs else None


def _require_same(a: Side, b: Side, policy: Policy) -> None:
    """See that the environments are the same but for what is allowed; per result where some allow more than others."""
    groups: dict[frozenset[str], list[Key]] = {}
    for key in a.observations:
        groups.setdefault(policy.allowed_for(key), []).append(key)
    for allowed, keys in groups.items():
        require_known(allowed, (a, b))
        require_same(_restrict(a, keys), _restrict(b, keys), allowed)


def _judge_sessions(
    baseline: Baseline, candidate: Side, policy: Policy, repeat: _Repeat, *, doubtful: bool
) -> list[GateResult]:
    """Results against the levels of stored sessions, measured again while something may change by it."""
    asked = {key: policy.asked(key, math.exp(baseline.level(key).log)) for key in baseline.keys}
    sides = [candidate]
    looks, gone = look(baseline, asked, sides), baseline.side.observations.keys() - candidate.observations.keys()
    while len(sides) < MOST_RUNS:
        open_ = {key for key, judged in looks.items() if judged.unsettled}
        pair = repeat(baseline.keys if doubtful else open_) if doubtful or open_ else None
        if pair is None:
            break
        doubtful, there = False, pair[1].observations.keys()
        gone |= open_ - there if there <= open_ else baseline.side.observations.keys() - there
        sides.append(pair[1])
        looks = look(baseline, asked, sides)
    runs = {key: [side for side in sides if key in side.observations] for key in baseline.keys}
    later = look(baseline, asked, sides[1:]) if len(sides) > 1 else {}
    return [
        _missing(str(key)) if key in gone else _session_result(key, looks[key], later.get(key), len(runs[key]))
        for key in baseline.keys
    ]


def _session_result(key: Key, judged: Look, later: Look | None, runs: int) -> GateResult:
    effect, verdict = judged.time.comparison.effect, judged.time.comparison.verdict
    figures = _figures(judged.time) + (f" in {runs} runs" if runs > 1 else "")
    if effect is None:
        text, gate_verdict = f"{judged.why}, {_margin_text(judged.time)}", GateVerdict.INCONCLUSIVE
    elif verdict is CompareVerdict.REGRESSED:
        confirmed = "a second run confirms it" if runs == 2 else f"{runs} runs confirm it"
        text, gate_verdict = f"{figures}; {confirmed}", GateVerdict.REGRESSED
    elif judged.why is not None:
        text, gate_verdict = f"{figures}; {judged.why}", GateVerdict.INCONCLUSIVE
    else:
        text, gate_verdict = figures, GateVerdict.PASSED
    return GateResult(str(key), gate_verdict, text, judged.time, later.time if later else None)


def _judge_blocks(
    baseline: Baseline,
    pair: Pair,
    policy: Policy,
    source: BaselineSource,
    repeat: _Repeat,
    *,
    doubtful: bool,
    looks: int,
) -> list[GateResult]:
    """Results against times of the same blocks, or against those of the only session of a dedicated machine."""
    first, candidate = pair
    margins = {key: _margin(baseline, key, policy, source) for key in baseline.side.observations}
    values = {key: margin.value for key, margin in margins.items()}
    times = {time.key: time for time in compare_times(_restrict(first, margins), [candidate], values)}
    suspects = {key for key, time in times.items() if _suspect(time, margins[key])}
    second = repeat(margins if doubtful else suspects) if suspects or doubtful else None
    confirmations = _confirm_times(second, suspects, values)
    return [_judge_time(key, times.get(key), margins[key], confirmations.get(key), looks) for key in sorted(margins)]


@dataclass(frozen=True)
class _Margin:
    """A margin to judge with, and why nothing smaller can be ruled out here; ``blind``: nothing at all can be told."""

    value: float
    unmeasurable: str | None = None
    blind: bool = False
    named: bool = False


def _margin(baseline: Baseline, key: Key, policy: Policy, source: BaselineSource) -> _Margin:
    """The margin of one key: what was asked for; that of nobody's naming no less than the noise, up to a limit."""
    noise, widening = baseline.floors[key].effect, 0.0
    asked = policy.asked(key, math.exp(baseline.level(key).log))
    if source is BaselineSource.STORED:
        if not _dedicated(baseline.side):
            return _Margin(asked.share, _NEEDS_SESSIONS, blind=True)
        widening = noise
    if asked.named:
        if asked.share >= noise:
            return _Margin(asked.share, named=True)
        reason = f"a margin of {percentage(asked.share, 1)} is not measurable here: {_floor_text(noise)}"
        return _Margin(noise, reason, named=True)
    value = (1 + max(asked.share, noise)) * (1 + widening) - 1
    if value > max(asked.share, LARGEST_DEFAULT_MARGIN):
        return _Margin(value, f"{_TOO_NOISY}: {_floor_text(noise)}")
    return _Margin(value)


def _noise(effect: PairedEffect) -> tuple[float, float]:
    """Log ratio that unchanged code stays below on this machine, and the margin that it then surely keeps."""
    error = effect.sd / math.sqrt(effect.blocks)
    open_above, half90 = (t_quantile(1 - 2 * share, effect.blocks - 1) * error for share in (_OPEN, ALPHA))
    return open_above, math.expm1(open_above + half90)


def _dedicated(side: Side) -> bool:
    return side.fingerprint.get("lpar_dedicated") is True or side.fingerprint.get("hypervisor") == "bare metal"


def _restrict(side: Side, keys: Collection[Key]) -> Side:
    return replace(side, observations={key: side.observations[key] for key in side.observations if key in keys})


def _suspect(time: TimeComparison, margin: _Margin) -> bool:
    return not margin.blind and time.comparison.verdict is CompareVerdict.REGRESSED


def _confirm_times(second: Pair | None, suspects: set[Key], margins: Mapping[Key, float]) -> dict[Key, TimeComparison]:
    if second is None:
        return {}
    first, candidate = second
    return {time.key: time for time in compare_times(_restrict(first, suspects), [candidate], margins)}


def _judge_time(
    key: Key, time: TimeComparison | None, margin: _Margin, confirmation: TimeComparison | None, looks: int
) -> GateResult:
    subject = str(key)
    if time is None:
        return _missing(subject)

    def inconclusive(why: str) -> GateResult:
        return GateResult(subject, GateVerdict.INCONCLUSIVE, why, time, confirmation)

    comparison, effect = time.comparison, time.comparison.effect
    if effect is None or comparison.change_p is None:
        return inconclusive(margin.unmeasurable or comparison.note or "there is no effect to judge")
    figures = _figures(time)
    if margin.unmeasurable is not None and (margin.blind or comparison.verdict is not CompareVerdict.REGRESSED):
        return inconclusive(f"{margin.unmeasurable}; {figures}")
    if comparison.verdict is CompareVerdict.REGRESSED:
        if confirmation is None:
            return inconclusive(f"{figures}; no second run has confirmed it")
        if confirmation.comparison.verdict is CompareVerdict.REGRESSED:
            why = f"{figures}; a second run confirms it"
            return GateResult(subject, GateVerdict.REGRESSED, why, time, confirmation)
        doubt = f": {confirmation.comparison.note}" if confirmation.comparison.note else ""
        return inconclusive(f"{figures}; a second run does not confirm it{doubt}")
    if comparison.not_worse_p is not None and comparison.not_worse_p <= ALPHA / looks:
        return GateResult(subject, GateVerdict.PASSED, figures, time)
    if looks > 1 and not margin.named:
        open_above, noise = _noise(effect)
        if noise > LARGEST_DEFAULT_MARGIN:
            return inconclusive(f"{_TOO_NOISY}: unchanged code stays within {percentage(noise, 1)}; {figures}")
        if effect.mean <= open_above:
            wider = replace(time, comparison=replace(comparison, margin=noise, verdict=CompareVerdict.EQUIVALENT))
            return GateResult(subject, GateVerdict.PASSED, _figures(wider), wider)
    more = comparison.more_blocks
    need = f"about {more} more blocks would settle it" if more else "it is too close to the margin to settle"
    return inconclusive(f"{figures}; {need}")


def _missing(subject: str) -> GateResult:
    return GateResult(subject, GateVerdict.MISSING, "the baseline has it and the candidate does not")


def _figures(time: TimeComparison) -> str:
    """The change with its limits, what it is of, and the margin; nothing without an effect."""
    effect = time.comparison.effect
    if effect is None:
        return ""
    change, low, high = (signed(100 * math.expm1(value)) for value in (effect.mean, effect.low, effect.high))
    return f"{change} % [{low}, {high}] {time.key.estimate}, {_margin_text(time)}, {plural(effect.blocks, 'block')}"


def _margin_text(time: TimeComparison) -> str:
    return f"margin {percentage(time.comparison.margin, 1)}"


def _floor_text(noise: float) -> str:
    return f"the noise floor is {percentage(noise, 1)}"


def _judge_accuracy(workload: str, first: Side, candidate: Side, policy: Policy) -> GateResult:
    """Passed when the mean over the same seeds has not dropped by more than the margin; regressed if it surely has."""
    a, b = first.accuracy.get(workload), candidate.accuracy.get(workload)
    if a is None or a.headline is None or a.headline not in a.metrics:
        why = "the baseline does not say which accuracy metric counts"
        return GateResult(f"{workload} accuracy", GateVerdict.MISSING, why)
    subject = f"{workload} {a.headline}"
    if b is None or a.headline not in b.metrics:
        return _missing(subject)
    metric = compare_metric(
        workload, a.headline, candidate.name, a.metrics[a.headline], b.metrics[a.headline], policy.accuracy_margin
    )
    figures = (
        f"{metric.a.mean:.4f} -> {metric.b.mean:.4f}, margin {policy.accuracy_margin:g}, {plural(metric.b.n, 'seed')}"
    )
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
