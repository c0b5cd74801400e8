"""What the machine gives: one row per workload, scenario, backend and number format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from harness.record.accuracy import (
    Accuracy,
    BaselineDetector,
    FailedBaseline,
    FailedBaselines,
    ScoredBaseline,
    ScoredBaselines,
)
from harness.record.model import Result, Run, Verdict
from harness.reporting.charts.rates import RateRow, rates_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.sections.figures import (
    NONE,
    SCENARIO_NAMES,
    Figure,
    accuracy_text,
    cuts_of,
    estimate,
    faulting_of,
    figure,
    headline_metric,
    incomparable,
    interval_text,
    metric_name,
    published_of,
    rate_metric,
    result_name,
    roof_share,
    shortfall_of,
    undisturbed_rate,
    unit_of,
    variant,
    warnings_of,
    workload_title,
)
from harness.reporting.sections.panels import Panel
from harness.reporting.sections.status import WARN, Status, has_times, is_valid, status_of_result
from harness.reporting.text import and_list, as_given, percent, quantity, score
from harness.wording import count

_CHART_ROWS = 24
# Columns that are left out where nothing is in them: field of a row, head, and what is below the head.
_OPTIONAL = (
    ("mean", "Mean", "per call"),
    ("p50", "p50", "per call"),
    ("p99", "p99", "per call"),
    ("training", "Training", "whole fit"),
    ("roof", "Of the", "measured roof"),
)
_DISTURBED = "rows/s is {} below the undisturbed rate: calls were interrupted. Size by rows/s."
_SUPERVISED = ("gradient-boosting", "xgboost")  # baseline detectors that learn from labels


@dataclass(frozen=True)
class ResultRow:
    """One result as cells."""

    scenario: str
    variant: str
    batch: str
    rate: Figure
    undisturbed: Figure
    mean: Figure
    p50: Figure
    p99: Figure
    training: Figure
    roof: str
    status: Status
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """``offline, eager``."""
        return f"{self.scenario.lower()}, {self.variant}"


@dataclass(frozen=True)
class Remark:
    """What is to be known of some results of a workload, once; ``shape`` as that of a status."""

    shape: str
    results: str  # "offline, eager; offline, native", or "all results"
    text: str

    def __str__(self) -> str:
        return f"{self.results}: {self.text}"


@dataclass(frozen=True)
class AccuracyLine:
    """The accuracy of a workload with what it is to be judged by."""

    metric: str
    ours: str
    cuts: str  # what the training was cut to; empty where it was not
    published: str  # empty without a published figure, or where this one cannot be compared with it
    no_published: str  # why it cannot; empty without a published figure
    published_by: str
    difference: str
    baselines: tuple[tuple[str, str], ...]  # classical detector, its figure
    beaten_by: str  # "1-NN distance 0.892" when that is the best baseline and better than ours, else empty
    basis: str  # what the baselines rest on; empty without any
    prevalence: str  # share of anomalies among the test rows; empty when unknown
    floor: str  # empty without one
    passed: bool | None


@dataclass(frozen=True)
class WorkloadGroup:
    """The results of one workload."""

    anchor: str
    name: str
    title: str
    synthetic: bool
    dataset: str
    accuracy: AccuracyLine | None
    reasons: tuple[str, ...]  # that all of its results share
    warnings: tuple[str, ...]  # about its data and scores
    rows: tuple[ResultRow, ...]
    remarks: tuple[Remark, ...]  # why results are not valid, and why figures are missing


def workload_groups(run: Run) -> list[WorkloadGroup]:
    """Results by workload, in the order of the record."""
    return [_group(index, results) for index, results in enumerate(by_workload(run.results))]


def by_workload(results: Sequence[Result]) -> list[list[Result]]:
    """Results of the same workload together, workloads in the order of the record, each by scenario and variant."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.workload, []).append(result)
    scenarios = list(SCENARIO_NAMES)
    return [
        sorted(group, key=lambda result: (scenarios.index(result.scenario), variant(result)))
        for group in groups.values()
    ]


