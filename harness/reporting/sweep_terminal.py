"""A sweep for a terminal or, without colour or frames and with every setting, for a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from harness.record.sweep_model import Sweep
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
from harness.reporting.sections.status import WARN
from harness.reporting.sweep_view import SettingLine, SweepView, WorkloadView, view_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ROWS = 20  # on a terminal; the report has them all
_RIGHT = {
    "Batch",
    "SMT",
    "Threads/core",
    "Cores",
    "Instances",
    "rows/s",
    "rows/s undisturbed",
    "Time per row",
    "In process",
    "HTTP leaves",
    "Against the best",
}


def print_sweep(sweep: Sweep, directory: Path, console: Console | None = None) -> None:
    """Print the settings of a sweep, its losses, its verdict and where its report is.

    Args:
        sweep: the record.
        directory: its directory.
        console: where to; None for standard output.
    """
    out, view = console or standard_output(), view_of(sweep)
    for workload in view.workloads:
        _print_workload(out, view, workload)
    timed = (process.clean_share is not None for cell in sweep.cells for process in cell.processes)
    if any(timed):  # calls, not rates that meet a bound
        say(out, "Settings are compared by the undisturbed time per row; Time per row counts every call.", style="dim")
    if view.fixed:
        say(out, f"The same in all settings: {view.fixed}.", style="dim")
    for text in view.skipped:
        say(out, f"{WARN} Left out, {text}.", style="yellow")
    for note in sweep.notes:
        say(out, note, style="dim")
    out.print()
    if view.lead:
        say(out, view.lead, style="bold yellow")
    for workload in view.workloads:
        for at, sentence in enumerate(workload.sentences):
            shape = f"{view.status.shape} " if not at else "  "
            say(out, f"{shape}{sentence}", style=f"bold {COLOURS[view.status.kind]}" if not at else None)
    say(out, f"Report: {directory / 'report.html'}")


def _print_workload(out: Console, view: SweepView, workload: WorkloadView) -> None:
    shown = workload.lines[:_ROWS] if out.is_terminal else workload.lines
    out.print()
    say(out, workload.title, style="bold")
    table = _table(view, shown)
    narrow = out.is_terminal and not fits(out, table)
    print_table(out, _narrow_table(view, shown) if narrow else table)
    if narrow:
        left = "" if view.over_http else "; rows/s undisturbed and the time per row are in the report"
        say(out, f"In the second lines: 95 % interval, and the limits that decide{left}.", style="dim")
    if len(shown) < len(workload.lines):
        say(out, f"{len(workload.lines) - len(shown)} slower settings are in the report.", style="dim")
    for line in workload.reasons:
        say(out, f"{line.status.shape} {line.settings}: {line.reason}", style="dim")
    for loss in workload.losses:
        say(out, f"{WARN} {loss.kind}: {loss.text} {loss.why}", style="yellow")
    for text in workload.absent:
        say(out, text, style="dim")


def _narrow_table(view: SweepView, lines: tuple[SettingLine, ...]) -> Table:
    """What decides, with intervals on second lines and the unit in the head alone."""
    table = bare_table(1)
    heads = (*(factor.head for factor in view.factors), "rows/s", "Against the best", "Standing", "Validity")
    add_columns(table, heads, right=_RIGHT)
    for line in lines:
        levels = (Text(safe(factor.short(line.cell))) for factor in view.factors)
        rate = f"{line.rate.value.removesuffix('rows/s').rstrip()}\n{line.rate.margin}".rstrip()
        change = line.against.replace(" [", "\n[")
        table.add_row(*levels, Text(rate), Text(change), tag(line.standing), tag(line.status))
    return table


def _table(view: SweepView, lines: tuple[SettingLine, ...]) -> Table:
    table = bare_table()
    heads = (
        *(factor.head for factor in view.factors),
        "rows/s",
        *(("In process", "HTTP leaves") if view.over_http else ("rows/s undisturbed", "Time per row")),
        "Against the best",
        "Standing",
        "Validity",
    )
    add_columns(table, heads, right=_RIGHT)
    for line in lines:
        levels = (Text(safe(factor.short(line.cell))) for factor in view.factors)
        second, third = (line.in_process, line.http_share) if view.over_http else (line.undisturbed, line.per_row.value)
        rates = (Text(f"{rate.value} {rate.margin}".rstrip()) for rate in (line.rate, second))
        statuses = tag(line.standing), tag(line.status)
        table.add_row(*levels, *rates, Text(third), Text(line.against), *statuses)
    return table
