"""What a detector in training makes of the validation rows after each pass over the training rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.datasets.coded_rows import Rows
from harness.training.context import Epoch, FitContext, Labels, Vector

if TYPE_CHECKING:
    from torch import nn

MOST = 2000  # rows after each epoch: all of them would cost more than the training of a small net


def validation_metrics(scores: Vector, labels: Labels) -> dict[str, float]:
    """Of scores (n,) and labels (n,): average precision and ROC-AUC as far as the labels allow.

    Where all rows are normal nothing can be ranked; their mean score shows then whether the detector learns what is
    normal beyond the rows that it is fitted on. Empty where a score is not finite.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not np.isfinite(scores).all():
        return {}
    if not labels.any():
        return {"mean_normal_score": float(np.mean(scores, dtype=np.float64))}
    metrics = {"auc_pr": float(average_precision_score(labels, scores))}
    if not labels.all():
        metrics["auc_roc"] = float(roc_auc_score(labels, scores))
    return metrics


class ValidationCurve:
    """`validation_metrics` after each pass.

    Args:
        score: of rows (n, d), with the module in evaluation.
        module: in training.
        context: has the validation rows.
        most: of the rows, evenly spaced, where all of them would cost more than the training; None for all.
    """

    def __init__(
        self, score: Callable[[Rows], Vector], module: nn.Module, context: FitContext, most: int | None = None
    ) -> None:
        self._score, self._module = score, module
        self._rows, self._labels = context.X_val, context.y_val
        if context.only_timed or self._labels is None or not len(self._labels):
            self._rows = None
        elif self._rows is not None and most is not None:
            step = -(-len(self._rows) // most)
            self._rows, self._labels = self._rows[::step], self._labels[::step]
        self._measured: list[tuple[dict[str, float], float]] = []

    def measure(self, prepare: Callable[[], None] | None = None) -> float | None:
        """The average precision now, after ``prepare``; None where there is nothing to measure it on."""
        rows, labels = self._rows, self._labels
        if rows is None or labels is None:
            return None
        started = time.perf_counter()
        if prepare is not None:
            prepare()
        training = self._module.training
        self._module.eval()
        metrics = validation_metrics(self._score(rows), labels)
        self._module.train(training)
        self._measured.append((metrics, time.perf_counter() - started))
        return metrics.get("auc_pr")

    def go_on(self) -> bool:
        """Measure, and never end the training."""
        self.measure()
        return True

    def after(self, write_back: Callable[[], None]) -> Callable[[], bool]:
        """`go_on` for a training that holds the weights elsewhere: ``write_back`` puts them into the module first."""

        def go_on() -> bool:
            self.measure(write_back)
            return True

        return go_on

    def added_to(self, history: Sequence[Epoch]) -> tuple[Epoch, ...]:
        """The passes with what was measured after each."""
        nothing: tuple[dict[str, float], float] = ({}, 0.0)
        measured = [*self._measured, *[nothing] * (len(history) - len(self._measured))]
        return tuple(
            replace(epoch, validation=metrics, validation_s=seconds)
            for epoch, (metrics, seconds) in zip(history, measured, strict=True)
        )
