"""A comparison in words and figures: what the terminal, the page and the JSON all say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.compare.compare import AccuracyComparison, CompareReport, TimeComparison
from harness.compare.environment import Difference
from harness.measure.stats import Interval
from harness.measure.verdicts import CompareVerdict, Comparison
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import NO_BREAK, and_list, plural, quantity, score, value_text

STATUSES = {
    CompareVerdict.REGRESSED: Status("Regressed", BAD, "bad"),
    CompareVerdict.IMPROVED: Status("Improved", GOOD, "good"),
    CompareVerdict.EQUIVALENT: Status("Equivalent", "≈", "good"),
    CompareVerdict.INCONCLUSIVE: Status("Inconclusive", WARN, "warn"),
}
_UNCERTAIN = "not known"


@dataclass(frozen=True)
class TimeLine:
    """One time against the reference, as text."""

    result: str
    side: str
    a: str
    b: str
    change: str
    limits: str
    status: Status
    note: str


@dataclass(frozen=True)
class AccuracyLine:
    """One accuracy metric against the reference, as text."""

    metric: str
    side: str
    a: str
    b: str
    change: str
    status: Status
    note: str


@dataclass(frozen=True)
class DifferenceLine:
    """One fact in which a side differs from the reference, as text."""

    side: str
    name: str
    a: str
    b: str
    effect: str
    concerns: str


@dataclass(frozen=True)
class ComparisonView:
    """Everything a reader is shown; ``sentences`` first."""

    reference: str
    status: Status
    sentences: tuple[str, ...]
    margin: str
    times: tuple[TimeLine, ...]
    accuracy: tuple[AccuracyLine, ...]
    differences: tuple[DifferenceLine, ...]
    missing: tuple[str, ...]


def view_of(report: CompareReport) -> ComparisonView:
    """The report in words."""
    reference, *others = report.sides
    return ComparisonView(
        reference=reference.name,
        status=_status(report),
        sentences=tuple(_sentence(report, side.name) for side in others),
        margin=percent(report.times[0].comparison.margin) if report.times else "",
        times=tuple(_time_line(one) for one in report.times),
        accuracy=tuple(_accuracy_line(one) for one in report.accuracy),
        differences=tuple(_difference_line(side, one) for side, found in report.differences.items() for one in found),
        missing=tuple(f"{side} has no {key}" for side, keys in report.missing.items() for key in keys),
    )


def signed_percent(log_ratio: float) -> str:
    """A log ratio as a change in percent with one decimal: ``+12.3 %``."""
    return f"{100 * math.expm1(log_ratio):+.1f}{NO_BREAK}%"


def percent(share: float) -> str:
    """A share as a percentage: ``3 %``."""
    return f"{100 * share:.3g}{NO_BREAK}%"


def change_text(comparison: Comparison) -> tuple[str, str]:
    """The change of a time and its 95 % limits; not known without an effect."""
    effect = comparison.effect
    if effect is None:
        return _UNCERTAIN, ""
    return signed_percent(effect.mean), f"[{signed_percent(effect.low)}, {signed_percent(effect.high)}]"


def more_blocks_text(comparison: Comparison) -> str:
    """What an inconclusive comparison needs; empty for one that has its answer."""
    note = comparison.note or ""
    if comparison.more_blocks:
        need = f"{plural(comparison.more_blocks, 'more block')} would settle it"
        return f"{note}; {need}" if note else need
    return note


def _status(report: CompareReport) -> Status:
    verdicts = set(report.verdicts)
    for verdict in (CompareVerdict.REGRESSED, CompareVerdict.INCONCLUSIVE, CompareVerdict.IMPROVED):
        if verdict in verdicts:
            return STATUSES[verdict]
    return STATUSES[CompareVerdict.EQUIVALENT]


def _sentence(report: CompareReport, side: str) -> str:
    """ "B is slower than A in 2 of 5 results, most in mlp offline eager: +12 % [+10 %, +14 %]; 3 are equivalent."""
    times = [one for one in report.times if one.side == side]
    reference = report.sides[0].name
    clauses = []
    for verdict, word in ((CompareVerdict.REGRESSED, "slower"), (CompareVerdict.IMPROVED, "faster")):
        found = [one for one in times if one.comparison.verdict is verdict and one.comparison.effect is not None]
        if found:
            worst = max(found, key=lambda one: abs(one.comparison.effect.mean) if one.comparison.effect else 0.0)
            change, limits = change_text(worst.comparison)
            most = "in" if len(found) == 1 else "most in"
            clauses.append(
                f"{word} than {reference} in {len(found)} of {plural(len(times), 'result')}, {most} {worst.key}:"
                f" {change} {limits}"
            )
    text = f"{side} is {' and '.join(clauses)}" if clauses else ""
    rest = []
    for verdict, word in ((CompareVerdict.EQUIVALENT, "equivalent"), (CompareVerdict.INCONCLUSIVE, "inconclusive")):
        count = sum(one.comparison.verdict is verdict for one in times)
        if count:
            rest.append(f"{'all' if count == len(times) else count} {word}")
    if rest:
        text = f"{text}; {and_list(rest)}" if text else f"{side} against {reference}: {and_list(rest)}"
    worse = [one for one in report.accuracy if one.side == side and one.verdict is CompareVerdict.REGRESSED]
    if worse:
        names = and_list([f"{one.workload} {one.metric}" for one in worse])
        text += f"; less accurate in {names}"
    return f"{text}."


def _time_line(one: TimeComparison) -> TimeLine:
    change, limits = change_text(one.comparison)
    return TimeLine(
        result=str(one.key),
        side=one.side,
        a=_seconds(one.a),
        b=_seconds(one.b),
        change=change,
        limits=limits,
        status=STATUSES[one.comparison.verdict],
        note=more_blocks_text(one.comparison),
    )


def _accuracy_line(one: AccuracyComparison) -> AccuracyLine:
    limits = "" if one.low is None or one.high is None else f" [{one.low:+.3f}, {one.high:+.3f}]"
    return AccuracyLine(
        metric=f"{one.workload} {one.metric}",
        side=one.side,
        a=score(one.a.mean),
        b=score(one.b.mean),
        change=f"{one.b.mean - one.a.mean:+.3f}{limits}",
        status=STATUSES[one.verdict],
        note=one.note or "",
    )


def _difference_line(side: str, one: Difference) -> DifferenceLine:
    return DifferenceLine(
        side=side,
        name=one.name,
        a=value_text(one.a),
        b=value_text(one.b),
        effect=one.effect,
        concerns=and_list([str(key) for key in one.keys[:3]]) + (" and others" if len(one.keys) > 3 else ""),
    )


def _seconds(interval: Interval | None) -> str:
    return _UNCERTAIN if interval is None else quantity(interval.centre, "s")
