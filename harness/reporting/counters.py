"""What counters say of a rate: instructions per cycle, misses, remote accesses, and the capacity a partition took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from harness.errors import printable
from harness.record.model import ProcessCounters, Run
from harness.record.sweep_model import Sweep
from harness.reporting.console import say, standard_output
from harness.reporting.text import number, percent

_THOUSAND = 1000.0


def run_lines(run: Run) -> list[str]:
    """A line per result that was counted, and one on what was not counted, and why."""
    named = [
        (f"{result.workload}, {result.scenario}, {result.backend}", _counted(result.processes))
        for result in run.results
    ]
    return _lines(named)


def sweep_lines(sweep: Sweep) -> list[str]:
    """The same of each setting."""
    named = []
    for cell in sweep.cells:
        setting = f"SMT {cell.smt}, {cell.cores} x {cell.threads_per_core}, {cell.backend}, batch {cell.batch_size}"
        named.append((f"{cell.workload}, {setting}", [each.counters for each in cell.processes if each.counters]))
    return _lines(named)


def print_lines(lines: Sequence[str]) -> None:
    """The lines on standard output, below a heading; nothing where nothing was counted."""
    out = standard_output()
    for line in ("Counters, of user code, warm-up included:", *lines) if lines else ():
        say(out, printable(line))


def _counted(processes: Iterable[object]) -> list[ProcessCounters]:
    counters = (getattr(process, "counters", None) for process in processes)
    return [each for each in counters if each is not None]


def _lines(named: Iterable[tuple[str, Sequence[ProcessCounters]]]) -> list[str]:
    counted = [(name, counters) for name, counters in named if counters]
    lines = [f"{name}: {'; '.join(words)}" for name, counters in counted if (words := _words(counters))]
    reasons: dict[str, list[str]] = {}
    for _, counters in counted:
        for each in counters:
            for event, reason in each.missing.items():
                if event not in (events := reasons.setdefault(reason, [])):
                    events.append(event)
    return lines + [f"Not counted: {', '.join(events)}: {reason}." for reason, events in reasons.items()]


def _words(counters: Sequence[ProcessCounters]) -> list[str]:
    """Ratios, each a mean over the processes: they do not depend on how much work a process did."""
    ipc = _mean(counters, "instructions", "cycles")
    misses = _mean(counters, "cache_misses", "instructions")
    remote = _mean(counters, "node_load_misses", "node_loads")
    consumed = [each.physical_cores for each in counters if each.physical_cores is not None]
    entitled = [each.entitled_share for each in counters if each.entitled_share is not None]
    clock = [each.frequency_ratio for each in counters if each.frequency_ratio is not None]
    words = []
    if ipc is not None:
        words.append(f"{number(ipc)} instructions per cycle")
    if misses is not None:
        words.append(f"{number(_THOUSAND * misses)} cache misses per 1,000 instructions")
    if remote is not None:
        words.append(f"{percent(remote, 2)} of the loads from memory are remote")
    if consumed:
        beyond = f", {percent(fmean(entitled), 3)} of the entitlement" if entitled else ""
        words.append(f"the partition consumed {number(fmean(consumed))} physical cores{beyond}")
    if clock:
        words.append(f"clock {percent(fmean(clock), 3)} of nominal")
    return words


def _mean(counters: Sequence[ProcessCounters], above: str, below: str) -> float | None:
    both = [each.values for each in counters if above in each.values and each.values.get(below)]
    ratios = [values[above] / values[below] for values in both]
    return fmean(ratios) if ratios else None
