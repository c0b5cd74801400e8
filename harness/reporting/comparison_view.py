"""A comparison in words and figures: what the terminal, the page and the JSON all say."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from harness.compare.compare import AccuracyComparison, CompareReport, TimeComparison
from harness.compare.environment import Difference, grouped
from harness.compare.facts import FactValue
from harness.compare.observations import Key
from harness.measure.stats import Interval
from harness.measure.verdicts import CompareVerdict, Comparison
from harness.reporting.sections.figures import metric_name
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import NO_BREAK, and_list, change, quantity, score, value_text
from harness.wording import plural

STATUSES = {
    CompareVerdict.REGRESSED: Status("Regressed", BAD, "bad"),
    CompareVerdict.IMPROVED: Status("Improved", GOOD, "good"),
    CompareVerdict.EQUIVALENT: Status("Equivalent", "≈", "good"),
    CompareVerdict.INCONCLUSIVE: Status("Inconclusive", WARN, "warn"),
}
_UNCERTAIN = "not known"
_NAMED = 3  # results named one by one; more are counted


@dataclass(frozen=True)
class TimeLine:
    """One time against the baseline, as text."""

    result: str
    name: str  # what it does not share with all others
    side: str
    a: str
    b: str
    change: str
    limits: str
    status: Status


@dataclass(frozen=True)
class Note:
    """Why results are inconclusive, or what they need, once; ``results`` that it concerns."""

    status: Status
    text: str
    results: str

    def __str__(self) -> str:
        return f"{self.results}: {self.text}"


@dataclass(frozen=True)
class AccuracyLine:
    """One accuracy metric against the baseline, as text."""

    metric: str
    side: str
    a: str
    b: str
    change: str
    status: Status
    note: str


@dataclass(frozen=True)
class DifferenceLine:
    """One fact in which a side differs from the baseline, as text."""

    side: str
    name: str
    a: str
    b: str
    effect: str
    concerns: str


@dataclass(frozen=True)
class ComparisonView:
    """Everything a reader is shown; ``sentences`` first."""

    baseline: str
    status: Status
    sentences: tuple[str, ...]
    statuses: tuple[Status, ...]  # of the sentences
    margin: str
    estimate: str  # what the time of a process is
    shared: str  # what is the same in all results; empty where nothing is
    times: tuple[TimeLine, ...]
    notes: tuple[Note, ...]
    accuracy: tuple[AccuracyLine, ...]
    differences: tuple[DifferenceLine, ...]
    missing: tuple[str, ...]


def view_of(report: CompareReport) -> ComparisonView:
    """The report in words."""
    baseline, *others = report.sides
    shared, names = distinct([time.key for time in report.times])
    every = {time.key for time in report.times}
    return ComparisonView(
        baseline=baseline.name,
        status=_status(report),
        sentences=tuple(_sentence(report, side.name) for side in others),
        statuses=tuple(_status_of_side(report, side.name) for side in others),
        margin=percent(report.times[0].comparison.margin) if report.times else "",
        estimate=_estimate(report),
        shared=shared,
        times=tuple(_time_line(time, names[time.key]) for time in report.times),
        notes=tuple(_notes(report)),
        accuracy=tuple(_accuracy_line(metric) for metric in report.accuracy),
        differences=tuple(
            _difference_line(side, facts, every)
            for side, differing in report.differences.items()
            for facts in grouped(differing)
        ),
        missing=tuple(f"{side} has no {key.title}" for side, keys in report.missing.items() for key in keys),
    )


def distinct(keys: Sequence[Key]) -> tuple[str, dict[Key, str]]:
    """What is the same in all of several keys, and of each what is not: a chart has no room to repeat it."""
    columns = list(zip(*(key.parts for key in keys), strict=True))
    same = [len(set(column)) == 1 < len(set(keys)) for column in columns]
    shared = ", ".join(column[0] for column, equal in zip(columns, same, strict=True) if equal and column[0])
    names = {
        key: ", ".join(part for part, equal in zip(key.parts, same, strict=True) if part and not equal) for key in keys
    }
    return shared, names


def percent(share: float) -> str:
    """A share as a percentage: ``3 %``."""
    return f"{100 * share:.3g}{NO_BREAK}%"


def change_text(comparison: Comparison) -> tuple[str, str]:
    """The change of a time and its 95 % limits; not known without an effect."""
    effect = comparison.effect
    if effect is None:
        return _UNCERTAIN, ""
    return change(effect.ratio, math.exp(effect.low), math.exp(effect.high))


def more_blocks_text(comparison: Comparison) -> str:
    """What an inconclusive comparison needs; empty where it has its answer."""
    note = comparison.note or ""
    if comparison.more_blocks:
        need = f"{plural(comparison.more_blocks, 'more block')} would settle it"
        return f"{note}; {need}" if note else need
    return note


def _status(report: CompareReport) -> Status:
    return _worst({*report.verdicts, *([CompareVerdict.INCONCLUSIVE] if report.gone else [])})


def _status_of_side(report: CompareReport, side: str) -> Status:
    verdicts = {time.comparison.verdict for time in report.times if time.side == side}
    verdicts |= {metric.verdict for metric in report.accuracy if metric.side == side}
    lacking = set(report.sides[0].observations) & set(report.missing[side])
    return _worst(verdicts | ({CompareVerdict.INCONCLUSIVE} if lacking else set()))


def _worst(verdicts: Collection[CompareVerdict]) -> Status:
    for verdict in (CompareVerdict.REGRESSED, CompareVerdict.INCONCLUSIVE, CompareVerdict.IMPROVED):
        if verdict in verdicts:
            return STATUSES[verdict]
    return STATUSES[CompareVerdict.EQUIVALENT]


def _estimate(report: CompareReport) -> str:
    """ "Times: undisturbed time per call, one value per process." """
    kinds = list(dict.fromkeys(time.key.estimate for time in report.times))
    return f"Times: {and_list(kinds)}, one value per process."


def _sentence(report: CompareReport, side: str) -> str:
    """ "B is slower than A in 2 of 5 results, most in mlp offline eager: +12 % [+10 %, +14 %]; 3 are equivalent."""
    times = [time for time in report.times if time.side == side]
    baseline = report.sides[0].name
    clauses = []
    for verdict, word in ((CompareVerdict.REGRESSED, "slower"), (CompareVerdict.IMPROVED, "faster")):
        certain = [time for time in times if time.comparison.verdict is verdict and time.comparison.effect is not None]
        if certain:
            worst = max(certain, key=lambda time: abs(time.comparison.effect.mean) if time.comparison.effect else 0.0)
            by, limits = change_text(worst.comparison)
            most = "in" if len(certain) == 1 else "most in"
            clauses.append(
                f"{word} than {baseline} in {len(certain)} of {plural(len(times), 'result')}, {most} {worst.key.title}:"
                f" {by} {limits}"
            )
    text = f"{side} is {' and '.join(clauses)}" if clauses else ""
    rest = []
    for verdict, word in ((CompareVerdict.EQUIVALENT, "equivalent"), (CompareVerdict.INCONCLUSIVE, "inconclusive")):
        count = sum(time.comparison.verdict is verdict for time in times)
        if count:
            rest.append(f"{'all' if count == len(times) else count} {word}")
    if rest:
        text = f"{text}; {and_list(rest)}" if text else f"{side} against {baseline}: {and_list(rest)}"
    worse = [metric for metric in report.accuracy if metric.side == side and metric.verdict is CompareVerdict.REGRESSED]
    if worse:
        names = and_list([f"{metric.workload} {metric_name(metric.metric)}" for metric in worse])
        text += f"; less accurate in {names}"
    lacking = len(report.missing[side]) if side in report.missing else 0
    if lacking:
        text += f"; {plural(lacking, 'result')} missing"
    return f"{text}."


