"""Two to many runs side by side: what is slower, by how much, and what else differs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.environment import Difference, differences, refuse_separated, require_known
from harness.compare.matching import matched
from harness.compare.observations import AccuracyFigure, Key, Observation, Side
from harness.errors import ExitCode, InputError
from harness.measure.stats import Array, Interval, interval_over_processes, log_ratios, t_quantile
from harness.measure.verdicts import DEFAULT_MARGIN, MIN_BLOCKS, NO_SPREAD, CompareVerdict, Comparison, compare_family
from harness.wording import plural

ACCURACY_MARGIN = 0.01  # absolute, of metrics in [0, 1]
_MOST_LOST = 1 / 3  # blocks without a time on either side; what is left of more no longer stands for the machine


@dataclass(frozen=True)
class TimeComparison:
    """One key on side B against the baseline A.

    Attributes:
        side: name of B.
        a, b: seconds per call over processes; None where there is nothing to show.
        comparison: the verdict; its effect is of the time, positive is slower.
        problems: why the times may not be judged.
        unit: of the times.
    """

    key: Key
    side: str
    a: Interval | None
    b: Interval | None
    comparison: Comparison
    problems: tuple[str, ...] = ()
    unit: str = "s"


@dataclass(frozen=True)
class AccuracyComparison:
    """One accuracy metric on side B against the baseline A; ``low`` and ``high`` are 95 % limits of B - A."""

    workload: str
    metric: str
    side: str
    a: AccuracyFigure
    b: AccuracyFigure
    verdict: CompareVerdict
    low: float | None = None
    high: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class CompareReport:
    """Everything a comparison says; the first of ``sides`` is the baseline.

    ``missing`` maps a side's name to the keys it lacks among those any side has.
    """

    sides: tuple[Side, ...]
    times: tuple[TimeComparison, ...]
    accuracy: tuple[AccuracyComparison, ...]
    differences: Mapping[str, tuple[Difference, ...]]
    missing: Mapping[str, tuple[Key, ...]]

    @property
    def verdicts(self) -> tuple[CompareVerdict, ...]:
        """All verdicts, of times and of accuracy."""
        times = tuple(time.comparison.verdict for time in self.times)
        return times + tuple(metric.verdict for metric in self.accuracy)

    @property
    def exit_code(self) -> ExitCode:
        """1 when something regressed, else 2 when something is inconclusive or no longer there, else 0."""
        undecided = CompareVerdict.INCONCLUSIVE in self.verdicts or bool(self.gone)
        return ExitCode.judged(failed=CompareVerdict.REGRESSED in self.verdicts, inconclusive=undecided)

    @property
    def gone(self) -> tuple[Key, ...]:
        """What the baseline has and another side does not: nothing says that it is no slower."""
        lacking = {key for side in self.sides[1:] for key in self.missing[side.name]}
        return tuple(key for key in sorted(self.sides[0].observations) if key in lacking)


def compare(
    sides: Sequence[Side],
    *,
    margin: float = DEFAULT_MARGIN,
    accuracy_margin: float = ACCURACY_MARGIN,
    allowed: Collection[str] = (),
) -> CompareReport:
    """Compare every side with the first, all comparisons forming one family.

    Args:
        sides: two or more.
        margin: relative change of a time that matters.
        accuracy_margin: absolute change of an accuracy metric that matters.
        allowed: facts that may differ although they make the comparison meaningless otherwise.

    Raises:
        EnvironmentMismatchError: the sides did different work, or one is emulated.
        InputError: fewer than two sides, or two that have no result in common.
    """
    if len(sides) < 2:
        raise InputError(f"A comparison needs two runs, got {len(sides)}.")
    require_known(allowed, sides)
    baseline, *others = _distinctly_named(sides)
    others = [matched(baseline, side) for side in others]
    sides = [baseline, *others]
    differing = {side.name: differences(baseline, side) for side in others}
    for side in sides:
        if not side.observations:
            raise InputError(f"{side.name} holds no results.", remedy="Give a run, or a file, that has measured some.")
    for side in others:
        refuse_separated(differing[side.name], allowed)
        if not baseline.observations.keys() & side.observations.keys():
            raise InputError(
                f"{baseline.name} and {side.name} have no result in common.",
                remedy="Compare runs of the same workloads, scenarios, backends and batch sizes.",
            )
    every_key = sorted(set().union(*(side.observations for side in sides)))
    return CompareReport(
        sides=tuple(sides),
        times=compare_times(baseline, others, margin),
        accuracy=tuple(metric for side in others for metric in compare_accuracy(baseline, side, accuracy_margin)),
        differences=differing,
        missing={side.name: tuple(key for key in every_key if key not in side.observations) for side in sides},
    )


def compare_times(
    baseline: Side, others: Sequence[Side], margin: float | Mapping[Key, float]
) -> tuple[TimeComparison, ...]:
    """Judge every common key of every side against the baseline, as one family."""
    pairs = [
        (key, side, _paired(baseline, side, key))
        for key in sorted(baseline.observations)
        for side in others
        if key in side.observations
    ]
    margins = [margin if isinstance(margin, float) else margin[key] for key, _, _ in pairs]
    judged = compare_family([paired.d for _, _, paired in pairs], margins)
    return tuple(
        TimeComparison(
            key=key,
            side=side.name,
            a=_interval(baseline.observations[key]),
            b=_interval(side.observations[key]),
            comparison=_explained(comparison, paired),
            problems=paired.problems,
            unit=baseline.observations[key].unit,
        )
        for (key, side, paired), comparison in zip(pairs, judged, strict=True)
    )


def paired_ratios(a: Side, b: Side, key: Key) -> Array:
    """Log ratios of B's times over A's by block, shape (k,); none where the sides may not be paired."""
    if key not in a.observations or key not in b.observations:
        return np.zeros(0)
    return _paired(a, b, key).d


def compare_accuracy(a: Side, b: Side, margin: float = ACCURACY_MARGIN) -> list[AccuracyComparison]:
    """Judge every accuracy metric both sides have."""
    comparisons = []
    for workload in sorted(a.accuracy.keys() & b.accuracy.keys()):
        of_a, of_b = a.accuracy[workload].metrics, b.accuracy[workload].metrics
        for metric in sorted(of_a.keys() & of_b.keys()):
            comparisons.append(compare_metric(workload, metric, b.name, of_a[metric], of_b[metric], margin))
    return comparisons


@dataclass(frozen=True)
class _Paired:
    """Log ratios by block; none when the sides may not be paired, for the reasons in ``problems``."""

    d: Array
    problems: tuple[str, ...]


def _paired(side_a: Side, side_b: Side, key: Key) -> _Paired:
    nothing, a, b = np.zeros(0), side_a.observations[key], side_b.observations[key]
    problems = [f"{side.name}: {text}" for side, of in ((side_a, a), (side_b, b)) for text in of.problems]
    all_a, all_b = a.seconds.keys() | a.unusable.keys(), b.seconds.keys() | b.unusable.keys()
    if a.unit != b.unit:
        problems.append(f"the units differ: {a.unit or 'not known'} and {b.unit or 'not known'}")
    if all_a != all_b:
        counts = f"{len(all_a)} and {len(all_b)}"
        problems.append(f"the runs do not have the same blocks ({counts}): measure both with the same number")
    blocks = sorted(a.seconds.keys() & b.seconds.keys())
    lost = len(all_a) - len(blocks)
    if lost > _MOST_LOST * len(all_a):
        reasons = "; ".join(dict.fromkeys([*a.unusable.values(), *b.unusable.values()]))
        problems.append(
            f"{lost} of {plural(len(all_a), 'block')} {'gives' if lost == 1 else 'give'} no pair of times: {reasons}"
        )
    if problems:
        return _Paired(nothing, tuple(problems))
    times_a, times_b = [a.seconds[block] for block in blocks], [b.seconds[block] for block in blocks]
    if len(blocks) >= MIN_BLOCKS and min(np.ptp(np.log(times_a)), np.ptp(np.log(times_b))) < NO_SPREAD:
        return _Paired(nothing, ("all processes of one side took exactly the same time, which no measurement gives",))
    return _Paired(log_ratios(times_a, times_b) if blocks else nothing, ())


def _explained(comparison: Comparison, paired: _Paired) -> Comparison:
    """An inconclusive verdict for lack of usable blocks says why there are none."""
    if not paired.problems:
        return comparison
    return Comparison(CompareVerdict.INCONCLUSIVE, comparison.margin, more_blocks=None, note="; ".join(paired.problems))


def _interval(observation: Observation) -> Interval | None:
    return interval_over_processes(list(observation.seconds.values())) if observation.seconds else None


def compare_metric(
    workload: str, metric: str, side: str, a: AccuracyFigure, b: AccuracyFigure, margin: float
) -> AccuracyComparison:
    """Judge one metric: Welch's t interval of the difference of means over seeds; equal means need no interval.

    Source: Welch (1947), "The generalization of Student's problem when several different population variances are
    involved".
    """

    def judged(
        verdict: CompareVerdict, low: float | None = None, high: float | None = None, note: str | None = None
    ) -> AccuracyComparison:
        return AccuracyComparison(workload, metric, side, a, b, verdict, low, high, note)

    difference = b.mean - a.mean
    if difference == 0:
        return judged(CompareVerdict.EQUIVALENT)
    if a.sd is None or b.sd is None or min(a.n, b.n) < 2:
        note = "with one seed, a change cannot be distinguished from the variation between seeds"
        return judged(CompareVerdict.INCONCLUSIVE, note=note)
    parts = (a.sd**2 / a.n, b.sd**2 / b.n)
    error = math.sqrt(sum(parts))
    if error > 0:
        share = parts[0] / sum(parts)
        degrees = 1 / (share**2 / (a.n - 1) + (1 - share) ** 2 / (b.n - 1))
        half, half90 = t_quantile(0.95, degrees) * error, t_quantile(0.90, degrees) * error
    else:
        half = half90 = 0.0
    low, high = difference - half, difference + half
    if high < -margin:
        return judged(CompareVerdict.REGRESSED, low, high)
    if low > margin:
        return judged(CompareVerdict.IMPROVED, low, high)
    if abs(difference) + half90 < margin:
        return judged(CompareVerdict.EQUIVALENT, low, high)
    return judged(CompareVerdict.INCONCLUSIVE, low, high, "the interval spans the margin; more seeds would narrow it")


def _distinctly_named(sides: Sequence[Side]) -> list[Side]:
    seen: dict[str, int] = {}
    named = []
    for side in sides:
        seen[side.name] = seen.get(side.name, 0) + 1
        named.append(side if seen[side.name] == 1 else replace(side, name=f"{side.name} ({seen[side.name]})"))
    return named
