"""A sizing for a terminal or a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from harness.record.size_model import Size
from harness.reporting.console import COLOURS, add_columns, bare_table, print_table, safe, say, standard_output, tag
from harness.reporting.sections.status import WARN
from harness.reporting.size_view import STATUS, configuration, demand, plan_lines, view_of
from harness.reporting.text import NO_BREAK, capital, number, quantity
from harness.sizing.stored import WhatIf

if TYPE_CHECKING:
    from rich.console import Console

_COMMON = {"Memory", "One chip", "Fits a chip of"}  # to all plans: printed with the first
_RIGHT = {"Cores", "SMT", "Capacity", "95 % interval", "Blocks"}


def print_size(record: Size, directory: Path | None, console: Console | None = None) -> None:
    """Print the points, the answer and the plans.

    Args:
        record: the sizing.
        directory: where its report is; None where nothing was written.
        console: where to; None for standard output.
    """
    out, view = console or standard_output(), view_of(record)
    out.print()
    say(out, record.workload.title, style="bold")
    table = bare_table()
    capacity = _head(out, "Capacity", record.answer.question.unit)
    heads = ("Cores", "SMT", "Instances", capacity, "95 % interval", "Blocks", "Standing")
    add_columns(table, heads, right={*_RIGHT, capacity})
    for line in view.lines:
        interval = line.interval.replace(" ", NO_BREAK) if out.is_terminal else line.interval
        cells = (str(line.cores), str(line.smt), line.instances, line.capacity, interval, str(line.blocks))
        table.add_row(*(Text(safe(cell)) for cell in cells), tag(line.standing))
    print_table(out, table)
    for text in view.models:
        say(out, text, style="dim")
    out.print()
    say(out, f"{view.status.shape} {view.sentence}", style=f"bold {COLOURS[view.status.kind]}")
    for text in view.sentences:
        say(out, f"  {text}")
    if view.marks:
        say(out, f"{WARN} {capital('; '.join(view.marks))}.", style="yellow")
    for text in view.invalid:
        say(out, f"{WARN} {text}", style="yellow")
    say(out, f"Not covered: {'; '.join(record.not_covered)}.", style="dim")
    for at, plan in enumerate(record.answer.plans):
        out.print()
        say(out, f"Plan: {plan.kind}", style="bold")
        for label, value in plan_lines(plan):
            if at and label in _COMMON:
                continue
            say(out, f"  {label}: {value}")
        for text in plan.notes:
            say(out, f"  {WARN} {text}", style="yellow")
        for command in plan.commands:
            say(out, f"  $ {command}")
    if directory is not None:
        say(out, f"Report: {directory / 'report.html'}")


def _head(out: Console, name: str, unit: str) -> str:
    """A head with its unit; below it on a terminal, whose columns are few."""
    return f"{name}\n{unit}" if out.is_terminal else f"{name}, {unit}"


def print_what_if(table: WhatIf, console: Console | None = None) -> None:
    """Print a line per rate and bound."""
    out = console or standard_output()
    rows, unit = bare_table(), table.answers[0].question.unit
    heads = (_head(out, "Rate", unit), "p99", "Configuration", _head(out, "Capacity", unit), "Basis", "Answer")
    add_columns(rows, heads, right={heads[0], "p99", heads[3]})
    for answer in table.answers:
        question, chosen = answer.question, answer.chosen
        bound = "–" if question.p99_s is None else quantity(question.p99_s, "s")
        cells = ("none", "", "") if chosen is None else (
            configuration(chosen), number(chosen.capacity.value), chosen.capacity.basis
        )  # fmt: skip
        texts = (Text(safe(cell)) for cell in (number(question.rate), bound, *cells))
        rows.add_row(*texts, tag(STATUS[answer.verdict]))
    print_table(out, rows)
    reasons: dict[tuple[str, str], list[str]] = {}
    for answer in table.answers:
        for refusal in answer.refused[:1]:
            reasons.setdefault((refusal.why, refusal.measure), []).append(demand(answer.question))
    for (why, measure), demands in reasons.items():
        rest = f" and {len(demands) - 1} more" if len(demands) > 1 else ""
        say(out, f"{demands[0]}{rest}: {why}. To know it: {measure}.")
