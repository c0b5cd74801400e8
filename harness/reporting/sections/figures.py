"""Recorded metrics as text: value, interval, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.measure.faulting import faulting
from harness.measure.validity import shortfall
from harness.record.accuracy import Accuracy, SeedMean
from harness.record.model import Metric, Published, Result
from harness.reporting.charts.rates import Estimate
from harness.reporting.text import interval, percent, plus_minus, prefix_exponent, quantity, score
from harness.wording import count, plural

METRIC_NAMES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "auc_roc": "ROC-AUC",
    "auc_pr": "AUC-PR",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "best_f1": "best F1",
    "recall_at_fpr_1pct": "recall at 1 % FPR",
    "recall_at_fpr_01pct": "recall at 0.1 % FPR",
    "mean_normal_score": "mean score of normal rows",
}
_NEARLY_ALL = 0.9  # of the normal rows
SCENARIO_NAMES: Mapping[str, str] = {
    "train": "Training",
    "offline": "Offline",
    "single_stream": "Single stream",
    "multi_stream": "Multi-stream",
    "server": "Server",
    "http": "HTTP server",
}


@dataclass(frozen=True)
class Figure:
    """A cell: the value with its interval, in full and as a margin, or a note where there is no value."""

    value: str
    interval: str = ""
    note: str = ""
    margin: str = ""


NONE = Figure("–")


def figure(metric: Metric | None) -> Figure:
    """A recorded metric as a cell."""
    if metric is None:
        return NONE
    if metric.value is None:
        return Figure("–", note=metric.note or "not estimable")
    exponent = prefix_exponent(metric.value, metric.unit)
    bounds = margin = ""
    if metric.ci_low is not None and metric.ci_high is not None:
        bounds = interval(metric.ci_low, metric.ci_high, exponent)
        margin = plus_minus(metric.value, metric.ci_low, metric.ci_high)
    return Figure(quantity(metric.value, metric.unit), bounds, metric.note or "", margin)


def estimate(metric: Metric | None) -> Estimate | None:
    """A recorded metric for a chart; None without a value."""
    if metric is None or metric.value is None:
        return None
    return Estimate(metric.value, metric.ci_low, metric.ci_high)


def with_margin(metric: Metric) -> str:
    """``4.81 M rows/s ±2 %``; the margin only where there is an interval."""
    if metric.value is None:
        return metric.note or "not estimable"
    shown = figure(metric)
    return f"{shown.value} {shown.margin}".rstrip()


def rate_metric(result: Result) -> Metric | None:
    """The throughput of a result, in rows per second: every call after warm-up counts."""
    return result.metrics.get("train_rows_per_s" if result.scenario == "train" else "rows_per_s")


def undisturbed_rate(result: Result) -> Metric | None:
    """The rate of a result by its median undisturbed call, in rows per second."""
    return result.metrics.get(
        "train_rows_per_s_undisturbed" if result.scenario == "train" else "rows_per_s_undisturbed"
    )


def shortfall_of(result: Result) -> float | None:
    """The share by which its delivered rate lies below its undisturbed one; None where they are close."""
    rates = (None if rate is None else rate.value for rate in (rate_metric(result), undisturbed_rate(result)))
    return shortfall(*rates)


def faulting_of(result: Result) -> str | None:
    """What its processes' calls faulted at the headline batch; None where that is nothing noteworthy."""
    finished = [process.series for process in result.processes if process.failure is None]
    series = [each for of in finished for each in of if each.batch_size == result.batch_size]
    return faulting([each.page_faults for each in series], [each.estimate_all_s for each in series])


def unit_of(results: Sequence[Result]) -> str:
    """The unit of the rates of results, as recorded."""
    units = (rate.unit for result in results if (rate := rate_metric(result)) is not None)
    return next(units, "rows/s")


