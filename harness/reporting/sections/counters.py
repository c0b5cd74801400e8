"""What counters say of a rate: instructions per cycle, misses, remote accesses, and the capacity a partition took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.record.model import ProcessCounters, ProcessRecord, Run
from harness.record.sweep_model import Sweep, SweepProcess
from harness.reporting.sections.figures import SCENARIO_NAMES, variant, workload_title
from harness.reporting.sections.panels import Table
from harness.reporting.sweep_factors import setting_name, varying
from harness.reporting.text import number, percent

_SCOPE = "Of user code, warm-up included; means over the processes. What the partition consumed is of all its programs."


@dataclass(frozen=True)
class Ratio:
    """A figure that does not depend on how much work a process did.

    Attributes:
        name: in exports; ``unit`` there.
        head: of its column.
        of: its value in one process; None where that was not counted.
        text: as people read it.
        words: the same in a sentence, around ``text``.
    """

    name: str
    unit: str
    head: str
    of: Callable[[ProcessCounters], float | None]
    text: Callable[[float], str]
    words: str


def _quotient(above: str, below: str, factor: float = 1.0) -> Callable[[ProcessCounters], float | None]:
    def of(counters: ProcessCounters) -> float | None:
        whole = counters.values.get(below)
        return factor * counters.values[above] / whole if whole and above in counters.values else None

    return of


RATIOS = (
    Ratio(
        "instructions_per_cycle", "1", "Instructions per cycle", _quotient("instructions", "cycles"), number,
        "{} instructions per cycle",
    ),
    Ratio(
        "cache_misses_per_1000_instructions", "1", "Cache misses per 1,000 instructions",
        _quotient("cache_misses", "instructions", 1000.0), number, "{} cache misses per 1,000 instructions",
    ),
    Ratio(
        "remote_load_share", "1", "Loads from another node", _quotient("node_load_misses", "node_loads"),
        lambda share: percent(share, 2), "{} of the loads from memory are remote",
    ),
    Ratio(
        "physical_cores", "cores", "Physical cores consumed", lambda each: each.physical_cores, number,
        "the partition consumed {} physical cores",
    ),
    Ratio(
        "entitled_share", "1", "Of the entitlement", lambda each: each.entitled_share,
        lambda share: percent(share, 3), "{} of the entitlement",
    ),
    Ratio(
        "frequency_ratio", "1", "Clock, of nominal", lambda each: each.frequency_ratio,
        lambda share: percent(share, 3), "clock {} of nominal",
    ),
)  # fmt: skip


def counted(processes: Iterable[ProcessRecord | SweepProcess]) -> list[ProcessCounters]:
    """The counters of those processes that have some."""
    return [each.counters for each in processes if each.counters is not None]


def ratios_of(counters: Sequence[ProcessCounters]) -> dict[str, float]:
    """Mean over the processes of each ratio that was counted, by its name."""
    known = {ratio.name: [value for each in counters if (value := ratio.of(each)) is not None] for ratio in RATIOS}
    return {name: fmean(values) for name, values in known.items() if values}


def not_counted(groups: Iterable[Sequence[ProcessCounters]]) -> Iterator[str]:
    """A sentence per reason for which events were not counted."""
    reasons: dict[str, dict[str, None]] = {}
    for counters in groups:
        for each in counters:
            for event, reason in each.missing.items():
                reasons.setdefault(reason, {})[event] = None
    for reason, events in reasons.items():
        yield f"Not counted: {', '.join(events)}: {reason}."


def run_table(run: Run) -> Table | None:
    """A row per result that was counted; None where nothing was asked for."""
    return _table(
        "Result",
        {
            f"{workload_title(each)}, {SCENARIO_NAMES[each.scenario].lower()}, {variant(each)}": counted(each.processes)
            for each in run.results
        },
    )


def sweep_table(sweep: Sweep, most: int) -> Table | None:
    """The same of each setting, of ``most`` at most."""
    several = len(sweep.workloads) > 1
    factors = varying(sweep.cells)
    return _table(
        "Setting",
        {
            (f"{cell.workload}, " if several else "") + setting_name(cell, factors): counted(cell.processes)
            for cell in sweep.cells[:most]
        },
    )


def _table(subject: str, named: Mapping[str, Sequence[ProcessCounters]]) -> Table | None:
    groups = {name: ratios_of(counters) for name, counters in named.items() if counters}
    if not groups:
        return None
    shown = [ratio for ratio in RATIOS if any(ratio.name in values for values in groups.values())]
    rows = tuple(
        (name, *(ratio.text(values[ratio.name]) if ratio.name in values else "–" for ratio in shown))
        for name, values in groups.items()
    )
    notes = (_SCOPE, *not_counted(named.values()))
    return Table((subject, *(ratio.head for ratio in shown)), rows if shown else (), notes=notes)
