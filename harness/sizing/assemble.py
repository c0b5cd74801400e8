"""From the design, the request and the journal of a sizing to its record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal

from harness import __version__
from harness.measure.validity import Evidence, Reason, invalidities
from harness.platform.facts import Facts, LoadedSoftware
from harness.record.model import ProcessRecord, Tool, Validity, Verdict
from harness.record.size_model import (
    LAYOUTS,
    PLAN_KINDS,
    SIZE_SCHEMA_VERSION,
    CapacityBlock,
    CapacityPoint,
    CapacitySeries,
    Layout,
    PlanKind,
    Size,
    SizeDesign,
    SizedWorkload,
    SizeQuestion,
    SizeRoof,
)
from harness.record.spec import CAPACITY, Scenario
from harness.roofline.measured import MeasuredRoof
from harness.runs.design import Design
from harness.runs.fingerprint import fingerprint
from harness.runs.journal import Entry, FitEntry, Measurement, SurveyEntry
from harness.runs.judge import estimate_of
from harness.runs.processes import process_record
from harness.runs.schedule import Configuration
from harness.sizing.answer import Bench, answer, instances_of
from harness.sizing.curves import curve_of, model_of
from harness.sizing.memory import traffic_of
from harness.sizing.notes import notes_of
from harness.sizing.plan import plans_for
from harness.workers.outcomes import FitOutcome, InstanceOutcome, JobResult, MeasureOutcome, SurveyOutcome

_OPERATIONS_PER_MAC = 2
EndedBy = Literal["decided", "budget", "blocks", "stored"]


@dataclass(frozen=True)
class SizeRequest:
    """What a sizing was asked, next to its design.

    Attributes:
        node_cores: usable cores of the node that is measured.
        plans: kinds of partition to lay out.
        layouts: that were asked for.
    """

    question: SizeQuestion
    node_cores: int
    plans: tuple[PlanKind, ...]
    layouts: tuple[Layout, ...]
    budget_s: float | None


def layout_of(configuration: Configuration, layouts: Sequence[Layout]) -> Layout:
    """How a configuration's instances share its cores; on one core without SMT all layouts are the first."""
    for layout in layouts:
        if instances_of(layout, configuration.cores, configuration.threads_per_core) == configuration.instances:
            return layout
    raise AssertionError("a sizing measures layouts only")


def bench_of(size: Size, p99_s: float | None = None) -> Bench:
    """What a stored sizing answers from.

    Args:
        p99_s: another bound than its own.
    """
    bound = size.design.p99_s
    other = p99_s if p99_s is not None and bound is not None and not math.isclose(p99_s, bound) else None
    entitled = entitled_cores(size.facts)
    curves = tuple(curve_of(series, entitled=entitled, p99_s=other) for series in size.series)
    return Bench(curves, size.node_cores, other or bound, traffic_of(size))


def entitled_cores(facts: Facts) -> float | None:
    """Entitlement of a shared uncapped partition, which may borrow beyond it; None where nothing is borrowed."""
    return facts.lpar.entitled_cores if facts.lpar.mode == "shared uncapped" else None


def series_of(design: Design, layouts: Sequence[Layout], journal: Sequence[Entry]) -> tuple[CapacitySeries, ...]:
    """Capacity over cores per SMT level and layout, from what was measured."""
    configurations = () if design.grid is None else design.grid.configurations
    by_setting: dict[int, list[Measurement]] = {}
    for entry in journal:
        if isinstance(entry, Measurement):
            by_setting.setdefault(entry.configuration, []).append(entry)
    points: dict[tuple[int, Layout, int | None, str, str], list[CapacityPoint]] = {}
    for index, measurements in by_setting.items():
        each = configurations[index]
        key = (each.threads_per_core, layout_of(each, layouts), each.node, each.backend, each.dtype)
        points.setdefault(key, []).append(_point(each, measurements))
    return tuple(
        CapacitySeries(*key, tuple(sorted(those, key=lambda point: point.cores)))
        for key, those in sorted(points.items(), key=lambda pair: (pair[0][0], LAYOUTS.index(pair[0][1])))
    )


