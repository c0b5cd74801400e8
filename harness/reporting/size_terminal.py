"""A sizing for a terminal or a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from harness.record.size_model import Size
from harness.reporting.console import COLOURS, add_columns, bare_table, print_table, safe, say, standard_output, tag
from harness.reporting.sections.status import WARN
from harness.reporting.size_view import plan_lines, view_of

if TYPE_CHECKING:
    from rich.console import Console

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
    add_columns(table, ("Cores", "SMT", "Instances", "Capacity", "95 % interval", "Blocks", "Standing"), right=_RIGHT)
    for line in view.lines:
        cells = (str(line.cores), str(line.smt), line.instances, line.capacity, line.interval, str(line.blocks))
        table.add_row(*(Text(safe(cell)) for cell in cells), tag(line.standing))
    print_table(out, table)
    for text in view.models:
        say(out, text, style="dim")
    out.print()
    say(out, f"{view.status.shape} {view.sentence}", style=f"bold {COLOURS[view.status.kind]}")
    for text in view.sentences:
        say(out, f"  {text}")
    if view.marks:
        say(out, f"{WARN} {'; '.join(view.marks)}.", style="yellow")
    for text in view.invalid:
        say(out, f"{WARN} {text}", style="yellow")
    say(out, f"Not covered: {'; '.join(record.not_covered)}.", style="dim")
    for plan in record.answer.plans:
        out.print()
        say(out, f"Plan: {plan.kind}", style="bold")
        for label, value in plan_lines(plan):
            say(out, f"  {label}: {value}")
        for text in plan.notes:
            say(out, f"  {WARN} {text}", style="yellow")
        for command in plan.commands:
            say(out, f"  $ {command}")
    if directory is not None:
        say(out, f"Report: {directory / 'report.html'}")
