"""Can it be trusted: how well processes agree, what disturbed them, and what the harness itself costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from harness.measure.causes import Cause
from harness.measure.disturbance import Disturbance, disturbance
from harness.record.model import Metric, ProcessRecord, Result, Run
from harness.record.series import Series
from harness.reporting.charts.processes import ProcessRow, processes_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.sections.figures import SCENARIO_NAMES, Figure, figure, result_name, variant, workload_title
from harness.reporting.sections.panels import Panel
from harness.reporting.sections.results import by_workload
from harness.reporting.sections.status import Status, has_times, status_of_result
from harness.reporting.text import NO_BREAK, percent, quantity, ranges, size
from harness.wording import count

_CHART_ROWS = 12
_CAUSES = {Cause.PREEMPTED: "preempted", Cause.MIGRATED: "migrated", Cause.FAULTED: "faulted", Cause.STOLEN: "stolen"}


@dataclass(frozen=True)
class TrustRow:
    """What the judgement of one result rests on."""

    title: str
    scenario: str
    processes: str  # finished of started
    clean: Figure
    all_samples: Figure
    samples: str
    disturbed: Figure  # share of samples, and of each cause
    steady: str
    status: Status


@dataclass(frozen=True)
class ProcessLine:
    """One process of one result."""

    index: int
    pid: str
    clean: str
    all_samples: str
    warmup: str
    disturbed: str
    steal: str
    steady: str
    cpus: str
    memory: str
    wall: str
    failure: str


@dataclass(frozen=True)
class ProcessTable:
    """The processes of one result; ``timed`` when their times may be shown."""

    name: str
    timed: bool
    lines: tuple[ProcessLine, ...]


@dataclass(frozen=True)
class Trust:
    """The whole section; ``timed`` when times of any result may be shown."""

    timed: bool
    panels: tuple[Panel, ...]
    rows: tuple[TrustRow, ...]
    processes: tuple[ProcessTable, ...]
    harness: tuple[tuple[str, str], ...]


def trust(run: Run) -> Trust:
    """What every result's verdict rests on."""
    ordered = [result for group in by_workload(run.results) for result in group]
    return Trust(
        timed=any(has_times(result) for result in ordered),
        panels=tuple(_panels(ordered)),
        rows=tuple(_row(result) for result in ordered),
        processes=tuple(_process_table(result) for result in ordered if result.processes),
        harness=tuple(_harness(run)),
    )


def headline_series(process: ProcessRecord) -> Series | None:
    """The series of a process that its result's headline figures rest on: that of the largest batch, the last."""
    return process.series[-1] if process.series else None


def centre_metric(result: Result) -> Metric | None:
    """The recorded estimate over processes of what one sample's call lasts."""
    return result.metrics.get("step_s" if result.scenario == "train" else "call_s")


def _panels(results: Sequence[Result]) -> list[Panel]:
    charted: list[tuple[str, list[ProcessRow]]] = []
    alone = len({result.workload for result in results}) == 1
    for scenario in SCENARIO_NAMES:
        rows = [
            row
            for result in results
            if result.scenario == scenario
            and has_times(result)
            and (row := _chart_row(result, alone=alone)) is not None
        ]
        if rows:
            charted.append((scenario, rows[:_CHART_ROWS]))
    return [
        Panel(
            SCENARIO_NAMES[scenario],
            fitted(partial(_chart, scenario, rows), f"processes-{scenario}", alone=len(charted) == 1),
        )
        for scenario, rows in charted
    ]


def _chart(scenario: str, rows: Sequence[ProcessRow], key: str, width: int) -> str:
    return processes_chart(key, f"{SCENARIO_NAMES[scenario]}: processes", rows, width=width)


def _chart_row(result: Result, *, alone: bool) -> ProcessRow | None:
    centre = centre_metric(result)
    series = [each for process in result.processes if (each := headline_series(process)) is not None]
    if centre is None or not centre.value or not series:
        return None
    return ProcessRow(
        name=result_name(result, alone=alone),
        centre=centre.value,
        low=centre.ci_low,
        high=centre.ci_high,
        clean=[each.estimate_s for each in series if each.estimate_s is not None],
        all_samples=[each.estimate_all_s for each in series if each.estimate_all_s is not None],
    )


