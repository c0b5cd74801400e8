"""What the machine gives: one row per workload, scenario, backend and number format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.record.model import Result, Run, Verdict
from harness.reporting.charts.rates import RateRow, rates_chart
from harness.reporting.sections.figures import (
    NONE,
    SCENARIO_NAMES,
    Figure,
    accuracy_text,
    accuracy_value,
    estimate,
    figure,
    headline_metric,
    interval_text,
    metric_name,
    rate_metric,
    result_name,
    unit_of,
    variant,
    workload_title,
)
from harness.reporting.sections.lookup import dig, number_at, objects_at, text_at
from harness.reporting.sections.panels import Panel
from harness.reporting.sections.status import Status, has_times, is_valid, status_of
from harness.reporting.text import as_given, count, percent, quantity, score

_CHART_ROWS = 24


@dataclass(frozen=True)
class ResultRow:
    """One result as cells."""

    scenario: str
    variant: str
    batch: str
    rate: Figure
    mean: Figure
    p50: Figure
    p99: Figure
    training: Figure
    roof: str
    status: Status
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class AccuracyLine:
    """The accuracy of a workload beside what it is to be judged by."""

    metric: str
    ours: str
    published: str  # empty without a published figure
    published_by: str
    difference: str
    references: tuple[tuple[str, str], ...]  # classical detector, its figure
    beaten_by: str  # "1-NN distance 0.892" when that is the best reference and better than ours, else empty
    basis: str  # what the references rest on; empty without any
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
    rows: tuple[ResultRow, ...]


def workload_groups(run: Run) -> list[WorkloadGroup]:
    """Results by workload, in the order of the record."""
    return [_group(index, results) for index, results in enumerate(by_workload(run.results))]


def by_workload(results: Sequence[Result]) -> list[list[Result]]:
    """Results of the same workload together, workloads in the order of the record, each by scenario and variant."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.workload, []).append(result)
    scenarios = list(SCENARIO_NAMES)
    return [sorted(group, key=lambda one: (scenarios.index(one.scenario), variant(one))) for group in groups.values()]


def rate_panels(run: Run) -> list[Panel]:
    """One chart of rates per scenario that has any; the table above holds its numbers."""
    panels = []
    groups = by_workload(run.results)
    for scenario in SCENARIO_NAMES:
        timed = [one for group in groups for one in group if one.scenario == scenario and has_times(one)]
        rows = [
            RateRow(result_name(result, alone=len(groups) == 1), found, is_valid(result))
            for result in timed
            if (found := estimate(rate_metric(result))) is not None
        ]
        if rows:
            title = f"{SCENARIO_NAMES[scenario]}: rows per second"
            panels.append(Panel(title, rates_chart(f"rates-{scenario}", title, rows[:_CHART_ROWS], unit_of(timed))))
    return panels


def accuracy_line(result: Result) -> AccuracyLine | None:
    """The headline accuracy of a workload, None where it has none."""
    name = headline_metric(result)
    if name is None or accuracy_value(result, name) is None:
        return None
    published = result.published
    floor = number_at(result.accuracy, "floor")
    passed = dig(result.accuracy, "passed")
    values = reference_values(result.accuracy, name)
    best = max(values, key=lambda pair: pair[1], default=None)
    ours = accuracy_value(result, name) or 0.0
    prevalence = number_at(result.accuracy, "prevalence")
    return AccuracyLine(
        metric=metric_name(name),
        ours=accuracy_text(dig(result.accuracy, "metrics", name)) + interval_text(result.accuracy, name),
        published=as_given(published.value) if published else "",
        published_by=published.source if published else "",
        difference=published.difference.strip().rstrip(".") if published else "",
        references=tuple((reference, score(value)) for reference, value in values),
        beaten_by=f"{best[0]} {score(best[1])}" if best and best[1] > ours else "",
        basis=reference_basis(result.accuracy),
        prevalence="" if prevalence is None else score(prevalence),
        floor="" if floor is None else as_given(floor),
        passed=passed if isinstance(passed, bool) else None,
    )