def rate_panels(run: Run) -> list[Panel]:
    """A chart of rates per scenario, each with results of every workload."""
    groups = by_workload(run.results)
    ordered = [result for group in groups for result in group if has_times(result)]
    charted: list[tuple[str, str, list[RateRow], str]] = []
    for scenario in SCENARIO_NAMES:
        timed = [result for result in ordered if result.scenario == scenario]
        rows = [
            RateRow(result_name(result, alone=len(groups) == 1), rate, is_valid(result))
            for result in timed
            if (rate := estimate(rate_metric(result))) is not None
        ]
        if rows:
            title = f"{SCENARIO_NAMES[scenario]}: rows per second"
            charted.append((f"rates-{scenario}", title, rows[:_CHART_ROWS], unit_of(timed)))
    return [
        Panel(title, fitted(partial(_rates, title, rows, unit), key, alone=len(charted) == 1))
        for key, title, rows, unit in charted
    ]


def _rates(title: str, rows: Sequence[RateRow], unit: str, key: str, width: int) -> str:
    return rates_chart(key, title, rows, unit, width=width)


def accuracy_line(result: Result) -> AccuracyLine | None:
    """The headline accuracy of a workload, None where it has none."""
    name, accuracy = headline_metric(result), result.accuracy
    if name is None or accuracy is None or name not in accuracy.metrics:
        return None
    published = published_of(result)
    values = baseline_values(accuracy, name)
    best = max(values, key=lambda pair: pair[1], default=None)
    return AccuracyLine(
        metric=metric_name(name),
        ours=accuracy_text(accuracy.metrics[name]) + interval_text(accuracy, name),
        cuts=", ".join(cuts_of(result)),
        published=as_given(published.value) if published else "",
        no_published=", ".join(incomparable(result)) if result.published and not published else "",
        published_by=published.source if published else "",
        difference=published.difference.strip().rstrip(".") if published else "",
        baselines=tuple((detector, score(value)) for detector, value in values),
        beaten_by=f"{best[0]} {score(best[1])}" if best and best[1] > accuracy.metrics[name].mean else "",
        basis=baseline_basis(accuracy),
        prevalence=score(accuracy.prevalence),
        floor="" if accuracy.floor is None else as_given(accuracy.floor),
        passed=accuracy.passed,
    )


def baselines_of(accuracy: Accuracy) -> tuple[BaselineDetector, ...]:
    """The baseline detectors of a workload, failed ones included."""
    baselines = accuracy.baseline_detectors
    return baselines.detectors if isinstance(baselines, ScoredBaselines) else ()


def baseline_values(accuracy: Accuracy, name: str) -> list[tuple[str, float]]:
    """Name and figure of every baseline detector that has the metric ``name``."""
    return [
        (f"{detector.name}{' (supervised)' * (detector.detector in _SUPERVISED)}", detector.metrics[name].mean)
        for detector in baselines_of(accuracy)
        if isinstance(detector, ScoredBaseline) and name in detector.metrics
    ]


def baseline_basis(accuracy: Accuracy) -> str:
    """What the baseline detectors were computed on, and why one of them is missing; empty where there is none."""
    match accuracy.baseline_detectors:
        case None:
            return ""
        case FailedBaselines(failure):
            return f"No baseline detectors: {failure.rstrip('.')}"
        case ScoredBaselines(detectors, basis):
            trained = _of(basis.train_rows, basis.of_train_rows)
            scored = _of(basis.test_rows, basis.of_test_rows)
            splits = max((each.metrics[name].n for each in detectors if isinstance(each, ScoredBaseline)
                          for name in each.metrics), default=1)  # fmt: skip
            seeds = "one seed" if splits == 1 else f"means over the same {splits} random splits as the detector"
            whole = (
                f"Baseline detectors: trained on {trained} training rows, scored on {scored} test rows, {seeds}, "
                f"encoding {basis.encoding}"
            )
            failed = [detector for detector in detectors if isinstance(detector, FailedBaseline)]
            return ". ".join([whole, *(f"No {each.name}: {each.failure.rstrip('.')}" for each in failed)])


def _of(some: int, every: int) -> str:
    return count(some) if some == every else f"{count(some)} of {count(every)}"


def _group(index: int, results: Sequence[Result]) -> WorkloadGroup:
    first = results[0]
    scored = next((result for result in results if result.accuracy is not None), first)
    shared = shared_reasons(results)
    rows = tuple(_row(result, shared) for result in results)
    return WorkloadGroup(
        anchor=f"w{index + 1}",
        name=first.workload,
        title=workload_title(first),
        synthetic=first.dataset.origin == "synthetic",
        dataset=dataset_words(first),
        accuracy=accuracy_line(scored),
        reasons=shared,
        warnings=warnings_of(scored),
        rows=rows,
        remarks=tuple(_remarks(results, rows, shared)),
    )


