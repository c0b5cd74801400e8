"""How good scores are, by scikit-learn's metrics, in a form that goes into a record as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.evaluation.bootstrap import average_precision_interval, roc_auc_interval
from harness.evaluation.thresholds import Labels, Scores, Threshold, at_recall, best_f1, least_cost
from harness.record.accuracy import ClassRecall, Confusion, Histogram, OperatingPoint, SeedMean

CURVE_POINTS = 200
HISTOGRAM_BINS = 40
SKEWED = 50.0  # ratio of the 99.9th to the 50th percentile from which a histogram needs a logarithmic axis


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one scored test split. ``best_f1`` picks its threshold on the test labels: an oracle, not a result."""

    auc_roc: float
    auc_pr: float  # average precision
    f1: float
    precision: float
    recall: float
    accuracy: float
    best_f1: float
    recall_at_fpr_1pct: float
    recall_at_fpr_01pct: float
    prevalence: float
    rows: int
    threshold: float
    threshold_rule: str
    confusion: Confusion
    per_class: dict[str, ClassRecall]
    roc: tuple[tuple[float, float], ...]  # false-positive rate, true-positive rate
    pr: tuple[tuple[float, float], ...]  # recall, precision
    histogram: Histogram
    auc_pr_interval: tuple[float, float] | None = None  # 95 %, by resampling the rows; for few anomalies only
    auc_roc_interval: tuple[float, float] | None = None  # 95 %, by DeLong's variance
    oracle: tuple[str, ...] = ("best_f1",)  # metrics that looked at the test labels


METRICS = (
    "auc_roc",
    "auc_pr",
    "f1",
    "precision",
    "recall",
    "accuracy",
    "best_f1",
    "recall_at_fpr_1pct",
    "recall_at_fpr_01pct",
)


def evaluate(
    scores: NDArray[np.floating[Any]],
    y: NDArray[np.integer[Any]],
    threshold: Threshold,
    classes: Sequence[str] | None = None,
) -> Evaluation:
    """Metrics of ``scores`` (n,), higher = more anomalous, against labels ``y`` (n,), 1 = anomaly.

    Args:
        scores: finite anomaly scores.
        y: test labels.
        threshold: rows with a higher score count as flagged.
        classes: class name of each row, e.g. the kind of attack, for recall per class.

    Raises:
        InputError: lengths differ, scores are not finite, or the labels are all of one kind.
    """
    from sklearn import metrics

    s, labels = np.asarray(scores, dtype=np.float64), np.asarray(y, dtype=np.int64)
    if s.ndim != 1 or s.shape != labels.shape:
        raise InputError(f"Scores have shape {s.shape} and labels {labels.shape}; expected one of each per row.")
    if not np.isfinite(s).all():
        bad = int((~np.isfinite(s)).sum())
        raise InputError(f"{bad} of {len(s)} scores are not finite, so the detector cannot be judged.")
    if len(np.unique(labels)) < 2:
        raise InputError("The test split holds only one kind of row; metrics need normal and anomalous ones.")
    flagged = (s > threshold.value).astype(np.int64)
    tn, fp, fn, tp = (int(count) for count in metrics.confusion_matrix(labels, flagged, labels=[0, 1]).ravel())
    fpr, tpr, _ = metrics.roc_curve(labels, s)
    precision, recall, _ = metrics.precision_recall_curve(labels, s)
    f1_all = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return Evaluation(
        auc_roc=float(metrics.auc(fpr, tpr)),
        auc_pr=float(metrics.average_precision_score(labels, s)),
        f1=float(metrics.f1_score(labels, flagged, zero_division=0)),
        precision=float(metrics.precision_score(labels, flagged, zero_division=0)),
        recall=float(metrics.recall_score(labels, flagged, zero_division=0)),
        accuracy=float(metrics.accuracy_score(labels, flagged)),
        best_f1=float(f1_all.max()),
        recall_at_fpr_1pct=_recall_at(fpr, tpr, 0.01),
        recall_at_fpr_01pct=_recall_at(fpr, tpr, 0.001),
        prevalence=float(labels.mean()),
        rows=len(labels),
        threshold=threshold.value,
        threshold_rule=threshold.rule,
        confusion=Confusion(tn, fp, fn, tp),
        per_class=_per_class(flagged, classes),
        roc=_thin(fpr, tpr),
        pr=_thin(recall[::-1], precision[::-1]),
        histogram=histogram(s, labels),
        auc_pr_interval=average_precision_interval(s, labels),
        auc_roc_interval=roc_auc_interval(s, labels),
    )