def reference_values(accuracy: object, name: str) -> list[tuple[str, float]]:
    """Name and figure of every classical reference that has the metric ``name``."""
    return [
        (text_at(reference, "name") or "reference", value)
        for reference in objects_at(accuracy, "references")
        if (value := _reference_value(reference, name)) is not None
    ]


def reference_basis(accuracy: object) -> str:
    """What the classical references were computed on, and why one of them is missing; empty where there is none."""
    basis = dig(accuracy, "references_basis")
    parts = []
    if basis is not None:
        learnt, scored = (_of(basis, f"{part}_rows", f"of_{part}_rows") for part in ("train", "test"))
        encoding = text_at(basis, "encoding") or "unknown"
        parts.append(
            f"Classical references: learnt from {learnt} training rows, scored on {scored} test rows, one seed, "
            f"encoding {encoding}"
        )
    for reference in objects_at(accuracy, "references"):
        if failure := text_at(reference, "failure"):
            parts.append(f"No {text_at(reference, 'name') or 'reference'}: {failure.rstrip('.')}")
    if failure := text_at(accuracy, "references_failure"):
        parts.append(f"No classical references: {failure.rstrip('.')}")
    return ". ".join(parts)


def _of(basis: object, used: str, whole: str) -> str:
    some, every = number_at(basis, used), number_at(basis, whole)
    if some is None or every is None:
        return "an unknown number of"
    return count(int(some)) if some == every else f"{count(int(some))} of {count(int(every))}"


def _reference_value(reference: object, name: str) -> float | None:
    value = number_at(reference, "metrics", name, "value")
    return number_at(reference, "metrics", name) if value is None else value


def _group(index: int, results: Sequence[Result]) -> WorkloadGroup:
    first = results[0]
    scored = next((result for result in results if result.accuracy is not None), first)
    shared = shared_reasons(results)
    return WorkloadGroup(
        anchor=f"w{index + 1}",
        name=first.workload,
        title=workload_title(first),
        synthetic=first.dataset.origin == "synthetic",
        dataset=dataset_words(first),
        accuracy=accuracy_line(scored),
        reasons=shared,
        rows=tuple(_row(result, shared) for result in results),
    )


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


def _row(result: Result, said: tuple[str, ...]) -> ResultRow:
    timed = has_times(result)
    refused = Figure("refused") if result.validity.verdict is Verdict.TIMINGS_REFUSED else NONE
    return ResultRow(
        scenario=SCENARIO_NAMES[result.scenario],
        variant=variant(result),
        batch="–" if result.batch_size is None else count(result.batch_size),
        rate=figure(rate_metric(result)) if timed else refused,
        mean=_mean(result) if timed else NONE,
        p50=_percentile(result, "p50_s") if timed else NONE,
        p99=_percentile(result, "p99_s") if timed else NONE,
        training=figure(result.metrics.get("train_seconds")) if timed else NONE,
        roof="–" if result.share_of_peak is None or not timed else percent(result.share_of_peak),
        status=status_of(result.validity.verdict),
        reasons=tuple(reason for reason in result.validity.reasons if reason not in said),
    )


def _mean(result: Result) -> Figure:
    """The mean inference time of a call, with that of a row where a call scores several."""
    call, row = result.metrics.get("mean_inference_s"), result.metrics.get("mean_inference_per_row_s")
    found = figure(call)
    if row is None or row.value is None or result.batch_size in (None, 1):
        return Figure(found.value)
    return Figure(
        found.value,
        margin=f"({quantity(row.value, row.unit)}/row)",
        interval=f"{quantity(row.value, row.unit)} per row",
    )


def _percentile(result: Result, name: str) -> Figure:
    """A percentile; its note is only worth a line where there is no value."""
    found = figure(result.metrics.get(name))
    return Figure(found.value, found.interval, found.note if found.value == "–" else "")
