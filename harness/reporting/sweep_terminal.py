"""A sweep for a terminal or, without colour or frames and with every setting, for a pipe."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from harness.record.sweep_model import Sweep
from harness.reporting.sections.status import WARN
from harness.reporting.sweep_view import SettingLine, SweepView, WorkloadView, view_of
from harness.reporting.text import clip

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 10_000  # a pipe has no width: one line per setting, whole
_ROWS = 20  # on a terminal; the report has them all
_LINE = 400
_COLOURS = {"good": "green", "warn": "yellow", "bad": "red", "note": "default"}
_RIGHT = {
    "Batch",
    "SMT",
    "Threads/core",
    "Cores",
    "Instances",
    "rows/s",
    "rows/s undisturbed",
    "Time per row",
    "Against the best",
}


def print_sweep(sweep: Sweep, directory: Path, console: Console | None = None) -> None:
    """Print the settings of a sweep, its losses, its verdict and where its report is.

    Args:
        sweep: the record.
        directory: its directory.
        console: where to; None for standard output.
    """
    out, view = console or _standard_output(), view_of(sweep)
    for workload in view.workloads:
        _print_workload(out, view, workload)
    if view.fixed:
        _say(out, f"The same in all settings: {view.fixed}.", style="dim")
    for text in view.skipped:
        _say(out, f"{WARN} Left out, {text}.", style="yellow")
    for note in sweep.notes:
        _say(out, note, style="dim")
    out.print()
    if view.lead:
        _say(out, view.lead, style="bold yellow")
    for workload in view.workloads:
        for at, sentence in enumerate(workload.sentences):
            shape = f"{view.status.shape} " if not at else "  "
            _say(out, f"{shape}{sentence}", style=f"bold {_COLOURS[view.status.kind]}" if not at else None)
    _say(out, f"Report: {directory / 'report.html'}")


def _print_workload(out: Console, view: SweepView, workload: WorkloadView) -> None:
    shown = workload.lines[:_ROWS] if out.is_terminal else workload.lines
    out.print()
    _say(out, workload.title, style="bold")
    out.print(_table(view, shown))
    if len(shown) < len(workload.lines):
        _say(out, f"{len(workload.lines) - len(shown)} slower settings are in the report.", style="dim")
    for line in workload.reasons:
        _say(out, f"{line.status.shape} {line.settings}: {line.reason}", style="dim")
    for loss in workload.losses:
        _say(out, f"{WARN} {loss.kind}: {loss.text} {loss.why}", style="yellow")


def _table(view: SweepView, lines: tuple[SettingLine, ...]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), highlight=False, header_style="dim")
    heads = (
        *(factor.head for factor in view.factors),
        "rows/s",
        "rows/s undisturbed",
        "Time per row",
        "Against the best",
        "Standing",
        "Validity",
    )
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in _RIGHT else "left"
        table.add_column(head, justify=justify, overflow="fold")
    for line in lines:
        levels = (Text(_safe(factor.short(line.cell))) for factor in view.factors)
        rates = (Text(f"{rate.value} {rate.margin}".rstrip()) for rate in (line.rate, line.undisturbed))
        standing = Text(f"{line.standing.shape} {line.standing.word}".lstrip(), style=_COLOURS[line.standing.kind])
        status = Text(f"{line.status.shape} {line.status.word}", style=_COLOURS[line.status.kind])
        table.add_row(*levels, *rates, Text(line.per_row.value), Text(line.against), standing, status)
    return table


def _standard_output() -> Console:
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the shapes shows a question mark
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def _say(out: Console, text: str, style: str | None = None) -> None:
    out.print(_safe(text), style=style, markup=False, highlight=False, soft_wrap=True)


def _safe(text: str) -> str:
    """Without control characters: a name in a record must not command the terminal."""
    return clip(text, _LINE)