def shown_columns(groups: Sequence[WorkloadGroup]) -> list[tuple[str, str, str]]:
    """The optional columns that hold anything."""
    rows = [row for group in groups for row in group.rows]
    return [column for column in _OPTIONAL if any(_is_shown(getattr(row, column[0])) for row in rows)]


def _is_shown(cell: Figure | str) -> bool:
    return (cell.value if isinstance(cell, Figure) else cell) != "–"


def _remarks(results: Sequence[Result], rows: Sequence[ResultRow], shared: tuple[str, ...]) -> list[Remark]:
    """Reasons and notes of results, each text once with the results that it concerns."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for result, row in zip(results, rows, strict=True):
        texts = [(row.status.shape, reason) for reason in row.reasons]
        if is_valid(result) and (lost := shortfall_of(result)) is not None:
            texts.append((WARN, _DISTURBED.format(percent(lost, 2))))
        if has_times(result) and (faults := faulting_of(result)) is not None:
            texts.append((WARN, faults))
        named = (("mean", row.mean), ("p50", row.p50), ("p99", row.p99), ("training time", row.training))
        notes: dict[str, list[str]] = {}
        for name, cell in named:
            if cell.note:
                notes.setdefault(cell.note, []).append(name)
        texts += [
            ("○", note if note.startswith(names[0]) else f"{and_list(names)}: {note}") for note, names in notes.items()
        ]
        for shape, text in texts:
            concerned.setdefault((shape, text), []).append(row.name)
    everywhere = [Remark(rows[0].status.shape, "all results", reason) for reason in shared]
    return everywhere + [
        Remark(shape, "all results" if len(names) == len(rows) > 1 else "; ".join(names), text)
        for (shape, text), names in concerned.items()
    ]


def shared_reasons(results: Sequence[Result]) -> tuple[str, ...]:
    """Reasons that all of several results give, so that they need to be said only once."""
    if len(results) < 2:
        return ()
    return tuple(
        reason for reason in results[0].validity.reasons if all(reason in result.validity.reasons for result in results)
    )


def dataset_words(result: Result) -> str:
    """``nsl-kdd, real data, 22,544 test rows, clean protocol``."""
    data = result.dataset
    origin = {"real": "real data", "synthetic": "synthetic data", "unknown": "not loaded"}[data.origin]
    rows = f"{count(data.rows['test'])} test rows" if "test" in data.rows else ""
    return ", ".join(part for part in (data.name, origin, rows, f"{data.protocol} protocol") if part)


def _row(result: Result, shared: tuple[str, ...]) -> ResultRow:
    timed = has_times(result)
    refused = Figure("refused") if result.validity.verdict is Verdict.TIMINGS_REFUSED else NONE
    return ResultRow(
        scenario=SCENARIO_NAMES[result.scenario],
        variant=variant(result),
        batch="–" if result.batch_size is None else count(result.batch_size),
        rate=figure(rate_metric(result)) if timed else refused,
        undisturbed=figure(undisturbed_rate(result)) if timed else refused,
        mean=_mean(result) if timed else NONE,
        p50=figure(result.metrics.get("p50_s")) if timed else NONE,
        p99=figure(result.metrics.get("p99_s")) if timed else NONE,
        training=figure(result.metrics.get("train_seconds")) if timed else NONE,
        roof=roof_share(result.share_of_peak if timed else None),
        status=status_of_result(result),
        reasons=tuple(reason for reason in result.validity.reasons if reason not in shared),
    )


def _mean(result: Result) -> Figure:
    """The mean inference time of a call, with that of a row where a call scores several."""
    call, row = result.metrics.get("mean_inference_s"), result.metrics.get("mean_inference_per_row_s")
    mean = figure(call)
    if row is None or row.value is None or result.batch_size in (None, 1):
        return Figure(mean.value)
    return Figure(
        mean.value, margin=f"({quantity(row.value, row.unit)}/row)", interval=f"{quantity(row.value, row.unit)} per row"
    )
