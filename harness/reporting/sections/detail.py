"""One workload in detail: how long a call takes, how the rate grows with the batch, and how good the scores are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.record.model import Metric, Result
from harness.reporting.charts.accuracy import (
    ClassBar,
    Point,
    Scores,
    classes_chart,
    loss_chart,
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
    unit_of,
    variant,
    workload_title,
)
from harness.reporting.sections.lookup import dig, number_at, objects_at, text_at, texts_at, whole_numbers_at
from harness.reporting.sections.panels import Cell, Panel, Table
from harness.reporting.sections.results import AccuracyLine, accuracy_line, dataset_words
from harness.reporting.sections.status import has_times
from harness.reporting.sections.trust import headline_series
from harness.reporting.sections.variants import variant_tables
from harness.reporting.text import as_given, count, number, percent, score

_LINES = 4  # series that one chart tells apart
_NORMAL = "normal"
_PERCENTILES = {"p50_s": 0.5, "p90_s": 0.9, "p95_s": 0.95, "p99_s": 0.99, "p99_9_s": 0.999}
_AT_THRESHOLD = ("At the threshold (ring)", "")
_LATENCY = ("single_stream", "multi_stream", "server")


@dataclass(frozen=True)
class Detail:
    """One workload."""

    anchor: str
    title: str
    dataset: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    accuracy: AccuracyLine | None
    metrics: Table | None
    confusion: tuple[tuple[str, ...], ...]
    threshold: str
    thresholds: Table | None  # what others, chosen on validation labels, would give
    variants: tuple[tuple[str, Table], ...]
    panels: tuple[Panel, ...]


def details(anchor: str, results: Sequence[Result]) -> Detail:
    """Everything drawn and listed for the results of one workload."""
    first = results[0]
    scored = next((result for result in results if result.accuracy is not None), first)
    panels = [
        *_distributions(anchor, results),
        *_batches(anchor, results),
        *_loss(anchor, scored.accuracy),
        *_curves(anchor, scored.accuracy),
        *_histogram(anchor, scored.accuracy),
        *_classes(anchor, scored.accuracy),
    ]
    return Detail(
        anchor=anchor,
        title=workload_title(first),
        dataset=tuple(_dataset(first)),
        notes=tuple(dict.fromkeys([*first.dataset.notes, *texts_at(scored.accuracy, "notes")])),
        accuracy=accuracy_line(scored),
        metrics=_metrics(scored),
        confusion=_confusion(scored.accuracy),
        threshold=_threshold(scored.accuracy),
        thresholds=_thresholds(scored.accuracy),
        variants=variant_tables(scored.accuracy),
        panels=tuple(panels),
    )


def _dataset(result: Result) -> list[tuple[str, str]]:
    data = result.dataset
    verified = {True: "as published (sha256)", False: "differ from the published ones", None: "digest not known"}
    lines = [
        ("Workload", result.workload),
        ("Detector", result.detector),
        ("Data", dataset_words(result)),
        ("Files", verified[data.verified] if data.origin == "real" else ""),
        ("Rows", ", ".join(f"{name} {count(rows)}" for name, rows in sorted(data.rows.items()))),
        ("Features", count(data.features) if data.features else ""),
        ("Anomalies in the test rows", "" if data.prevalence is None else percent(data.prevalence)),
    ]
    if data.duplicates:
        lines.append(("Repeated rows", _duplicates(data.duplicates)))
    trained, scheduled = (number_at(result.accuracy, "epochs", key) for key in ("trained", "scheduled"))
    if trained:  # more than scheduled when there are passes before those
        of_all = f" of {scheduled:g}" if scheduled and trained <= scheduled else ""
        lines.append(("Epochs", f"{trained:g}{of_all}"))
    return [(label, value) for label, value in lines if value]


def _duplicates(found: Mapping[str, int]) -> str:
    words = {"train": "in training", "test": "in test", "test_in_train": "test rows that training holds too"}
    return ", ".join(f"{count(found[key])} {text}" for key, text in words.items() if key in found)


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
    series = [found for block in result.blocks if (found := headline_series(block)) is not None]
    parts = [np.asarray(one.durations_ns[one.warmup :], dtype=np.float64) / (1e9 * one.inner) for one in series]
    return np.concatenate(parts) if parts else np.empty(0)


def _batch_means(result: Result) -> bool:
    return any(series.inner > 1 for block in result.blocks for series in block.series[-1:])


def _estimable(metrics: Mapping[str, Metric]) -> dict[float, float]:
    return {
        share: metrics[name].value  # type: ignore[misc]
        for name, share in _PERCENTILES.items()
        if name in metrics and metrics[name].value is not None
    }


def _percentile_table(results: Sequence[Result]) -> Table:
    """One row per percentile and mean, one column per backend."""
    labels = {name: f"p{100 * share:g}" for name, share in _PERCENTILES.items()}
    labels |= {"mean_inference_s": "mean per call", "mean_inference_per_row_s": "mean per row"}
    rows: list[tuple[str, ...]] = []
    for name, label in labels.items():
        if any(name in result.metrics for result in results):
            rows.append((label, *(figure(result.metrics.get(name)).value for result in results)))
    found = [result.metrics[name] for result in results for name in _PERCENTILES if name in result.metrics]
    notes = dict.fromkeys(f"Percentiles: {metric.note}." for metric in found if metric.note)
    return Table(("", *(variant(result) for result in results)), tuple(rows), notes=tuple(notes))


def _batches(anchor: str, results: Sequence[Result]) -> list[Panel]:
    offline = [result for result in results if result.scenario == "offline" and has_times(result) and result.by_batch]
    curves = []
    for result in offline:
        rated = [(int(size), estimate(result.by_batch[size].get("rows_per_s"))) for size in result.by_batch]
        found = sorted((size, rate) for size, rate in rated if rate is not None)
        if len(found) > 1:
            curves.append(BatchCurve(variant(result), [size for size, _ in found], [rate for _, rate in found]))
    if not curves:
        return []
    sizes = sorted({int(size) for result in offline for size in result.by_batch})
    rows: list[tuple[Cell, ...]] = [(count(size), *(_rate_at(result, size) for result in offline)) for size in sizes]
    table = Table(("Batch", *(variant(result) for result in offline)), tuple(rows), folded=len(rows) > 8)
    return [Panel("Rate over batch size", batch_chart(f"{anchor}-batch", curves[:_LINES], unit_of(offline)), table)]


def _rate_at(result: Result, size: int) -> Figure:
    """The rate at a batch size, and below it the mean time of a call, which is what publications give."""
    metrics = result.by_batch.get(str(size), {})
    found, mean = figure(metrics.get("rows_per_s")), metrics.get("mean_inference_s")
    if mean is None or mean.value is None:
        return found
    return replace(found, note=f"{figure(mean).value} per call")


def _loss(anchor: str, accuracy: Any) -> list[Panel]:
    found = dig(accuracy, "loss_curve")
    curves = found if isinstance(found, Mapping) else {"training": found}
    losses = {name: values for name in curves if len(values := _numbers(curves[name])) > 1}
    if not losses:
        return []
    longest = max(len(values) for values in losses.values())
    names = sorted(losses)
    rows = tuple(
        (str(epoch + 1), *(number(losses[name][epoch]) if epoch < len(losses[name]) else "–" for name in names))
        for epoch in range(longest)
    )
    table = Table(("Epoch", *names), rows, folded=longest > 8)
    return [Panel("Loss while training", loss_chart(f"{anchor}-loss", losses), table)]


def _curves(anchor: str, accuracy: Any) -> list[Panel]:
    panels = []
    tn, fp, fn, tp = _counts(accuracy) or (0, 0, 0, 0)
    recall = tp / (tp + fn) if tp + fn else None
    fpr = fp / (fp + tn) if fp + tn else None
    precision = tp / (tp + fp) if tp + fp else None
    if roc := _points(accuracy, "roc", "fpr", "tpr"):
        rows = _point_rows(("false-positive rate", fpr), ("recall", recall))
        chart = roc_chart(f"{anchor}-roc", roc, _point(fpr, recall), number_at(accuracy, "metrics", "auc_roc", "value"))
        panels.append(Panel(_area("ROC-AUC", accuracy, "auc_roc"), chart, Table(_AT_THRESHOLD, rows)))
    if pr := _points(accuracy, "pr", "recall", "precision"):
        auc, prevalence = number_at(accuracy, "metrics", "auc_pr", "value"), number_at(accuracy, "prevalence")
        rows = _point_rows(("recall", recall), ("precision", precision), ("prevalence", prevalence))
        chart = pr_chart(f"{anchor}-pr", pr, _point(recall, precision), auc, prevalence)
        panels.append(Panel(_area("AUC-PR", accuracy, "auc_pr"), chart, Table(_AT_THRESHOLD, rows)))
    return panels


def _area(name: str, accuracy: Any, metric: str) -> str:
    found = dig(accuracy, "metrics", metric)
    return name if found is None else f"{name} {accuracy_text(found)}"


def _point(x: float | None, y: float | None) -> Point | None:
    return None if x is None or y is None else (x, y)


def _point_rows(*lines: tuple[str, float | None]) -> tuple[tuple[str, ...], ...]:
    return tuple((label, score(value)) for label, value in lines if value is not None)


def _points(accuracy: Any, curve: str, x: str, y: str) -> list[Point]:
    xs, ys = (_numbers(dig(accuracy, "curves", curve, axis)) for axis in (x, y))
    return list(zip(xs, ys, strict=True)) if len(xs) == len(ys) > 1 else []


def _histogram(anchor: str, accuracy: Any) -> list[Panel]:
    edges = _numbers(dig(accuracy, "histogram", "edges"))
    normal, anomaly = (whole_numbers_at(accuracy, "histogram", name) for name in (_NORMAL, "anomaly"))
    if len(edges) < 2 or not len(edges) - 1 == len(normal) == len(anomaly) or edges != sorted(edges):
        return []
    log = dig(accuracy, "histogram", "scale") == "log" and edges[0] > 0
    threshold = number_at(accuracy, "threshold")
    inside = threshold if threshold is not None and edges[0] <= threshold <= edges[-1] else None
    rows = tuple(
        (f"{number(low)} to {number(high)}", count(a), count(b))
        for low, high, a, b in zip(edges, edges[1:], normal, anomaly, strict=False)
    )
    chart = scores_chart(f"{anchor}-scores", Scores(edges, normal, anomaly, log=log, threshold=inside))
    caption = "The outermost bins hold everything beyond them."
    if threshold is not None and inside is None:
        caption += f" The threshold, {number(threshold)}, lies outside."
    return [Panel("Anomaly scores", chart, Table(("Score", "Normal", "Anomaly"), rows, folded=True), caption)]


def _classes(anchor: str, accuracy: Any) -> list[Panel]:
    found = dig(accuracy, "per_class_recall")
    if not isinstance(found, Mapping):
        return []
    bars = [
        ClassBar(name, int(number_at(found[name], "n") or 0), recall, normal=name.casefold() in (_NORMAL, "benign"))
        for name in sorted(found)
        if (recall := number_at(found[name], "recall")) is not None and 0 <= recall <= 1
    ]
    if len(bars) < 2:
        return []
    rows = tuple((bar.name, count(bar.rows), percent(bar.flagged)) for bar in sorted(bars, key=lambda bar: -bar.rows))
    table = Table(("Class", "Test rows", "Flagged"), rows, folded=len(rows) > 8)
    return [Panel("Recall by class", classes_chart(f"{anchor}-classes", bars), table)]


def _metrics(result: Result) -> Table | None:
    found = dig(result.accuracy, "metrics")
    if not isinstance(found, Mapping):
        return None
    oracle = texts_at(result.accuracy, "oracle")
    known = [name for name in METRIC_NAMES if name in found]
    references = objects_at(result.accuracy, "references")
    published = result.published
    rows = []
    for name in [*known, *sorted(set(found) - set(known))]:
        theirs = as_given(published.value) if published is not None and published.metric == name else "–"
        rows.append(
            (
                metric_name(name) + (" *" if name in oracle else ""),
                accuracy_text(found[name]) + interval_text(result.accuracy, name),
                theirs,
                *(_reference(reference, name) for reference in references),
            )
        )
    names = [text_at(one, "name") or "reference" for one in references]
    notes = ["* An oracle: its threshold was chosen on the test labels."] if set(oracle) & set(found) else []
    methods = (text_at(result.accuracy, "intervals", name, "method") for name in known)
    notes += [f"Intervals: {method}." for method in dict.fromkeys(methods) if method]
    return Table(("Metric", "Here", "Published", *names), tuple(rows), notes=tuple(notes))


def _reference(reference: Any, name: str) -> str:
    value = number_at(reference, "metrics", name, "value")
    value = number_at(reference, "metrics", name) if value is None else value
    return "–" if value is None else score(value)


def _confusion(accuracy: Any) -> tuple[tuple[str, ...], ...]:
    counts = _counts(accuracy)
    if counts is None:
        return ()
    tn, fp, fn, tp = counts

    def cell(some: int, total: int) -> str:
        return count(some) + (f" ({percent(some / total)})" if total else "")

    return (("normal", cell(tn, tn + fp), cell(fp, tn + fp)), ("anomaly", cell(fn, fn + tp), cell(tp, fn + tp)))


def _counts(accuracy: Any) -> tuple[int, int, int, int] | None:
    found = [dig(accuracy, "confusion", name) for name in ("tn", "fp", "fn", "tp")]
    if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in found):
        return None
    return found[0], found[1], found[2], found[3]


def _threshold(accuracy: Any) -> str:
    threshold, rule = number_at(accuracy, "threshold"), text_at(accuracy, "threshold_rule")
    if threshold is None:
        return ""
    return f"Threshold {number(threshold)}" + (f": {rule}" if rule else "")


def _thresholds(accuracy: Any) -> Table | None:
    points = objects_at(accuracy, "operating_points")
    rows = []
    for point in points:
        shares = (number_at(point, name) for name in ("precision", "recall", "f1"))
        counts = (number_at(point, name) for name in ("true_positive", "false_positive", "false_negative", "cost"))
        rows.append(
            (
                text_at(point, "rule") or "–",
                *("–" if share is None else score(share) for share in shares),
                *("–" if value is None else count(round(value)) for value in counts),
            )
        )
    head = ("Threshold", "Precision", "Recall", "F1", "Found", "False alarms", "Missed", "Cost")
    notes = ("On the test rows, first seed. Cost: in false alarms.",)
    return Table(head, tuple(rows), notes=notes) if rows else None


def _numbers(found: Any) -> list[float]:
    if not isinstance(found, list | tuple):
        return []
    return [float(item) for item in found if isinstance(item, int | float) and not isinstance(item, bool)]