def cuts_of(result: Result) -> tuple[str, ...]:
    """What the training was cut to: ``1 of 20 epochs``, ``2,000 training rows``, nothing where it was not."""
    if result.accuracy is None:
        return ()
    limits, epochs = result.accuracy.limits, result.accuracy.epochs
    cuts = []
    if limits.epochs is not None and (epochs.trained or epochs.scheduled):  # not of a detector that has none
        scheduled = "" if epochs.scheduled is None else f"{count(min(limits.epochs, epochs.scheduled))} of "
        cuts.append(f"{scheduled}{plural(epochs.scheduled or limits.epochs, 'epoch')}")
    if limits.rows is not None:
        cuts.append(f"{count(min(limits.rows, result.dataset.rows.get('train', limits.rows)))} training rows")
    return tuple(cuts)


def incomparable(result: Result) -> tuple[str, ...]:
    """Why a figure of a document may not stand next to this result's: other data, or a shortened training."""
    data = result.dataset
    other = {"synthetic": "synthetic data", "unknown": "no data"}.get(data.origin)
    foreign = "other files than the published ones" if data.verified is False else None
    return tuple(text for text in (other, foreign, *cuts_of(result)) if text)


def published_of(result: Result) -> Published | None:
    """The figure of the source document; None where the result cannot be compared with it."""
    return None if incomparable(result) else result.published


def headline_metric(result: Result) -> str | None:
    """Name of the accuracy metric to print first: the published one, else the workload's own."""
    if result.published is not None:
        return result.published.metric
    return None if result.accuracy is None else result.accuracy.headline


def accuracy_value(result: Result, metric: str | None) -> float | None:
    """Mean of an accuracy metric over seeds."""
    return None if result.accuracy is None else result.accuracy.mean(metric)


def accuracy_text(metric: SeedMean | None) -> str:
    """``0.884 ± 0.004 (5 seeds)`` from the recorded mean, standard deviation and number of seeds."""
    if metric is None:
        return "–"
    sd = "" if metric.sd is None else f" ± {score(metric.sd)}"
    return f"{score(metric.mean)}{sd} ({plural(metric.n, 'seed')})"


def interval_text(accuracy: Accuracy, name: str) -> str:
    """`` [0.07, 0.36]``, the interval of an accuracy metric; empty where there is none."""
    interval = accuracy.intervals.get(name)
    return "" if interval is None else f" [{score(interval.low)}, {score(interval.high)}]"


def roof_share(share: float | None) -> str:
    """How much of its measured roof a rate reaches; in words where it lies above, which no roof is meant to allow."""
    if share is None:
        return "–"
    return "above it" if share > 1.0 else percent(share)


def metric_name(name: str) -> str:
    """The field's own spelling of a metric."""
    return METRIC_NAMES.get(name, name)


def workload_title(result: Result) -> str:
    """What to call a workload before people."""
    return result.title or result.workload


def warnings_of(result: Result) -> tuple[str, ...]:
    """Why the accuracy of a workload is worth less than it looks."""
    accuracy = result.accuracy
    return (*result.dataset.warnings, *(() if accuracy is None else (*accuracy.warnings, *_one_sided(accuracy))))


def _one_sided(accuracy: Accuracy) -> tuple[str, ...]:
    """A threshold that no score or nearly every score exceeds, whatever the area under the curve says."""
    counts = accuracy.confusion
    anomalies, normal = counts.true_positive + counts.false_negative, counts.true_negative + counts.false_positive
    flagged = counts.true_positive + counts.false_positive
    if anomalies and not counts.true_positive:
        return (f"At its threshold the detector flags none of the {plural(anomalies, 'anomaly', 'anomalies')}.",)
    if normal and counts.false_positive > _NEARLY_ALL * normal:
        rows = count(anomalies + normal)
        return (f"At its threshold the detector flags {count(flagged)} of {rows} rows, normal ones included.",)
    return ()


def result_name(result: Result, *, alone: bool) -> str:
    """What a chart calls a result of a known scenario; the workload is left out where it is the only one."""
    return variant(result) if alone else f"{workload_title(result)} · {variant(result)}"


def variant(result: Result) -> str:
    """What tells the results of one scenario apart: backend, and whatever is not as usual.

    A number format other than float32, several instances at once, a cold cache.
    """
    parts = [result.backend if result.dtype == "float32" else f"{result.backend} {result.dtype}"]
    if result.instances > 1:
        parts.append(f"{result.instances} instances")
    if result.cache == "cold":
        parts.append("cold cache")
    return ", ".join(parts)