def size_record(design: Design, request: SizeRequest, journal: Sequence[Entry], ended_by: EndedBy) -> Size:
    """The record of a sizing, finished or not."""
    surveys = [entry.result.outcome(SurveyOutcome) for entry in journal if isinstance(entry, SurveyEntry)]
    survey = next(iter(surveys), None)
    software = LoadedSoftware(**vars(design.facts.software)) if survey is None else survey.software
    fits = [entry.result.outcome(FitOutcome) for entry in journal if isinstance(entry, FitEntry)]
    fit, workload = next(iter(fits), None), design.workloads[0]
    server = request.question.p99_s is not None
    over_http = "http" in (design.spec.scenarios or ())
    measured = [entry for entry in journal if isinstance(entry, Measurement)]
    configurations = () if design.grid is None else design.grid.configurations
    series = series_of(design, request.layouts, journal)
    size = Size(
        schema_version=SIZE_SCHEMA_VERSION,
        size_id=design.identity,
        created=design.created,
        tool=Tool("lparbench", __version__, design.argv, None if survey is None else survey.overhead),
        facts=design.facts,
        fingerprint=fingerprint(design.facts, software),
        software=software,
        workload=SizedWorkload(
            workload.name,
            workload.title,
            None if fit is None else fit.dataset,
            float(_OPERATIONS_PER_MAC * fit.macs_per_row) if fit is not None and fit.macs_per_row else None,
            workload.detector,
            None if fit is None else fit.weights,
        ),
        design=SizeDesign(
            scenario="http" if over_http else "server" if server else "offline",
            p99_s=request.question.p99_s,
            series_seconds=design.spec.series_seconds,
            blocks=1 + max((entry.block for entry in measured), default=-1),
            seed=design.spec.seed,
            budget_s=request.budget_s,
            ended_by=ended_by,
            batch_size=None if server or not configurations else configurations[0].batch_sizes[-1],
            arrivals=design.spec.arrivals,
        ),
        node_cores=request.node_cores,
        series=series,
        models=(),
        answer=answer(Bench((), request.node_cores, None), request.question),
        not_covered=not_covered(server=server, http=over_http, arrivals=design.spec.arrivals),
        notes=tuple(notes_of(design, series)),
        roof=None if survey is None or survey.roof is None else _roof(survey.roof),
    )
    return answered(size, request.question, request.plans)


def answered(size: Size, question: SizeQuestion, plans: Sequence[PlanKind] = PLAN_KINDS) -> Size:
    """The record with the answer to a question, the models that it rests on, and the partitions it comes to."""
    bench = bench_of(size, question.p99_s)
    models = tuple(model_of(curve, question.confidence) for curve in bench.curves)
    result = answer(bench, question)
    return replace(size, models=models, answer=replace(result, plans=plans_for(size, result, plans)))


def _roof(measured: MeasuredRoof) -> SizeRoof | None:
    """Of one core, and of all that were surveyed at once."""
    compute = [roof.ops_per_s for roof in measured.first_compute or measured.compute if roof.dtype == "float32"]
    memory = [roof.best_bytes_per_s for roof in measured.first_memory or measured.memory]
    together = max((roof.best_bytes_per_s for roof in measured.memory), default=None)
    return SizeRoof(max(compute), max(memory), together) if compute and memory else None


_ARRIVALS = {
    "poisson": "arrivals that come in bursts: they were Poisson, the favourable case",
    "constant": "arrivals that are not evenly spaced: these were, which is the kindest case",
}


def not_covered(*, server: bool, http: bool = False, arrivals: str = "poisson") -> tuple[str, ...]:
    """What no interval here says anything about."""
    others = _ARRIVALS.get(arrivals, f"other arrivals than those recorded in {Path(arrivals).name}")
    return (
        "drift of the machine over days, and other partitions that were quiet meanwhile",
        *((others,) if server else ()),
        "the network: server and load were on one machine"
        if http
        else "the front, network and encoding of requests: rows were scored in the process",
    )