def _row(result: Result) -> TrustRow:
    finished = [process for process in result.processes if process.failure is None]
    series = [each for process in finished if (each := headline_series(process)) is not None]
    disturbed = disturbance(each.flags[each.warmup :] for each in series)
    total = sum(len(each.durations_ns) - each.warmup for each in series)
    timed = has_times(result)
    return TrustRow(
        title=workload_title(result),
        scenario=f"{SCENARIO_NAMES[result.scenario].lower()} · {variant(result)}",
        processes=f"{len(finished)} of {len(result.processes)}",
        clean=figure(centre_metric(result)) if timed else Figure("–"),
        all_samples=figure(_all_samples(result)) if timed else Figure("–"),
        samples=count(total),
        disturbed=Figure(_share(disturbed.flagged, disturbed.samples), note=_causes(disturbed)),
        steady=f"{sum(each.steady for each in series)} of {len(series)}" if series else "–",
        status=status_of_result(result),
    )


def _all_samples(result: Result) -> Metric | None:
    return result.metrics.get("step_all_samples_s" if result.scenario == "train" else "call_all_samples_s")


def _causes(disturbed: Disturbance) -> str:
    """Share of samples per cause; a sample may have several."""
    shares = {name: disturbed.by_cause[cause] for cause, name in _CAUSES.items()}
    return ", ".join(f"{name}{NO_BREAK}{_share(some, disturbed.samples)}" for name, some in shares.items() if some)


def _share(some: int, total: int) -> str:
    if not total:
        return "–"
    if not some:
        return "0"
    return f"{100 * some / total:.1f}{NO_BREAK}%" if some / total >= 0.0005 else f"<{NO_BREAK}0.1{NO_BREAK}%"


def _process_table(result: Result) -> ProcessTable:
    name = f"{workload_title(result)} · {SCENARIO_NAMES[result.scenario].lower()} · {variant(result)}"
    timed = has_times(result)
    return ProcessTable(name, timed, tuple(_process(process, timed=timed) for process in result.processes))


def _process(process: ProcessRecord, *, timed: bool) -> ProcessLine:
    series = headline_series(process)
    disturbed = disturbance([series.flags[series.warmup :]] if series else [])
    return ProcessLine(
        index=process.block + 1,
        pid="–" if process.pid is None else str(process.pid),
        clean=_seconds(series.estimate_s if series and timed else None),
        all_samples=_seconds(series.estimate_all_s if series and timed else None),
        warmup="–" if series is None else f"{count(series.warmup)} of {count(len(series.durations_ns))}",
        disturbed=_share(disturbed.flagged, disturbed.samples),
        steal="–" if process.steal_share is None else percent(process.steal_share, 2),
        steady="–" if series is None else "yes" if series.steady else "no",
        cpus="–" if process.cpus_sampled is None else ranges(process.cpus_sampled) or "–",
        memory="–" if process.rss_peak_bytes is None else size(process.rss_peak_bytes),
        wall=_seconds(process.wall_s if timed else None),
        failure=process.failure or "",
    )


def _seconds(value: float | None) -> str:
    return "–" if value is None else quantity(value, "s")


def _harness(run: Run) -> list[tuple[str, str]]:
    overhead, floor = run.tool.overhead, run.tool.noise_floor
    lines = [
        ("Timing loop, per recorded call", overhead.per_call_s if overhead else None),
        ("Timing loop, per sample with counters read", overhead.per_flagged_sample_s if overhead else None),
        ("One reading of the clock", overhead.clock_cost_s if overhead else None),
    ]
    costs = [(label, "not measured" if value is None else quantity(value, "s")) for label, value in lines]
    if floor is None:
        return [*costs, ("Noise floor of this machine", "not measured: it takes a run against itself")]
    return [*costs, ("Noise floor of this machine", f"{percent(floor.share)} with {floor.blocks} blocks")]
