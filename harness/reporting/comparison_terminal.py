"""Comparisons, gates, self-checks and histories for a terminal or, without colour or frames, for a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from harness.compare.compare import CompareReport
from harness.compare.history import History
from harness.gates.gate import GateReport, Outcome
from harness.gates.selfcheck import SelfCheck
from harness.measure.verdicts import CompareVerdict
from harness.reporting.comparison_view import STATUSES, percent, view_of
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.reporting.text import clip, plural, quantity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 10_000  # a pipe has no width: one line per result, whole
_LINE = 400
_LEFT = {"Result", "Run", "Accuracy", "95 % interval", "Verdict"}
_COLOURS = {"good": "green", "warn": "yellow", "bad": "red"}
_OUTCOMES = {
    Outcome.PASSED: Status("Passed", GOOD, "good"),
    Outcome.REGRESSED: Status("Regressed", BAD, "bad"),
    Outcome.INCONCLUSIVE: Status("Inconclusive", WARN, "warn"),
    Outcome.MISSING: Status("Missing", WARN, "warn"),
}


def print_comparison(report: CompareReport) -> None:
    """The verdict, the times, the accuracy, and what else differs."""
    out, view = _console(), view_of(report)
    for sentence in view.sentences:
        _say(out, f"{view.status.shape} {sentence}", style=f"bold {_COLOURS[view.status.kind]}")
    several = len(report.sides) > 2
    table = _table(
        ("Result", *(["Run"] if several else []), view.reference, "Now", "Change", "95 % interval", "Verdict")
    )
    for line in view.times:
        which = [line.side] if several else []
        cells = (line.result, *which, line.a, line.b, line.change, line.limits)
        table.add_row(*map(_cell, cells), _tag(line.status))
    out.print()
    out.print(table)
    for line in view.times:
        if line.note:
            _say(out, f"{line.status.shape} {line.result}, {line.side}: {line.note}", style="dim")
    changed = [one for one in view.accuracy if one.status is not STATUSES[CompareVerdict.EQUIVALENT]]
    if view.accuracy:
        out.print()
        same = len(view.accuracy) - len(changed)
        _say(out, f"Accuracy is equivalent in {same} of {plural(len(view.accuracy), 'metric')}.")
    if changed:
        table = _table(("Accuracy", "Run", view.reference, "Now", "Change", "Verdict"))
        for one in changed:
            table.add_row(*map(_cell, (one.metric, one.side, one.a, one.b, one.change)), _tag(one.status))
        out.print(table)
    for text in view.missing:
        _say(out, f"{WARN} {text}")
    out.print()
    _say(out, "What else differs, the likely strongest effect first:" if view.differences else "Nothing else differs.")
    for fact in view.differences:
        concerns = f" ({fact.concerns})" if fact.concerns else ""
        _say(out, f"  {fact.side}: {fact.name} {fact.a} -> {fact.b}: {fact.effect}{concerns}")


def print_gate(report: GateReport) -> None:
    """One line per gated thing, and the verdict last."""
    out = _console()
    for one in report.judged:
        status = _OUTCOMES[one.outcome]
        out.print(Text.assemble(_tag(status), f"  {_safe(one.subject)}: {_safe(one.why)}"), soft_wrap=True)
    for key in report.unknown:
        _say(out, f"- {key}: not in the baseline, not gated", style="dim")
    status, text = gate_verdict(report)
    out.print()
    _say(out, f"{status.shape} {text}", style=f"bold {_COLOURS[status.kind]}")


def gate_verdict(report: GateReport) -> tuple[Status, str]:
    """The gate's word in one sentence."""
    counts = {outcome: sum(one.outcome is outcome for one in report.judged) for outcome in Outcome}
    against = f"against {report.baseline} ({report.reference.value})"
    if counts[Outcome.REGRESSED]:
        things = plural(counts[Outcome.REGRESSED], "result")
        return _OUTCOMES[Outcome.REGRESSED], f"{report.candidate} regressed in {things} {against}."
    if counts[Outcome.PASSED] == len(report.judged):
        return _OUTCOMES[
            Outcome.PASSED
        ], f"{report.candidate} passed in all {plural(len(report.judged), 'result')} {against}."
    open_ones = counts[Outcome.INCONCLUSIVE] + counts[Outcome.MISSING]
    return (
        _OUTCOMES[Outcome.INCONCLUSIVE],
        f"{report.candidate} neither passed nor regressed: {open_ones} of {plural(len(report.judged), 'result')} open"
        f" {against}.",
    )


def print_self_check(name: str, checks: Sequence[SelfCheck]) -> None:
    """The noise floor of every key, and how often noise alone would raise a suspicion."""
    out = _console()
    table = _table(("Result", "Pairs", "Noise floor", "Margin", "Suspicions", "Verdict"))
    for one in checks:
        cells = (str(one.key), str(one.pairs), percent(one.floor), percent(one.margin), percent(one.alarm_share))
        table.add_row(*map(_cell, cells), _cell(one.comparison.verdict.value))
    out.print(table)
    worst = max(checks, key=lambda one: one.floor)
    out.print()
    _say(
        out,
        f"{name} against itself: changes below {percent(worst.floor)} cannot be told from noise here; noise alone"
        f" would raise a suspicion in {percent(max(one.alarm_share for one in checks))} of runs, and a failure needs"
        " two of them.",
        style="bold",
    )


def print_history(histories: Sequence[History]) -> None:
    """Every key with its steps, and what changed with them."""
    out = _console()
    for one in histories:
        if not one.points:
            _say(out, f"{one.key}: no valid run", style="dim")
            continue
        last = quantity(one.points[-1].seconds, "s")
        found = one.note or plural(len(one.steps), "step")
        _say(out, f"{one.key}: {plural(len(one.points), 'run')}, now {last} per call, {found}", style="bold")
        for step in one.steps:
            point = one.points[step.at]
            shape, word = (BAD, "slower") if step.ratio > 1 else (GOOD, "faster")
            size = percent(abs(step.ratio - 1))
            _say(out, f"  {shape} {point.created} {point.run}: {size} {word} from here on (p = {step.p:.1g})")
            for fact in step.differences[:5]:
                _say(out, f"      with it changed {fact}")


def _console() -> Console:
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the shapes shows a question mark
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _table(heads: Sequence[str]) -> Table:
    """Names and verdicts to the left, everything else to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), highlight=False, header_style="dim")
    for head in heads:
        table.add_column(_cell(head), justify="left" if head in _LEFT else "right", overflow="fold")
    return table


def _say(out: Console, text: str, style: str | None = None) -> None:
    out.print(_safe(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _cell(text: str) -> Text:
    return Text(_safe(text))


def _tag(status: Status) -> Text:
    return Text(f"{status.shape} {status.word}", style=_COLOURS[status.kind])


def _safe(text: str) -> str:
    """Without control characters: a name in a record must not command the terminal."""
    return clip(text, _LINE)
