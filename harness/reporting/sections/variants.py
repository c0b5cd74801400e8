"""Tables of what a detector becomes in lower precision and at other learning rates."""

from __future__ import annotations

from harness.record.accuracy import Accuracy
from harness.reporting.sections.figures import accuracy_text, metric_name
from harness.reporting.sections.panels import Cell, Table
from harness.reporting.text import score

_AREAS = ("auc_roc", "auc_pr")


def variant_tables(accuracy: Accuracy) -> tuple[tuple[str, Table], ...]:
    """Title and table of each variation that the record holds."""
    tables = (("Lower precision", _formats(accuracy)), ("Learning rates", _learning_rates(accuracy)))
    return tuple((title, table) for title, table in tables if table.rows)


def _formats(accuracy: Accuracy) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{item.backend} {item.dtype}", score(item.auc_roc), f"{item.auc_roc_difference:+.5f}",
            score(item.auc_pr), f"{item.auc_pr_difference:+.5f}",
        )
        for item in accuracy.number_formats
    ]  # fmt: skip
    head = ("Scored by", *(title for name in _AREAS for title in (metric_name(name), "to float32")))
    return Table(head, tuple(rows), notes=("Of the detector that was timed, on all test rows.",))


def _learning_rates(accuracy: Accuracy) -> Table:
    shown = tuple(dict.fromkeys((accuracy.headline, *_AREAS)))
    rows: list[tuple[Cell, ...]] = [
        (f"{item.learning_rate:g}", *(accuracy_text(item.metrics.get(name)) for name in shown), str(item.diverged))
        for item in accuracy.learning_rates
    ]
    head = ("Learning rate", *(metric_name(name) for name in shown), "Diverged")
    return Table(head, tuple(rows), notes=("Trained together, as replicas of one detector, on the same rows.",))
