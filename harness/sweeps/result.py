"""From the plan and the journal of a sweep to its record: rates, verdicts, the best setting, and losses."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from harness import __version__
from harness.errors import InputError
from harness.measure.factorial import Best, Standing, Step, best_cell, cliffs, penalties
from harness.placement.smt import SmtMethod
from harness.platform.facts import LoadedSoftware
from harness.platform.parse import format_cpulist
from harness.record.journal import JOURNAL_FILE
from harness.record.model import Metric, ProcessRecord, Tool, Validity, Verdict
from harness.record.series import Series
from harness.record.spec import CAPACITY, Scenario
from harness.record.store import SWEEP_NAME, load_sweep
from harness.record.sweep_model import (
    SWEEP_SCHEMA_VERSION,
    Sweep,
    SweepBest,
    SweepCell,
    SweepDesignRecord,
    SweepLoss,
    SweepProcess,
    SweepRival,
    SweepWorkload,
)
from harness.runs.capacity import refused_capacity
from harness.runs.concurrent import union
from harness.runs.design import DESIGN_FILE, Design, read_design
from harness.runs.fingerprint import fingerprint
from harness.runs.journal import Entry, FitEntry, Measurement, SessionEntry, SurveyEntry, read_journal
from harness.runs.judge import estimate_of, judge, over_processes
from harness.runs.processes import process_record
from harness.runs.schedule import Configuration
from harness.sweeps.effects import effects_of
from harness.workers.outcomes import FitOutcome, SurveyOutcome

_Rates = dict[int, dict[int, float]]  # cell -> block -> rate
_NOT_MEASURED = "not measured: the sweep ended before"
_NOTHING = over_processes([], "rows/s")
_VALID = Validity(Verdict.VALID)
_STANDINGS: Mapping[Standing, Literal["equivalent", "slower", "not_distinguishable", "not_judged"]] = {
    Standing.EQUIVALENT: "equivalent",
    Standing.SLOWER: "slower",
    Standing.FASTER: "not_judged",  # than the cell of the highest rate, which lacks blocks in which others were slow
    Standing.NOT_DISTINGUISHABLE: "not_distinguishable",
    Standing.NOT_JUDGED: "not_judged",
}


def is_sweep(path: Path) -> bool:
    """Whether this is a sweep directory, finished or not, or a record with the name of one.

    Raises:
        InputError: it is the directory of a run that is not finished, which has no record.
    """
    if not path.is_dir():
        return path.name == SWEEP_NAME
    if not (path / JOURNAL_FILE).exists() or (path / SWEEP_NAME).exists():
        return (path / SWEEP_NAME).exists()
    if (path / DESIGN_FILE).exists() and read_design(path).grid is None:
        raise InputError(f"{path}: this run is not finished.", remedy=f"Finish it: lparbench run --resume {path}")
    return True


def stored_sweep(path: Path) -> Sweep:
    """The record in a sweep directory or ``sweep.json``; of a sweep that is not finished, from its design and journal.

    Raises:
        InputError: it is neither, or it is damaged.
    """
    if path.is_dir() and not (path / SWEEP_NAME).exists() and (path / DESIGN_FILE).exists():
        return sweep_record(read_design(path), read_journal(path))
    return load_sweep(path)


def sweep_record(design: Design, journal: Sequence[Entry]) -> Sweep:
    """The record of a sweep, finished or not, from its design and from what was done.

    Raises:
        InputError: the design is that of a run.
    """
    grid = design.grid
    if grid is None:
        raise InputError(f"{design.identity} is a run that is not finished.", remedy="Resume it by lparbench run.")
    measurements = [entry for entry in journal if isinstance(entry, Measurement)]
    emulator = design.facts.emulation.refuses
    cells = tuple(
        _cell(index, configuration, [each for each in measurements if each.configuration == index], emulator)
        for index, configuration in enumerate(grid.configurations)
    )
    usable = _usable(cells)
    valid = [cell for cell in usable if cell.validity.verdict is Verdict.VALID]
    rates = {cell.id: _rates(cell) for cell in usable}
    bests = tuple(_best([workload.name for workload in design.workloads], usable, rates, grid.margin))
    surveys = [entry.result.outcome(SurveyOutcome) for entry in journal if isinstance(entry, SurveyEntry)]
    survey = next(iter(surveys), None)
    software = LoadedSoftware(**vars(design.facts.software)) if survey is None else survey.software
    fits = {entry.workload: entry.result.outcome(FitOutcome) for entry in journal if isinstance(entry, FitEntry)}
    return Sweep(
        schema_version=SWEEP_SCHEMA_VERSION,
        sweep_id=design.identity,
        created=design.created,
        tool=Tool("lparbench", __version__, design.argv, None if survey is None else survey.overhead),
        facts=design.facts,
        fingerprint=fingerprint(design.facts, software),
        software=software,
        design=_design_record(design, journal, len(grid.configurations), len(measurements)),
        method=grid.method.value,
        margin=grid.margin,
        workloads={
            workload.name: SweepWorkload(workload.title, fit.dataset if (fit := fits.get(workload.name)) else None)
            for workload in design.workloads
        },
        cells=cells,
        skipped=dict(grid.skipped),
        best=bests,
        losses=tuple(_losses(grid.method, valid, rates, grid.margin)),
        effects=tuple(effects_of(valid, rates, [answer.cell for answer in bests if answer.cores is None], grid.margin)),
        notes=_notes(design),
    )


def _design_record(design: Design, journal: Sequence[Entry], configurations: int, done: int) -> SweepDesignRecord:
    spec = design.spec
    return SweepDesignRecord(
        blocks=spec.blocks,
        seed=spec.seed,
        series_seconds=spec.series_seconds,
        protocol=spec.protocol,
        epochs=spec.epochs or 1,
        rows=spec.rows,
        sessions=sum(isinstance(entry, SessionEntry) for entry in journal),
        slots=spec.blocks * configurations,
        slots_done=done,
    )


def _cell(
    index: int, configuration: Configuration, measurements: Sequence[Measurement], emulator: str | None
) -> SweepCell:
    ordered = sorted(measurements, key=lambda measurement: measurement.block)
    scenario: Scenario = next(iter(configuration.scenarios), "offline")
    records = [process_record(measurement, scenario) for measurement in ordered]
    processes = tuple(_process(*pair) for pair in zip(ordered, records, strict=True))
    counted = [process.rows_per_s for process in processes if process.rows_per_s]
    undisturbed = [process.rows_per_s_undisturbed for process in processes if process.rows_per_s_undisturbed]
    validity = judge(
        records,
        [series for record in records for series in record.series] if scenario == "offline" else (),
        placement_mismatches=list(dict.fromkeys(text for each in ordered for text in each.mismatches)),
        accuracy_mismatch=next((each.disagreement for each in ordered if each.disagreement), None),
        clock_mismatch=next((each.clock for each in ordered if each.clock), None),
        emulator=emulator,
    )
    if not records:
        validity = replace(validity, reasons=(*validity.reasons, _NOT_MEASURED))
    return SweepCell(
        id=index,
        workload=configuration.workload,
        backend=configuration.backend,
        dtype=configuration.dtype,
        batch_size=configuration.batch_sizes[-1],
        node=configuration.node,
        memory_node=configuration.memory_node,
        smt=configuration.smt or 1,
        threads_per_core=configuration.threads_per_core,
        cores=configuration.cores,
        instances=configuration.instances,
        rows_per_s=over_processes(counted, "rows/s"),
        rows_per_s_undisturbed=over_processes(undisturbed, "rows/s"),
        mean_inference_per_row_s=over_processes(
            [1 / rate for rate in counted]
            if scenario == "offline"
            else [each.served.service_s for each in records if each.served],
            "s",
        ),
        validity=validity if scenario == "offline" else refused_capacity(records, validity),
        processes=processes,
        **_price(ordered, records) if scenario == "http" else {},
    )


def _price(measurements: Sequence[Measurement], over_http: Sequence[ProcessRecord]) -> dict[str, Metric]:
    """What the same processes served without HTTP, and what HTTP leaves of it."""
    without = [process_record(measurement, "server").served for measurement in measurements]
    rates = [
        (served and served.rate, each.served and each.served.rate)
        for served, each in zip(without, over_http, strict=True)
    ]
    return {
        "in_process_rows_per_s": over_processes([whole for whole, _ in rates if whole], "rows/s"),
        "http_share": over_processes([left / whole for whole, left in rates if whole and left], "1"),
    }


def _process(measurement: Measurement, record: ProcessRecord) -> SweepProcess:
    cpus = format_cpulist(union(placement.cpus for placement in measurement.placements)) or None
    if record.failure is not None:
        return SweepProcess(record.block, cpus=cpus, failure=record.failure)
    if record.served is not None:  # what met the bound; no call of it is more or less disturbed than another
        rate_met = record.served.rate
        return SweepProcess(
            record.block, rate_met, rate_met, steal_share=record.steal_share, cpus=cpus, counters=record.counters
        )
    if not record.series:
        return SweepProcess(record.block, steal_share=record.steal_share, cpus=cpus)
    rate = record.concurrent[-1] if record.concurrent else None
    counted, undisturbed = _single(record.series) if rate is None else (rate.rows_per_s, rate.rows_per_s_undisturbed)
    return SweepProcess(
        block=record.block,
        rows_per_s=counted or None,
        rows_per_s_undisturbed=undisturbed or None,
        window_share=None if rate is None else rate.window_share,
        clean_share=fmean(estimate_of(series).undisturbed_share for series in record.series),
        steady=all(series.steady for series in record.series),
        steal_share=record.steal_share,
        cpus=cpus,
        counters=record.counters,
    )


def _single(series: Sequence[Series]) -> tuple[float, float]:
    """Both rates of one process, from its last series."""
    batch_size, estimate = series[-1].batch_size or 1, estimate_of(series[-1])
    return estimate.rows_per_s(batch_size), estimate.rows_per_s_undisturbed(batch_size)


def _usable(cells: Iterable[SweepCell]) -> list[SweepCell]:
    """The valid cells of each workload; where there is none, all that have a rate: it still shows what it found."""
    by_workload: dict[str, list[SweepCell]] = {}
    for cell in cells:
        if cell.rows_per_s_undisturbed.value is not None:
            by_workload.setdefault(cell.workload, []).append(cell)
    usable = []
    for timed in by_workload.values():
        usable += [cell for cell in timed if cell.validity.verdict is Verdict.VALID] or timed
    return usable


def _rates(cell: SweepCell) -> dict[int, float]:
    """Block -> undisturbed rate, which cells are compared by."""
    return {
        process.block: process.rows_per_s_undisturbed for process in cell.processes if process.rows_per_s_undisturbed
    }


def _best(workloads: Sequence[str], cells: Sequence[SweepCell], rates: _Rates, margin: float) -> list[SweepBest]:
    """Per workload the best of all, then the best with each number of cores where there are several."""
    bests = []
    for workload in workloads:
        own = [cell for cell in cells if cell.workload == workload]
        counts = sorted({cell.cores for cell in own})
        for cores in (None, *(counts if len(counts) > 1 else ())):
            among = {cell.id: rates[cell.id] for cell in own if cores in (None, cell.cores)}
            best = best_cell(among, margin=margin)
            if best is not None:
                valid = all(cell.validity.verdict is Verdict.VALID for cell in own)
                bests.append(SweepBest(workload, cores, best.cell, _rivals(best, valid=valid)))
    return bests


def _rivals(best: Best[int], *, valid: bool) -> tuple[SweepRival, ...]:
    """How others compare with the best; what is not ``valid`` is not judged."""
    standings = _STANDINGS if valid else dict.fromkeys(_STANDINGS, _STANDINGS[Standing.NOT_JUDGED])
    return tuple(
        SweepRival(rival.cell, rival.ratio.centre, rival.ratio.low, rival.ratio.high, standings[rival.standing])
        for rival in best.rivals
    )


def _losses(method: SmtMethod, cells: Sequence[SweepCell], rates: _Rates, margin: float) -> list[SweepLoss]:
    """Falls of the throughput with more threads per core, with more cores, and with another node or memory."""
    whole = [cell for cell in cells if cell.smt == cell.threads_per_core]
    if method is SmtMethod.SWITCHED:
        chains = _chains(cells, lambda cell: cell.threads_per_core, {"threads_per_core": 0})
        chains += _chains(whole, lambda cell: cell.smt, {"threads_per_core": 0, "smt": 0})
    else:
        chains = _chains(whole, lambda cell: cell.smt, {"threads_per_core": 0, "smt": 0})
    cores = _chains(cells, lambda cell: cell.cores, {"cores": 0})
    places = _chains(cells, lambda cell: (cell.node or 0, cell.memory_node or 0), {"node": None, "memory_node": None})
    return [
        *(_loss("smt_cliff", step) for step in cliffs(chains, rates, margin=margin)),
        *(_loss("core_cliff", step) for step in cliffs(cores, rates, margin=margin)),
        *(_loss("numa_penalty", step) for step in penalties(places, rates, margin=margin)),
    ]


def _chains(
    cells: Sequence[SweepCell], order: Callable[[SweepCell], Any], ignoring: Mapping[str, Any]
) -> list[list[int]]:
    """Cells that are equal but for some factors, each group in order."""
    groups: dict[Hashable, list[SweepCell]] = {}
    for cell in cells:
        alike = replace(cell, id=0, rows_per_s=_NOTHING, rows_per_s_undisturbed=_NOTHING,
                        mean_inference_per_row_s=_NOTHING, validity=_VALID, processes=(),
                        in_process_rows_per_s=None, http_share=None, **ignoring)  # fmt: skip
        groups.setdefault(alike, []).append(cell)
    return [[cell.id for cell in sorted(group, key=order)] for group in groups.values() if len(group) > 1]


def _loss(kind: Literal["smt_cliff", "core_cliff", "numa_penalty"], step: Step[int]) -> SweepLoss:
    ratio = step.ratio  # of the time; its inverse is of the rate
    assert ratio.low is not None
    assert ratio.high is not None
    return SweepLoss(kind, step.start, step.to, 1 / ratio.centre, 1 / ratio.high, 1 / ratio.low)


def idle_siblings(design: Design) -> Iterator[str]:
    """A note where SMT could not be switched, and levels below that of the machine were reached by idle threads."""
    online, grid = design.facts.topology.smt.online or 1, design.grid
    if grid is None or grid.method is not SmtMethod.AFFINITY:
        return
    if any((each.smt or 1) < online for each in grid.configurations):
        yield (
            "SMT levels were obtained by affinity: the other threads of a core stayed online and idle, and what the"
            " core reserves for them was not freed."
        )


def _notes(design: Design) -> tuple[str, ...]:
    notes = list(idle_siblings(design))
    capacity = next(iter(design.spec.scenarios or ()), "offline")
    if capacity in CAPACITY:
        notes.append(
            f"{'Server' if capacity == 'server' else 'HTTP'} scenario: a rate is the highest at which p99 of the "
            f"latency of single-row requests was at most {1e3 * design.spec.p99_bound_s:g} ms, confirmed; the time per "
            "row is that of one request alone."
        )
    if capacity == "http":
        notes.append(
            "The lean front served on the cores of the setting, the load came from a core that it leaves free, and"
            " every answer was compared with the detector's own. In process: what the same processes serve without"
            " HTTP, in the same blocks."
        )
    epochs = "one epoch" if design.spec.epochs == 1 else f"{design.spec.epochs} epochs"
    notes.append(
        f"Each workload was trained once, for at most {epochs}: the speed of scoring does not depend on the weights."
    )
    return tuple(notes)
