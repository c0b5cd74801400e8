"""What a detector in training makes of the validation rows after each pass over the training rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from harness.datasets.coded_rows import Rows
from harness.training.context import Epoch, FitContext, Vector

MOST = 2000  # rows after each epoch: all of them would cost more than the training of a small net


class ValidationCurve:
    """Average precision and, where both kinds of row are there, ROC-AUC after each pass.

    Args:
        score: of rows (n, d), with the module in evaluation.
        module: in training.
        context: has the validation rows; without labelled anomalies among them nothing is measured.
        most: of the rows, evenly spaced, where all of them would cost more than the training; None for all.
    """

    def __init__(
        self, score: Callable[[Rows], Vector], module: nn.Module, context: FitContext, most: int | None = None
    ) -> None:
        self._score, self._module = score, module
        self._rows, self._labels = context.X_val, context.y_val
        if context.only_timed or self._labels is None or not self._labels.any():
            self._rows = None
        elif self._rows is not None and most is not None:
            step = -(-len(self._rows) // most)
            self._rows, self._labels = self._rows[::step], self._labels[::step]
        self._metrics: list[dict[str, float]] = []

    def measure(self) -> float | None:
        """The average precision now; None where there is nothing to measure it on."""
        rows, labels = self._rows, self._labels
        if rows is None or labels is None or not labels.any():
            return None
        from sklearn.metrics import average_precision_score, roc_auc_score

        training = self._module.training
        self._module.eval()
        scores = self._score(rows)
        self._module.train(training)
        metrics = {"auc_pr": float(average_precision_score(labels, scores))}
        if not labels.all():
            metrics["auc_roc"] = float(roc_auc_score(labels, scores))
        self._metrics.append(metrics)
        return metrics["auc_pr"]

    def go_on(self) -> bool:
        """Measure, and never end the training."""
        self.measure()
        return True

    def after(self, write_back: Callable[[], None]) -> Callable[[], bool]:
        """`go_on` for a training that holds the weights elsewhere: ``write_back`` puts them into the module first."""

        def go_on() -> bool:
            if self._rows is not None:
                write_back()
            return self.go_on()

        return go_on

    def added_to(self, history: Sequence[Epoch]) -> tuple[Epoch, ...]:
        """The passes with what was measured after each."""
        measured = [*self._metrics, *[{}] * (len(history) - len(self._metrics))]
        return tuple(replace(epoch, validation=metrics) for epoch, metrics in zip(history, measured, strict=True))
