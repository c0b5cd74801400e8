"""What a scorer does in use: its confusion on test rows at thresholds that validation labels chose."""

from __future__ import annotations

import numpy as np

from harness.evaluation.thresholds import Labels, Scores, Threshold, at_recall, best_f1, least_cost
from harness.record.accuracy import OperatingPoint


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
    chosen = (
        best_f1(*validation),
        least_cost(*validation, missed_cost),
        at_recall(*validation, target_recall),
    )
    return tuple(_at(threshold, *test, missed_cost) for threshold in chosen)


def _at(threshold: Threshold, scores: Scores, y: Labels, missed_cost: float) -> OperatingPoint:
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