def _time_line(time: TimeComparison, name: str) -> TimeLine:
    by, limits = change_text(time.comparison)
    if time.comparison.effect is None and time.a is not None and time.b is not None and time.unit:
        # The centres are there, and whoever reads them divides them: better said once, with what it is worth.
        by, limits = change(time.b.centre / time.a.centre, None, None)[0], "not judged"
    return TimeLine(
        result=time.key.title,
        name=name,
        side=time.side,
        a=_time(time.a, time.unit),
        b=_time(time.b, time.unit),
        change=by,
        limits=limits,
        status=STATUSES[time.comparison.verdict],
    )


def _notes(report: CompareReport) -> Iterator[Note]:
    """Each note once, with the results and sides that it concerns."""
    several = len(report.sides) > 2
    concerned: dict[tuple[str, CompareVerdict], list[TimeComparison]] = {}
    for time in report.times:
        if text := more_blocks_text(time.comparison):
            concerned.setdefault((text, time.comparison.verdict), []).append(time)
    for (text, verdict), times in concerned.items():
        sides = list(dict.fromkeys(time.side for time in times))
        every = [time for time in report.times if time.side in sides]
        if len(times) == len(every) > 1:
            results = f"all results of {and_list(sides)}" if several else "all results"
        else:
            names = [f"{time.key.title}, {time.side}" if several else time.key.title for time in times]
            rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            results = "; ".join(names[:_NAMED]) + rest
        yield Note(STATUSES[verdict], text, results)


def _accuracy_line(metric: AccuracyComparison) -> AccuracyLine:
    limits = "" if metric.low is None or metric.high is None else f" [{metric.low:+.3f}, {metric.high:+.3f}]"
    return AccuracyLine(
        metric=f"{metric.workload} {metric_name(metric.metric)}",
        side=metric.side,
        a=score(metric.a.mean),
        b=score(metric.b.mean),
        change=f"{metric.b.mean - metric.a.mean:+.3f}{limits}",
        status=STATUSES[metric.verdict],
        note=metric.note or "",
    )


def _difference_line(side: str, facts: Sequence[Difference], every: Collection[Key]) -> DifferenceLine:
    """A group of differences as one line, that of its first fact with the names of the others.

    The results that it concerns are named where they are not ``every`` result.
    """
    first = facts[0]
    root = first.name.partition(".")[0]
    others = [fact for fact in facts[1:] if fact.name.partition(".")[0] != root]
    own = [fact for fact in facts if fact not in others]
    name = first.name if len(own) == 1 else f"{root} ({', '.join(_rest(fact, root) for fact in own)})"
    a, b = (_values([getattr(fact, end) for fact in own]) for end in ("a", "b"))
    keys = () if set(every) <= set(first.keys) else first.keys
    concerns = and_list([key.title for key in keys[:3]]) + (" and others" if len(keys) > 3 else "")
    with_it = and_list(list(dict.fromkeys(fact.name.partition(".")[0] for fact in others)))
    concerns = "; ".join(text for text in (f"with it {with_it}" if with_it else "", concerns) if text)
    return DifferenceLine(side, name, a, b, first.effect, concerns)


def _values(values: Sequence[FactValue]) -> str:
    """Each of several, or the one that all have."""
    texts = [value_text(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else ", ".join(texts)


def _rest(fact: Difference, root: str) -> str:
    return fact.name.removeprefix(f"{root}.")


def _time(interval: Interval | None, unit: str) -> str:
    return _UNCERTAIN if interval is None else quantity(interval.centre, unit)
