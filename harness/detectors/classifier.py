"""Detectors that learn from labels, and the ways they may choose a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.detectors.base import Detector
from harness.errors import InputError
from harness.evaluation import thresholds
from harness.training.context import FitContext

Rule = Literal["probability", "validation", "false_positive_rate", "cost", "recall"]


@dataclass
class Classifier(Detector):
    """A detector that learns from labels.

    Args:
        threshold: how the threshold is chosen, default ``probability`` (0.5); or on the validation labels:
            ``validation`` (the highest F1), ``false_positive_rate``, ``cost`` (the least), ``recall``.
        target_rate: float in (0, 1), default 0.01. Share of the normal rows that ``false_positive_rate`` flags.
        missed_cost: float > 0, default 10. What a missed anomaly costs, in false alarms, under ``cost``.
        target_recall: float in (0, 1], default 0.7. Share of the anomalies that ``recall`` flags.
    """

    supervised: ClassVar[bool] = True
    even_score: ClassVar[float] = 0.0  # the score at probability 0.5; scores are logits unless a class says otherwise

    threshold: Rule = "probability"
    target_rate: float = 0.01
    missed_cost: float = 10.0
    target_recall: float = 0.7

    def choose(self, context: FitContext) -> None:
        """Set the threshold after training.

        Raises:
            InputError: the rule needs validation labels and there are none.
        """
        if context.only_timed:
            return
        if self.threshold == "probability":
            self.take_threshold(thresholds.Threshold(self.even_score, "probability 0.5"))
            return
        if context.X_val is None or context.y_val is None:
            raise InputError(
                f"{self.name}: threshold = {self.threshold!r} needs a labelled validation split; there is none."
            )
        scores, y = self.decision_function(context.X_val), context.y_val
        match self.threshold:
            case "validation":
                self.take_threshold(thresholds.best_f1(scores, y))
            case "false_positive_rate":
                self.take_threshold(thresholds.at_false_positive_rate(scores, y, self.target_rate))
            case "cost":
                self.take_threshold(thresholds.least_cost(scores, y, self.missed_cost))
            case "recall":
                self.take_threshold(thresholds.at_recall(scores, y, self.target_recall))
