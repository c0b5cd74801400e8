"""One workload in detail: how long a call takes, how the rate grows with the batch, and how good the scores are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.measure.percentiles import PERCENTILES
from harness.record.accuracy import Accuracy, EpochUnit, ScoredBaseline
from harness.record.model import Metric, Result
from harness.reporting.charts.accuracy import (
    ClassBar,
    Point,
    Scores,
    classes_chart,
    epoch_chart,
    pr_chart,
    roc_chart,
    scores_chart,
)
from harness.reporting.charts.distribution import Distribution, distribution_chart
from harness.reporting.charts.rates import BatchCurve, batch_chart
from harness.reporting.sections.figures import (
    METRIC_NAMES,
    SCENARIO_NAMES,
    Figure,
    accuracy_text,
    estimate,
    figure,
    interval_text,
    metric_name,
    published_of,
    rate_metric,
    unit_of,
    variant,
    warnings_of,
    workload_title,
)
from harness.reporting.sections.panels import Cell, Panel, Table
from harness.reporting.sections.results import AccuracyLine, accuracy_line, baselines_of, dataset_words
from harness.reporting.sections.status import has_times
from harness.reporting.sections.trust import headline_series
from harness.reporting.sections.variants import variant_tables
from harness.reporting.text import as_given, number, percent, score
from harness.wording import count

_LINES = 4  # series that can be distinguished in one chart
_LONG = 8  # rows from which a table is folded
_NORMAL = "normal"
_AT_THRESHOLD = ("At the threshold (ring)", "Value")
_LATENCY = ("single_stream", "multi_stream", "server", "http")


@dataclass(frozen=True)
class Detail:
    """One workload."""

    anchor: str
    title: str
    dataset: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    accuracy: AccuracyLine | None = None
    metrics: Table | None = None
    confusion: tuple[tuple[str, ...], ...] = ()
    threshold: str = ""
    thresholds: Table | None = None  # what others, chosen on validation labels, would give
    variants: tuple[tuple[str, Table], ...] = ()
    panels: tuple[Panel, ...] = ()


def details(anchor: str, results: Sequence[Result]) -> Detail:
    """Everything drawn and listed for the results of one workload."""
    first = results[0]
    scored = next((result for result in results if result.accuracy is not None), first)
    panels = [*_distributions(anchor, results), *_batches(anchor, results)]
    detail = Detail(anchor, workload_title(first), tuple(_dataset(first)), first.dataset.notes, warnings_of(scored))
    accuracy = scored.accuracy
    if accuracy is not None:
        panels += [
            *_loss(anchor, accuracy.loss_curve, accuracy.epochs.unit),
            *_validation(anchor, accuracy.validation_curve, accuracy.epochs.unit),
            *_curves(anchor, accuracy),
            *_histogram(anchor, accuracy),
            *_classes(anchor, accuracy),
        ]
        detail = replace(
            detail,
            notes=tuple(dict.fromkeys([*first.dataset.notes, *accuracy.notes])),
            accuracy=accuracy_line(scored),
            metrics=_metrics(scored, accuracy),
            confusion=_confusion(accuracy),
            threshold=f"Threshold {number(accuracy.threshold)}: {accuracy.threshold_rule}",
            thresholds=_thresholds(accuracy),
            variants=variant_tables(accuracy, _training_loops(results)),
        )
    return replace(detail, panels=tuple(panels))


def _training_loops(results: Sequence[Result]) -> dict[str, Metric]:
    """Rates of the native training loop by number format."""
    loops = [result for result in results if (result.scenario, result.backend) == ("train", "native")]
    return {result.dtype: rate for result in loops if (rate := rate_metric(result)) is not None}


def _dataset(result: Result) -> list[tuple[str, str]]:
    data = result.dataset
    verified = {
        True: "as published (sha256)",
        False: "differ from the published ones",
        None: "sha256 recorded, none published" if data.sha256 else "digest not known",
    }
    lines = [
        ("Workload", result.workload),
        ("Detector", result.detector),
        ("Data", dataset_words(result)),
        ("Files", verified[data.verified] if data.origin == "real" else ""),
        ("Rows", ", ".join(f"{name} {count(rows)}" for name, rows in sorted(data.rows.items(), key=_in_order))),
        ("Features", count(data.features) if data.features else ""),
        ("Anomalies in the test rows", "" if data.prevalence is None else percent(data.prevalence)),
    ]
    if data.duplicates:
        lines.append(("Repeated rows", _duplicates(data.duplicates)))
    if result.accuracy is not None and result.accuracy.epochs.trained:
        lines.append((f"{result.accuracy.epochs.unit.capitalize()}s", _epochs(result.accuracy)))
    if result.accuracy is not None:
        lines.append(("Validation while training", result.accuracy.validation_note))
    if result.accuracy is not None and result.accuracy.parameters:
        lines.append(("Parameters", ", ".join(f"{name} {value}" for name, value in result.accuracy.parameters.items())))
    if result.accuracy is not None and result.accuracy.class_weights:
        normal, anomaly = result.accuracy.class_weights
        lines.append(("Class weights", f"{number(normal)} normal, {number(anomaly)} anomaly"))
    return [(label, value) for label, value in lines if value]


def _epochs(accuracy: Accuracy) -> str:
    """How many of the scheduled ones; a detector with several stages has more than those."""
    trained, scheduled = accuracy.epochs.trained, accuracy.epochs.scheduled
    if scheduled is None:
        return count(trained)
    own = trained if accuracy.limits.epochs is None else min(trained, accuracy.limits.epochs)
    if own > scheduled:
        return count(trained)
    return f"{count(own)} of {count(scheduled)}" + (
        f", {count(trained)} with its other stages" if own < trained else ""
    )


def _in_order(part: tuple[str, int]) -> tuple[int, str]:
    """Training rows first, test rows last."""
    return {"train": 0, "test": 2}.get(part[0], 1), part[0]


def _duplicates(rows: Mapping[str, int]) -> str:
    words = {"train": "in training", "test": "in test", "test_in_train": "test rows that training holds too"}
    return ", ".join(f"{count(rows[key])} {text}" for key, text in words.items() if key in rows)


def _distributions(anchor: str, results: Sequence[Result]) -> list[Panel]:
    panels = []
    for scenario in _LATENCY:
        shown = [
            (result, durations)
            for result in results
            if result.scenario == scenario and has_times(result) and len(durations := _durations(result))
        ][:_LINES]
        if not shown:
            continue
        distributions = [
            Distribution(variant(result), durations, _estimable(result.metrics)) for result, durations in shown
        ]
        means = [variant(result) for result, _ in shown if _batch_means(result)]
        caption = "Every call after warm-up of all processes, disturbed ones included."
        if means:
            caption += f" For {' and '.join(means)} a call is too short to be timed alone: means of several are shown."
        panels.append(
            Panel(
                f"Inference time, {SCENARIO_NAMES[scenario].lower()}, batch {shown[0][0].batch_size or 1}",
                distribution_chart(f"{anchor}-time-{scenario}", distributions),
                _percentile_table([result for result, _ in shown]),
                caption,
            )
        )
    return panels


def _durations(result: Result) -> NDArray[np.float64]:
    """Seconds per call of every sample after warm-up, over all processes."""
    parts = [
        np.asarray(series.durations_ns[series.warmup :], dtype=np.float64) / (1e9 * series.inner)
        for process in result.processes
        if (series := headline_series(process)) is not None
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _batch_means(result: Result) -> bool:
    return any(series.inner > 1 for process in result.processes for series in process.series[-1:])


def _estimable(metrics: Mapping[str, Metric]) -> dict[float, float]:
    return {
        percent / 100: metrics[name].value  # type: ignore[misc]
        for name, percent in PERCENTILES.items()
        if name in metrics and metrics[name].value is not None
    }


def _percentile_table(results: Sequence[Result]) -> Table:
    """One row per percentile and mean, one column per backend."""
    labels = {name: f"p{percent:g}" for name, percent in PERCENTILES.items()}
    labels |= {"mean_inference_s": "mean per call", "mean_inference_per_row_s": "mean per row"}
    rows: list[tuple[str, ...]] = []
    for name, label in labels.items():
        if any(name in result.metrics for result in results):
            rows.append((label, *(figure(result.metrics.get(name)).value for result in results)))
    shown = [result.metrics[name] for result in results for name in PERCENTILES if name in result.metrics]
    notes = dict.fromkeys(f"Percentiles: {metric.note}." for metric in shown if metric.note)
    return Table(("Quantity", *(variant(result) for result in results)), tuple(rows), notes=tuple(notes))


def _batches(anchor: str, results: Sequence[Result]) -> list[Panel]:
    offline = [result for result in results if result.scenario == "offline" and has_times(result) and result.by_batch]
    curves = []
    for result in offline:
        rated = [(size, estimate(metrics.get("rows_per_s"))) for size, metrics in sorted(result.by_batch.items())]
        known = [(size, rate) for size, rate in rated if rate is not None]
        if len(known) > 1:
            curves.append(BatchCurve(variant(result), [size for size, _ in known], [rate for _, rate in known]))
    if not curves:
        return []
    sizes = sorted({size for result in offline for size in result.by_batch})
    rows: list[tuple[Cell, ...]] = [(count(size), *(_rate_at(result, size) for result in offline)) for size in sizes]
    table = Table(("Batch", *(variant(result) for result in offline)), tuple(rows), folded=len(rows) > _LONG)
    return [Panel("Rate over batch size", batch_chart(f"{anchor}-batch", curves[:_LINES], unit_of(offline)), table)]


def _rate_at(result: Result, size: int) -> Figure:
    """The rate at a batch size, and below it the mean time of a call, which is what publications give."""
    metrics = result.by_batch.get(size, {})
    rate, mean = figure(metrics.get("rows_per_s")), metrics.get("mean_inference_s")
    if mean is None or mean.value is None:
        return rate
    return replace(rate, note=f"{figure(mean).value} per call")


def _loss(anchor: str, losses: Sequence[float], unit: EpochUnit) -> list[Panel]:
    if len(losses) < 2:
        return []
    rows = tuple((str(epoch), number(value)) for epoch, value in enumerate(losses, start=1))
    table = Table((unit.capitalize(), "training"), rows, folded=len(rows) > _LONG)
    return [Panel("Loss while training", epoch_chart(f"{anchor}-loss", {"training": losses}, unit=unit), table)]


def _validation(anchor: str, curves: Mapping[str, Sequence[float | None]], unit: EpochUnit) -> list[Panel]:
    shown = {METRIC_NAMES.get(name, name): values for name, values in curves.items()}
    if not shown or sum(value is not None for value in next(iter(shown.values()))) < 2:
        return []
    rows = tuple(
        (str(epoch), *("–" if value is None else number(value) for value in values))
        for epoch, values in enumerate(zip(*shown.values(), strict=True), start=1)
        if unit == "epoch" or values[0] is not None  # of several hundred rounds some are looked at
    )
    title = f"Validation rows after each {unit}"
    chart = epoch_chart(f"{anchor}-validation", shown, what="metric", title=title, unit=unit)
    return [Panel(title, chart, Table((unit.capitalize(), *shown), rows, folded=len(rows) > _LONG))]


def _curves(anchor: str, accuracy: Accuracy) -> list[Panel]:
    counts = accuracy.confusion
    recall = _share(counts.true_positive, counts.false_negative)
    fpr = _share(counts.false_positive, counts.true_negative)
    precision = _share(counts.true_positive, counts.false_positive)
    prevalence, panels = accuracy.prevalence, []
    roc = list(zip(accuracy.roc.false_positive_rate, accuracy.roc.true_positive_rate, strict=True))
    if len(roc) > 1:
        rows = _point_rows(("false-positive rate", fpr), ("recall", recall))
        chart = roc_chart(f"{anchor}-roc", roc, _point(fpr, recall), accuracy.mean("auc_roc"))
        panels.append(Panel(_area("ROC-AUC", accuracy, "auc_roc"), chart, Table(_AT_THRESHOLD, rows)))
    pr = list(zip(accuracy.precision_recall.recall, accuracy.precision_recall.precision, strict=True))
    if len(pr) > 1:
        rows = _point_rows(("recall", recall), ("precision", precision), ("prevalence", prevalence))
        chart = pr_chart(f"{anchor}-pr", pr, _point(recall, precision), accuracy.mean("auc_pr"), prevalence)
        panels.append(Panel(_area("AUC-PR", accuracy, "auc_pr"), chart, Table(_AT_THRESHOLD, rows)))
    return panels


def _share(some: int, others: int) -> float | None:
    return some / (some + others) if some + others else None


def _area(name: str, accuracy: Accuracy, metric: str) -> str:
    recorded = accuracy.metrics.get(metric)
    return name if recorded is None else f"{name} {accuracy_text(recorded)}"


def _point(x: float | None, y: float | None) -> Point | None:
    return None if x is None or y is None else (x, y)


def _point_rows(*lines: tuple[str, float | None]) -> tuple[tuple[str, ...], ...]:
    return tuple((label, score(value)) for label, value in lines if value is not None)


def _histogram(anchor: str, accuracy: Accuracy) -> list[Panel]:
    histogram, threshold = accuracy.histogram, accuracy.threshold
    edges, normal, anomaly = histogram.edges, histogram.normal, histogram.anomaly
    if len(edges) < 2 or not len(edges) - 1 == len(normal) == len(anomaly) or list(edges) != sorted(edges):
        return []
    log = histogram.scale == "log" and edges[0] > 0
    inside = threshold if edges[0] <= threshold <= edges[-1] else None
    rows = tuple(
        (f"{number(low)} to {number(high)}", count(a), count(b))
        for low, high, a, b in zip(edges, edges[1:], normal, anomaly, strict=False)
    )
    chart = scores_chart(f"{anchor}-scores", Scores(edges, normal, anomaly, log=log, threshold=inside))
    caption = "The outermost bins hold everything beyond them."
    if inside is None:
        caption += f" The threshold, {number(threshold)}, lies outside."
    return [Panel("Anomaly scores", chart, Table(("Score", "Normal", "Anomaly"), rows, folded=True), caption)]


def _classes(anchor: str, accuracy: Accuracy) -> list[Panel]:
    bars = [
        ClassBar(name, recall.rows, recall.flagged, normal=name.casefold() in (_NORMAL, "benign"))
        for name, recall in sorted(accuracy.per_class_recall.items())
    ]
    if len(bars) < 2:
        return []
    rows = tuple((bar.name, count(bar.rows), percent(bar.flagged)) for bar in sorted(bars, key=lambda bar: -bar.rows))
    table = Table(("Class", "Test rows", "Flagged"), rows, folded=len(rows) > _LONG)
    return [Panel("Recall by class", classes_chart(f"{anchor}-classes", bars), table)]


def _metrics(result: Result, accuracy: Accuracy) -> Table:
    metrics, oracle, published = accuracy.metrics, accuracy.oracle, published_of(result)
    known = [name for name in METRIC_NAMES if name in metrics]
    detectors = [each for each in baselines_of(accuracy) if isinstance(each, ScoredBaseline)]  # a note names the others
    rows = []
    for name in [*known, *sorted(set(metrics) - set(known))]:
        theirs = () if published is None else (as_given(published.value) if published.metric == name else "–",)
        rows.append(
            (
                metric_name(name) + (" *" if name in oracle else ""),
                accuracy_text(metrics[name]) + interval_text(accuracy, name),
                *theirs,
                *(_baseline(detector, name) for detector in detectors),
            )
        )
    notes = ["* An oracle: its threshold was chosen on the test labels."] if set(oracle) & set(metrics) else []
    methods = dict.fromkeys(accuracy.intervals[name].method for name in known if name in accuracy.intervals)
    notes += [f"Intervals: {method}." for method in methods]
    head = (
        "Metric",
        "Here",
        *(() if published is None else ("Published",)),
        *(detector.name for detector in detectors),
    )
    return Table(head, tuple(rows), notes=tuple(notes))


def _baseline(detector: ScoredBaseline, name: str) -> str:
    metric = detector.metrics.get(name)
    return "–" if metric is None else score(metric.mean)


def _confusion(accuracy: Accuracy) -> tuple[tuple[str, ...], ...]:
    counts = accuracy.confusion
    tn, fp, fn, tp = counts.true_negative, counts.false_positive, counts.false_negative, counts.true_positive

    def cell(some: int, total: int) -> str:
        return count(some) + (f" ({percent(some / total)})" if total else "")

    return (("normal", cell(tn, tn + fp), cell(fp, tn + fp)), ("anomaly", cell(fn, fn + tp), cell(tp, fn + tp)))


def _thresholds(accuracy: Accuracy) -> Table | None:
    rows = [
        (
            point.rule,
            *("–" if share is None else score(share) for share in (point.precision, point.recall, point.f1)),
            *(count(rows) for rows in (point.true_positive, point.false_positive, point.false_negative)),
            count(round(point.cost)),
        )
        for point in accuracy.operating_points
    ]
    head = ("Threshold", "Precision", "Recall", "F1", "Detected", "False alarms", "Missed", "Cost")
    notes = ("On the test rows, first seed. Cost: in false alarms.",)
    return Table(head, tuple(rows), notes=notes) if rows else None
