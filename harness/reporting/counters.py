"""Counters of a run or a sweep as lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.errors import printable
from harness.record.model import ProcessCounters, Run
from harness.record.sweep_model import Sweep
from harness.reporting.console import say, standard_output
from harness.reporting.sections.counters import RATIOS, counted, not_counted, ratios_of


def run_lines(run: Run) -> list[str]:
    """A line per result that was counted, and one on what was not counted, and why."""
    named = [
        (f"{result.workload}, {result.scenario}, {result.backend}", counted(result.processes)) for result in run.results
    ]
    return _lines(named)


def sweep_lines(sweep: Sweep) -> list[str]:
    """The same of each setting."""
    named = []
    for cell in sweep.cells:
        setting = f"SMT {cell.smt}, {cell.cores} x {cell.threads_per_core}, {cell.backend}, batch {cell.batch_size}"
        named.append((f"{cell.workload}, {setting}", counted(cell.processes)))
    return _lines(named)


def print_lines(lines: Sequence[str]) -> None:
    """The lines on standard output, below a heading; nothing where nothing was counted."""
    out = standard_output()
    for line in ("Counters, of user code, warm-up included:", *lines) if lines else ():
        say(out, printable(line))


def _lines(named: Iterable[tuple[str, Sequence[ProcessCounters]]]) -> list[str]:
    groups = [(name, counters) for name, counters in named if counters]
    lines = []
    for name, counters in groups:
        values = ratios_of(counters)
        words = [ratio.words.format(ratio.text(values[ratio.name])) for ratio in RATIOS if ratio.name in values]
        lines += [f"{name}: {'; '.join(words)}"] if words else []
    return lines + list(not_counted(counters for _, counters in groups))