def operating_points(
    validation: tuple[Scores, Labels], test: tuple[Scores, Labels], *, missed_cost: float, target_recall: float
) -> tuple[OperatingPoint, ...]:
    """Highest F1, least cost and a target recall, each chosen on ``validation`` and looked at on ``test``.

    Args:
        validation: scores (n,) and labels (n,); none are found where the labels are all of one kind.
        test: scores (m,) and labels (m,).
        missed_cost: of a missed anomaly, in false alarms.
        target_recall: share of the anomalies to flag.
    """
    if len(np.unique(validation[1])) < 2:
        return ()
    chosen = (best_f1(*validation), least_cost(*validation, missed_cost), at_recall(*validation, target_recall))
    return tuple(_operating_point(threshold, *test, missed_cost) for threshold in chosen)


def histogram(scores: NDArray[np.float64], y: NDArray[np.int64]) -> Histogram:
    """Counts in equal bins, in the logarithm of the score where positive scores span orders of magnitude.

    The outermost 0.1 % on each side lands in the first and last bin, so that one outlier does not empty all others.
    """
    low, middle, high = np.quantile(scores, [0.001, 0.5, 0.999])
    log = bool(low > 0 and high / middle > SKEWED)
    transform = np.log10 if log else np.asarray
    a, b = float(transform(low)), float(transform(high))
    if not b > a:
        a, b = a - 0.5, b + 0.5
    edges = np.linspace(a, b, HISTOGRAM_BINS + 1)
    values = np.clip(transform(scores if not log else np.maximum(scores, low)), a, b)
    normal, _ = np.histogram(values[y == 0], edges)
    anomaly, _ = np.histogram(values[y == 1], edges)
    shown = np.power(10.0, edges) if log else edges
    return Histogram(
        tuple(float(edge) for edge in shown),
        tuple(int(count) for count in normal),
        tuple(int(count) for count in anomaly),
        "log" if log else "linear",
    )


def over_seeds(values: Sequence[float]) -> SeedMean:
    """Mean, sample standard deviation and count of one metric over seeds.

    Raises:
        InputError: there are no values.
    """
    if not values:
        raise InputError("There is no evaluation to summarise.")
    return SeedMean(mean(values), stdev(values) if len(values) > 1 else None, len(values))


def _operating_point(threshold: Threshold, scores: Scores, y: Labels, missed_cost: float) -> OperatingPoint:
    flagged, anomalous = scores > threshold.value, y == 1
    hits, alarms = int((flagged & anomalous).sum()), int((flagged & ~anomalous).sum())
    missed = int(anomalous.sum()) - hits
    return OperatingPoint(
        rule=threshold.rule,
        threshold=threshold.value,
        precision=hits / (hits + alarms) if hits + alarms else None,
        recall=hits / max(1, hits + missed),
        f1=2 * hits / max(1, 2 * hits + alarms + missed),
        true_positive=hits,
        false_positive=alarms,
        false_negative=missed,
        cost=alarms + missed_cost * missed,
    )


def _recall_at(fpr: NDArray[np.float64], tpr: NDArray[np.float64], rate: float) -> float:
    """Highest recall at a false-positive rate not above ``rate``: attainable, not interpolated."""
    return float(tpr[fpr <= rate].max(initial=0.0))


def _per_class(flagged: NDArray[np.int64], classes: Sequence[str] | None) -> dict[str, ClassRecall]:
    if classes is None:
        return {}
    names = np.asarray(classes)
    recalls = {}
    for name in sorted(set(names.tolist())):
        chosen = flagged[names == name]
        recalls[str(name)] = ClassRecall(len(chosen), float(chosen.mean()))
    return recalls


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """At most CURVE_POINTS points of a monotone curve, evenly spaced along it, both ends kept, five decimals."""
    keep = np.arange(len(x))
    if len(x) > CURVE_POINTS:
        length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        keep = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], CURVE_POINTS)).clip(0, len(x) - 1))
        keep = np.unique(np.concatenate([[0], keep[:-1], [len(x) - 1]]))
    return tuple((round(float(x[i]), 5), round(float(y[i]), 5)) for i in keep)
