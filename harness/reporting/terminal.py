"""A run as a table, its findings and its verdict, for a terminal or, without colour or frames, for a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from harness.record.model import Run
from harness.reporting.console import COLOURS, bare_table, print_table, safe, say, standard_output, tag
from harness.reporting.sections.findings import findings
from harness.reporting.sections.headline import headline
from harness.reporting.sections.published import HEAD, published_rows
from harness.reporting.sections.results import AccuracyLine, ResultRow, WorkloadGroup, workload_groups
from harness.reporting.sections.status import WARN
from harness.reporting.text import clip

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_LONG = 1_000
_HEADS = (
    "Workload",
    "Scenario",
    "Backend",
    "Batch",
    "rows/s",
    "rows/s undisturbed",
    "Mean call",
    "p50",
    "p99",
    "Training",
    "Validity",
)
_FOLDS = {"Scenario", "Validity"}
_NARROW = 100  # columns below which margins go to a second line
_RIGHT = {"Batch", "rows/s", "rows/s undisturbed", "Mean call", "p50", "p99", "Training"}


def print_run(run: Run, directory: Path, console: Console | None = None) -> None:
    """Print the results of a run, its findings, its verdict and where its report is.

    Args:
        run: the record.
        directory: its run directory.
        console: where to; None for standard output.
    """
    out = console or standard_output()
    groups = workload_groups(run)
    if out.is_terminal:
        for group in groups:
            out.print()
            say(out, _name(group), style="bold")
            say(out, group.dataset, style="dim")
            print_table(out, _table([group], named=False, narrow=out.width < _NARROW))
            _print_accuracy(out, group, "")
    elif groups:
        print_table(out, _table(groups, named=True, narrow=False))
        for group in groups:
            _print_accuracy(out, group, f"{_name(group)}: ")
    for line in (*_data_notes(run), *run.placement.notes):
        say(out, line, style="dim")
    _print_published(out, run)
    for line in _reasons(groups):
        say(out, line, style="dim")
    for view in findings(run):
        colour, finding = COLOURS[view.status.kind], view.finding
        out.print()
        say(out, f"{view.status.shape} {finding.title}", style=colour)
        for text in (finding.why, f"Effect: {view.effect}" if view.effect else ""):
            if text:
                say(out, f"  {text}")
        for heading, command in view.ways:
            if heading:
                say(out, f"    {heading}:", style="dim")
            say(out, f"    $ {command}", style="bold")
    verdict = headline(run)
    out.print()
    say(out, f"{verdict.status.shape} {verdict.text}", style=f"bold {COLOURS[verdict.status.kind]}")
    say(out, f"Report: {directory / 'report.html'}")


def _table(groups: list[WorkloadGroup], *, named: bool, narrow: bool) -> Table:
    """Results as rows, each ``named`` for a pipe, where lines are picked.

    A ``narrow`` one has margins on a second line, units of rates in their heads only, and no median, which is close to
    the mean, nor time per row, which is the inverse of the rate.
    """
    table = bare_table(2 if named else 1)
    heads = [head for head in _HEADS if (named or head != "Workload") and not (narrow and head == "p50")]
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in _RIGHT else "left"
        shown = head.replace(" ", "\n") if narrow else head
        table.add_column(shown, justify=justify, no_wrap=head not in _FOLDS, overflow="fold")
    for group in groups:
        for row in group.rows:
            cells = {
                "Workload": Text(_name(group)),
                **_cells(_narrowed(row) if narrow else row, "\n" if narrow else " "),
            }
            table.add_row(*(cells[head] for head in heads))
    return table


def _print_accuracy(out: Console, group: WorkloadGroup, lead: str) -> None:
    if group.accuracy is not None:
        say(out, f"{lead}{_accuracy(group.accuracy)}")


def _data_notes(run: Run) -> list[str]:
    """What is to be said of each data set, once: what its labels mean, what was left out."""
    datasets = {(result.dataset.name, result.dataset.notes): result.dataset for result in run.results}
    return [f"{data.name}: {note}" for data in datasets.values() for note in data.notes]


def _print_published(out: Console, run: Run) -> None:
    """The table of published figures; what explains the differences below it, where a column would be too narrow."""
    rows = published_rows(run)
    if not rows:
        return
    narrow = out.is_terminal
    table = bare_table()
    for head in HEAD[:-1] if narrow else HEAD:
        table.add_column(head, no_wrap=not narrow, overflow="fold")
    for row in rows:
        cells = row.cells()
        table.add_row(*(Text(clip(cell, _LONG)) for cell in (cells[:-1] if narrow else cells)))
    out.print()
    print_table(out, table)
    for row in rows if narrow else ():
        say(out, clip(f"{row.system}: {row.difference}", _LONG), style="dim")
    out.print()


def _narrowed(row: ResultRow) -> ResultRow:
    rates = (replace(rate, value=rate.value.removesuffix("rows/s").rstrip()) for rate in (row.rate, row.undisturbed))
    rate, undisturbed = rates
    return replace(row, rate=rate, undisturbed=undisturbed, mean=replace(row.mean, margin=""))


def _cells(row: ResultRow, between: str) -> dict[str, Text]:
    """Cells by column head; ``between`` parts a value and its margin."""
    figures = {
        "rows/s": row.rate,
        "rows/s undisturbed": row.undisturbed,
        "Mean call": row.mean,
        "p50": row.p50,
        "p99": row.p99,
        "Training": row.training,
    }
    return {
        "Scenario": Text(row.scenario),
        "Backend": Text(safe(row.variant)),
        "Batch": Text(row.batch),
        **{head: Text(f"{figure.value}{between}{figure.margin}".rstrip()) for head, figure in figures.items()},
        "Validity": tag(row.status),
    }


def _name(group: WorkloadGroup) -> str:
    return safe(group.title) + (" (synthetic data)" if group.synthetic else "")


def _accuracy(line: AccuracyLine) -> str:
    parts = [f"{line.metric} {line.ours}"]
    if line.cuts:
        parts.append(line.cuts)
    if line.published:
        parts.append(f"published {line.published}")
    parts += [f"{name} {value}" for name, value in line.baselines]
    if line.prevalence:
        parts.append(f"prevalence {line.prevalence}")
    if line.beaten_by:
        parts.append(f"beaten by {line.beaten_by}")
    if line.passed is False:
        parts.append(f"below the floor of {line.floor}")
    return ", ".join(parts)


def _reasons(groups: list[WorkloadGroup]) -> Iterator[str]:
    for group in groups:
        for warning in group.warnings:
            yield f"{WARN} {group.title}: {warning}"
        for remark in group.remarks:
            yield f"{remark.shape} {group.title}, {remark}"
