"""Detectors that learn from normal rows, and the ways they may choose a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.datasets.coded_rows import Rows
from harness.detectors.base import Detector
from harness.errors import InputError
from harness.evaluation import thresholds
from harness.training.context import FitContext, Vector

Rule = Literal["percentile", "validation", "false_positive_rate", "flagged_share"]


@dataclass
class OneClass(Detector):
    """Base of detectors trained on normal rows only.

    Args:
        threshold: how the threshold is chosen, default ``percentile``. ``percentile``: 100 * (1 - ``contamination``)
            of the scores of normal training rows, PyOD's rule. ``validation``: the highest F1 on the validation labels.
            ``false_positive_rate``: the share ``contamination`` of the normal validation rows is flagged.
            ``flagged_share``: the share ``contamination`` of whatever is scored together is flagged, as publications
            on KDD99 do; it presumes that the share of anomalies is known.
        contamination: float in (0, 1), default 0.05. The share of rows flagged, as in PyOD and scikit-learn.
    """

    threshold: Rule = "percentile"
    contamination: float = 0.05

    @property
    def percentile(self) -> float:
        """The percentile of scores above which the share ``contamination`` lies."""
        return 100.0 * (1.0 - self.contamination)

    def choose(self, normal: Rows, context: FitContext, scores: Vector | None = None) -> None:
        """Set the threshold after training on the rows ``normal``.

        Args:
            normal: rows of the training split.
            context: has the validation rows.
            scores: of ``normal``, where `decision_function` gives others to rows the detector was fitted on.

        Raises:
            InputError: the rule needs validation labels and there are none.
        """
        if context.only_timed:
            return
        match self.threshold:
            case "percentile":
                own = self.decision_function(normal) if scores is None else scores
                self.take_threshold(thresholds.at_percentile(own, self.percentile, "normal training rows"))
            case "flagged_share":
                self.take_threshold(self._flag_share(self.decision_function(normal) if scores is None else scores))
            case _:
                self.take_threshold(self._by_validation(context))

    def threshold_for(self, scores: Vector) -> thresholds.Threshold:
        """The fitted threshold; under ``flagged_share`` the percentile of ``scores``."""
        return self._flag_share(scores) if self.threshold == "flagged_share" else super().threshold_for(scores)

    def _flag_share(self, scores: Vector) -> thresholds.Threshold:
        """A score at the percentile is flagged itself."""
        cut = np.float32(np.percentile(scores, self.percentile))
        rule = f"percentile {self.percentile:g} of the scored rows themselves, or above"
        return thresholds.Threshold(float(np.nextafter(cut, np.float32(-np.inf))), rule)

    def _by_validation(self, context: FitContext) -> thresholds.Threshold:
        if context.X_val is None or context.y_val is None:
            raise InputError(
                f"{self.name}: threshold = {self.threshold!r} needs a labelled validation split; there is none."
            )
        scores = self.decision_function(context.X_val)
        if self.threshold == "validation":
            return thresholds.best_f1(scores, context.y_val)
        return thresholds.at_false_positive_rate(scores, context.y_val, self.contamination)
