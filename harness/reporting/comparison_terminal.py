"""Comparisons, gates, self-checks and histories for a terminal or, without colour or frames, for a pipe."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from harness.compare.compare import CompareReport
from harness.compare.history import History
from harness.gates.baseline import Baseline
from harness.gates.files import CheckedRun
from harness.gates.gate import GateReport, GateVerdict
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
_GATE_STATUSES = {
    GateVerdict.PASSED: Status("Passed", GOOD, "good"),
    GateVerdict.REGRESSED: Status("Regressed", BAD, "bad"),
    GateVerdict.INCONCLUSIVE: Status("Inconclusive", WARN, "warn"),
    GateVerdict.MISSING: Status("Missing", WARN, "warn"),
}


def print_comparison(report: CompareReport) -> None:
    """The verdict, the times, the accuracy, and what else differs."""
    out, view = _console(), view_of(report)
    for sentence in view.sentences:
        _say(out, f"{view.status.shape} {sentence}", style=f"bold {_COLOURS[view.status.kind]}")
    several = len(report.sides) > 2
    table = _table(
        ("Result", *(["Run"] if several else []), view.baseline, "Now", "Change", "95 % interval", "Verdict")
    )
    for line in view.times:
        which = [line.side] if several else []
        cells = (line.result, *which, line.a, line.b, line.change, line.limits)
        table.add_row(*map(_cell, cells), _tag(line.status))
    out.print()
    out.print(table)
    _say(out, view.estimate, style="dim")
    for line in view.times:
        if line.note:
            _say(out, f"{line.status.shape} {line.result}, {line.side}: {line.note}", style="dim")
    changed = [line for line in view.accuracy if line.status is not STATUSES[CompareVerdict.EQUIVALENT]]
    if view.accuracy:
        out.print()
        same = len(view.accuracy) - len(changed)
        _say(out, f"Accuracy is equivalent in {same} of {plural(len(view.accuracy), 'metric')}.")
    if changed:
        table = _table(("Accuracy", "Run", view.baseline, "Now", "Change", "Verdict"))
        for metric in changed:
            cells = (metric.metric, metric.side, metric.a, metric.b, metric.change)
            table.add_row(*map(_cell, cells), _tag(metric.status))
        out.print(table)
    for text in view.missing:
        _say(out, f"{WARN} {text}")
    out.print()
    _say(out, "What else differs, the likely strongest effect first:" if view.differences else "Nothing else differs.")
    for fact in view.differences:
        concerns = f" ({fact.concerns})" if fact.concerns else ""
        _say(out, f"  {fact.side}: {fact.name} {fact.a} -> {fact.b}: {fact.effect}{concerns}")


def print_gate(report: GateReport) -> None:
    """One line per gated metric, and the verdict last."""
    out = _console()
    for result in report.results:
        status = _GATE_STATUSES[result.verdict]
        out.print(Text.assemble(_tag(status), f"  {_safe(result.subject)}: {_safe(result.why)}"), soft_wrap=True)
    for key in report.ungated:
        _say(out, f"- {key}: not in the baseline, not gated", style="dim")
    status, text = gate_verdict(report)
    out.print()
    _say(out, f"{status.shape} {text}", style=f"bold {_COLOURS[status.kind]}")


def gate_verdict(report: GateReport) -> tuple[Status, str]:
    """The verdict of the gate in one sentence."""
    counts = Counter(result.verdict for result in report.results)
    against = f"against {report.baseline} ({report.source.value})"
    every = plural(len(report.results), "result")
    if counts[GateVerdict.REGRESSED]:
        verdict = GateVerdict.REGRESSED
        text = f"regressed in {plural(counts[verdict], 'result')} {against}."
    elif counts[GateVerdict.PASSED] == len(report.results):
        verdict, text = GateVerdict.PASSED, f"passed in all {every} {against}."
    else:
        verdict, undecided = GateVerdict.INCONCLUSIVE, len(report.results) - counts[GateVerdict.PASSED]
        text = f"neither passed nor regressed: {undecided} of {every} open {against}."
    return _GATE_STATUSES[verdict], f"{report.candidate} {text}"


def print_baseline(path: Path, baseline: Baseline) -> None:
    """The noise floors of a baseline that was just written."""
    out = _console()
    for key, floor in sorted(baseline.floors.items()):
        _say(out, f"{key}: noise floor {100 * floor.effect:.2g} %")
    _say(out, f"{path}: {baseline.side.name}, {plural(len(baseline.sessions), 'session')}")


def print_self_check(checked: CheckedRun) -> None:
    """The noise floor of every key, and how often noise alone would raise a suspicion."""
    out = _console()
    table = _table(("Result", "Pairs", "Noise floor", "Margin", "Suspicions", "Verdict"))
    for check in checked.checks:
        shares = (check.floor, check.margin, check.alarm_share)
        cells = (str(check.key), str(check.pairs), *map(percent, shares), check.comparison.verdict.value)
        table.add_row(*map(_cell, cells))
    out.print(table)
    floor = percent(max(check.floor for check in checked.checks))
    suspicions = percent(max(check.alarm_share for check in checked.checks))
    out.print()
    _say(
        out,
        f"{checked.name} against itself: changes below {floor} cannot be told from noise here; noise alone would raise"
        f" a suspicion in {suspicions} of runs, and a failure needs two of them.",
        style="bold",
    )


def print_history(histories: Sequence[History]) -> None:
    """Every key with its steps, and what changed with them."""
    out = _console()
    for history in histories:
        if not history.points:
            _say(out, f"{history.key}: no valid run", style="dim")
            continue
        last = quantity(history.points[-1].seconds, "s")
        outcome = history.note or plural(len(history.steps), "step")
        _say(
            out,
            f"{history.key}: {plural(len(history.points), 'run')}, now {last} {history.key.estimate}, {outcome}",
            style="bold",
        )
        for step in history.steps:
            point = history.points[step.at]
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