def _point(configuration: Configuration, measurements: Sequence[Measurement]) -> CapacityPoint:
    ordered = sorted(measurements, key=lambda measurement: measurement.block)
    scenario: Scenario = next((each for each in configuration.scenarios if each in CAPACITY), "offline")
    records = [process_record(measurement, scenario) for measurement in ordered]
    blocks = tuple(_block(record, each.result) for record, each in zip(records, ordered, strict=True))
    return CapacityPoint(configuration.cores, configuration.instances, blocks, _validity(ordered, records, scenario))


def _validity(measurements: Sequence[Measurement], records: Sequence[ProcessRecord], scenario: Scenario) -> Validity:
    """Why the figures of a point may not be used; how many blocks it has is a matter of the answer."""
    failures = tuple(f"block {record.block}: {record.failure}" for record in records if record.failure)
    series = [] if scenario in CAPACITY else [series for record in records for series in record.series]
    evidence = Evidence(
        blocks=len(records),
        clean_shares=[estimate_of(each).undisturbed_share for each in series],
        steal_shares=[record.steal_share for record in records if record.failure is None],
        steady=[_settled(each.result) for each in measurements]
        if scenario in CAPACITY
        else [each.steady for each in series],
        placement_mismatches=list(dict.fromkeys(text for each in measurements for text in each.mismatches)),
        accuracy_mismatch=next((each.disagreement for each in measurements if each.disagreement), None),
        clock_mismatch=next((each.clock for each in measurements if each.clock), None),
        frequency_ratios=[_frequency_ratio(each.result) for each in measurements],
    )
    broken = [rule for rule in invalidities(evidence) if rule.reason is not Reason.TOO_FEW_BLOCKS]
    reasons = (*failures, *(f"{rule.text}. {rule.reason.remedy}" for rule in broken))
    if len(failures) == len(records):
        return Validity(Verdict.FAILED, reasons)
    return Validity(Verdict.INVALID if broken else Verdict.VALID, reasons)


def _block(record: ProcessRecord, result: JobResult) -> CapacityBlock:
    return replace(
        block_of_record(record), physical_cores=_physical_cores(result), frequency_ratio=_frequency_ratio(result)
    )


def block_of_record(record: ProcessRecord) -> CapacityBlock:
    """One process, or several at once, as a block of a curve."""
    if record.failure is not None:
        return CapacityBlock(record.block, None, note=record.failure)
    block = CapacityBlock(
        record.block,
        _rate(record),
        steal_share=record.steal_share,
        peak_bytes=record.rss_peak_bytes,
    )
    served = record.served
    if served is None:
        return block
    trials = zip(served.tried, served.tried_p99_s, strict=True)
    return replace(
        block,
        capacity=served.rate or None,
        service_s=served.service_s or None,
        p50_s=served.latencies.get("p50_s"),
        p99_s=served.latencies.get("p99_s"),
        trials=tuple((rate, p99_s) for (rate, _), p99_s in trials if p99_s is not None),
        note=served.note,
        front_share=served.front_share,
    )


def _rate(record: ProcessRecord) -> float | None:
    """Rows per second of a throughput."""
    if record.concurrent:
        return record.concurrent[-1].rows_per_s or None
    if record.served is not None or not record.series:
        return None
    series = record.series[-1]
    return estimate_of(series).rows_per_s(series.batch_size or 1) or None


def _physical_cores(result: JobResult) -> float | None:
    """What the partition consumed: every instance saw the same partition."""
    return max((each.physical_cores for each in _measured(result) if each.physical_cores is not None), default=None)


def _frequency_ratio(result: JobResult) -> float | None:
    """Effective over nominal clock of all CPUs: every instance saw its own."""
    known = [each.frequency_ratio for each in _measured(result) if each.frequency_ratio]
    return fmean(known) if known else None


def _settled(result: JobResult) -> bool:
    """Whether no process was still warming up while the rate was searched for."""
    served = [
        each.served.get("server") if isinstance(each, MeasureOutcome) else each.served for each in _measured(result)
    ]
    return all(each is None or each.settled for each in served)


def _measured(result: JobResult) -> list[MeasureOutcome | InstanceOutcome]:
    outcomes = (report.outcome for report in result.reports)
    return [each for each in outcomes if isinstance(each, MeasureOutcome | InstanceOutcome)]
