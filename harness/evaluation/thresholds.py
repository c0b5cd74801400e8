"""Thresholds chosen without test labels, each with the words that say how; a row is flagged when its score is above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError

Scores = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Threshold:
    """A decision threshold in units of the score and the rule that gave it."""

    value: float
    rule: str


def at_percentile(scores: Scores, percentile: float, of: str) -> Threshold:
    """The ``percentile`` (0 to 100, linear interpolation) of ``scores``; ``of`` names those scores in the rule."""
    return Threshold(float(np.percentile(scores, percentile)), f"percentile {percentile:g} of the scores of {of}")


def best_f1(scores: Scores, y: Labels) -> Threshold:
    """The threshold with the highest F1 on labelled validation rows: halfway between the two scores it separates.

    Raises:
        InputError: the validation rows are not of both kinds.
    """
    f1, cuts = _f1_of_cuts(scores, y)
    best = int(np.argmax(f1))
    below = cuts[best - 1] if best else cuts[best]
    return Threshold(_between(float(below), float(cuts[best])), "highest F1 on validation labels")


def highest_f1(scores: Scores, y: Labels) -> float:
    """The F1 on the rows that `best_f1` chooses its threshold by.

    Raises:
        InputError: the rows are not of both kinds.
    """
    return float(_f1_of_cuts(scores, y)[0].max())


def at_false_positive_rate(scores: Scores, y: Labels, rate: float) -> Threshold:
    """The threshold that flags the share ``rate`` of the normal validation rows.

    Raises:
        InputError: the validation rows hold no normal row.
    """
    normal = scores[y == 0]
    if not len(normal):
        raise InputError("A threshold at a false-positive rate needs normal rows in the validation split; it has none.")
    return Threshold(float(np.quantile(normal, 1.0 - rate)), f"false-positive rate {rate:g} on normal validation rows")


def least_cost(scores: Scores, y: Labels, missed_cost: float) -> Threshold:
    """The threshold with the least cost on validation rows: a false alarm costs 1, a missed anomaly ``missed_cost``.

    Raises:
        InputError: the validation rows are not of both kinds.
    """
    _require_both_kinds(y)
    order = np.argsort(-scores, kind="stable")
    ordered, anomalous = scores[order], y[order] == 1
    last_of_ties = np.append(np.diff(ordered) != 0, True)
    costs = np.cumsum(~anomalous) + missed_cost * (anomalous.sum() - np.cumsum(anomalous))
    flagged = np.flatnonzero(last_of_ties)[int(np.argmin(costs[last_of_ties]))]
    rule = f"least cost on validation labels, a miss costing {missed_cost:g} false alarms"
    if costs[flagged] > missed_cost * anomalous.sum():  # flagging nothing is cheaper
        return Threshold(float(ordered[0]), rule)
    below = ordered[flagged + 1] if flagged + 1 < len(ordered) else ordered[flagged]
    return Threshold(_between(float(below), float(ordered[flagged])), rule)


def at_recall(scores: Scores, y: Labels, recall: float) -> Threshold:
    """The highest threshold that flags at least the share ``recall`` of the anomalous validation rows.

    Raises:
        InputError: the validation rows hold no anomaly.
    """
    anomalous = np.sort(scores[y == 1])[::-1]
    if not len(anomalous):
        raise InputError("A threshold at a recall needs anomalies in the validation split; it has none.")
    cut = anomalous[max(0, int(np.ceil(recall * len(anomalous))) - 1)]
    just_below = float(np.nextafter(np.float32(cut), np.float32(-np.inf)))
    return Threshold(just_below, f"recall {recall:g} on validation labels")


def _f1_of_cuts(scores: Scores, y: Labels) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """F1 of flagging what is at a cut or above, for each distinct score."""
    from sklearn.metrics import precision_recall_curve

    _require_both_kinds(y)
    precision, recall, cuts = precision_recall_curve(y, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return f1[:-1], cuts


def _between(below: float, above: float) -> float:
    """A value v with below <= v < above, so that ``score > v`` flags ``above``; just under it when there is no gap."""
    middle = below + (above - below) / 2
    return middle if below <= middle < above else float(np.nextafter(np.float32(above), np.float32(-np.inf)))


def _require_both_kinds(y: Labels) -> None:
    if len(np.unique(y)) < 2:
        raise InputError("A threshold from validation labels needs normal and anomalous rows; only one kind is there.")
