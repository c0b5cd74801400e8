"""Comparisons, gates, self-checks and histories for a terminal or, without colour or frames, for a pipe."""

from __future__ import annotations

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
from harness.reporting.comparison_view import STATUSES, ComparisonView, percent, view_of
from harness.reporting.console import (
    COLOURS,
    add_columns,
    bare_table,
    fits,
    print_table,
    safe,
    say,
    standard_output,
    tag,
)
from harness.reporting.history_view import lines_of
from harness.reporting.sections.status import BAD, GOOD, WARN, Status
from harness.wording import plural

if TYPE_CHECKING:
    from rich.table import Table

_LEFT = {"Result", "Run", "Accuracy", "95 % interval", "Verdict"}
_GATE_STATUSES = {
    GateVerdict.PASSED: Status("Passed", GOOD, "good"),
    GateVerdict.REGRESSED: Status("Regressed", BAD, "bad"),
    GateVerdict.INCONCLUSIVE: Status("Inconclusive", WARN, "warn"),
    GateVerdict.MISSING: Status("Missing", WARN, "warn"),
}


def print_comparison(report: CompareReport) -> None:
    """The verdict, the times, the accuracy, and what else differs."""
    out, view = standard_output(), view_of(report)
    for status, sentence in zip(view.statuses, view.sentences, strict=True):
        say(out, f"{status.shape} {sentence}", style=f"bold {COLOURS[status.kind]}")
    several = len(report.sides) > 2
    now = "Candidate" if several else report.sides[-1].name
    heads = ("Result", *(["Run"] if several else []), view.baseline, now, "Change", "95 % interval", "Verdict")
    table = _times(heads, view, whole=True)
    out.print()
    if view.shared and out.is_terminal and not fits(out, table):
        say(out, f"{view.shared}:")
        table = _times(heads, view, whole=False)
    print_table(out, table)
    say(out, view.estimate + (f" A change within {view.margin} does not matter." if view.margin else ""), style="dim")
    for note in view.notes:
        say(out, f"{note.status.shape} {note}", style="dim")
    changed = [line for line in view.accuracy if line.status is not STATUSES[CompareVerdict.EQUIVALENT]]
    if view.accuracy:
        out.print()
        same = len(view.accuracy) - len(changed)
        say(out, f"Accuracy is equivalent in {same} of {plural(len(view.accuracy), 'metric')}.")
    if changed:
        table = _table(("Accuracy", *(["Run"] if several else []), view.baseline, now, "Change", "Verdict"))
        for metric in changed:
            which = [metric.side] if several else []
            cells = (metric.metric, *which, metric.a, metric.b, metric.change)
            table.add_row(*map(_cell, cells), tag(metric.status))
        print_table(out, table)
    for text in view.missing:
        say(out, f"{WARN} {text}")
    out.print()
    say(out, "What else differs, the likely strongest effect first:" if view.differences else "Nothing else differs.")
    for fact in view.differences:
        concerns = f" ({fact.concerns})" if fact.concerns else ""
        of_side = f"{fact.side}: " if several else ""
        say(out, f"  {of_side}{fact.name} {fact.a} -> {fact.b}: {fact.effect}{concerns}")


def print_gate(report: GateReport) -> None:
    """One line per gated metric, and the verdict last."""
    out = standard_output()
    alike: dict[tuple[GateVerdict, str], list[str]] = {}
    for result in report.results:
        alike.setdefault((result.verdict, result.why), []).append(result.subject)
    for (verdict, why), subjects in alike.items():
        out.print(
            Text.assemble(tag(_GATE_STATUSES[verdict]), f"  {safe('; '.join(subjects))}: {safe(why)}"),
            soft_wrap=not out.is_terminal,
        )
    for key in report.ungated:
        say(out, f"- {key}: not in the baseline, not gated", style="dim")
    status, text = gate_verdict(report)
    out.print()
    say(out, f"{status.shape} {text}", style=f"bold {COLOURS[status.kind]}")


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
    out = standard_output()
    for key, floor in sorted(baseline.floors.items()):
        say(out, f"{key}: noise floor {100 * floor.effect:.2g} %")
    for entry in baseline.accepted:
        say(out, f"accepted with {entry.created}: {entry.reason}: {'; '.join(map(str, entry.changes))}")
    say(out, f"{path}: {baseline.side.name}, {plural(len(baseline.sessions), 'session')}")


def print_self_check(checked: CheckedRun) -> None:
    """The noise floor of every key, and how often noise alone would raise a suspicion."""
    out = standard_output()
    table = _table(("Result", "Pairs", "Noise floor", "Margin", "Suspicions", "Verdict"))
    for check in checked.checks:
        shares = (check.floor, check.margin, check.alarm_share)
        cells = (str(check.key), str(check.pairs), *map(percent, shares), check.comparison.verdict.value)
        table.add_row(*map(_cell, cells))
    print_table(out, table)
    floor = percent(max(check.floor for check in checked.checks))
    suspicions = percent(max(check.alarm_share for check in checked.checks))
    out.print()
    say(
        out,
        f"{checked.name} against itself: changes below {floor} cannot be distinguished from noise here; noise alone"
        f" would raise a suspicion in {suspicions} of runs, and a failure needs two of them.",
        style="bold",
    )


def print_history(histories: Sequence[History]) -> None:
    """Every key with its steps, and what changed with them."""
    out = standard_output()
    for line in lines_of(histories):
        say(out, f"{line.name}: {line.summary}", style="bold" if line.charted else "dim")
        for step in line.steps:
            say(out, f"  {step.status.shape} {step.text}")
            if step.accepted:
                say(out, f"      accepted: {step.accepted}")
            for change in step.changes:
                say(out, f"      with it changed {change}")


def _times(heads: Sequence[str], view: ComparisonView, *, whole: bool) -> Table:
    """The times, under the ``whole`` names of results or under what those do not share."""
    table = _table(heads)
    for line in view.times:
        which = [line.side] if "Run" in heads else []
        cells = (line.result if whole else line.name, *which, line.a, line.b, line.change, line.limits)
        table.add_row(*map(_cell, cells), tag(line.status))
    return table


def _table(heads: Sequence[str]) -> Table:
    """Names and verdicts to the left, everything else to the right."""
    table = bare_table()
    add_columns(table, heads, right=set(heads) - _LEFT)
    return table


def _cell(text: str) -> Text:
    return Text(safe(text))
