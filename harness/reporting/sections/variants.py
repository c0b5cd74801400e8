"""Tables of what a detector becomes when it scores or trains in lower precision, and at other learning rates."""

from __future__ import annotations

from collections.abc import Mapping

from harness.record.accuracy import Accuracy, SeedDifference, TrainingFormatAccuracy
from harness.record.model import Metric
from harness.reporting.sections.figures import METRIC_NAMES, accuracy_text, metric_name, with_margin
from harness.reporting.sections.panels import Cell, Table
from harness.reporting.text import score
from harness.wording import plural

_AREAS = ("auc_roc", "auc_pr")


def variant_tables(accuracy: Accuracy, loops: Mapping[str, Metric] | None = None) -> tuple[tuple[str, Table], ...]:
    """Title and table of each variation that the record holds.

    Args:
        accuracy: of a workload.
        loops: rates of its native training loop by number format, where they were measured.
    """
    tables = (
        ("Lower precision", _formats(accuracy)),
        *((f"Trained in {item.dtype}", _trained(accuracy, item, loops or {})) for item in accuracy.training_formats),
        ("Learning rates", _learning_rates(accuracy)),
    )
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


def _trained(accuracy: Accuracy, item: TrainingFormatAccuracy, loops: Mapping[str, Metric]) -> Table:
    """Metric by metric next to float32; then how fast the loop is in both."""
    rows: list[tuple[Cell, ...]] = [
        (
            metric_name(name), accuracy_text(accuracy.metrics.get(name)), accuracy_text(item.metrics[name]),
            _difference(item.differences[name]),
        )
        for name in METRIC_NAMES if name in item.metrics
    ]  # fmt: skip
    full, lower = loops.get("float32"), loops.get(item.dtype)
    if full is not None and lower is not None and full.value and lower.value:
        rows.append(("training rate", with_margin(full), with_margin(lower), f"{lower.value / full.value:.2f} times"))
    notes = [
        f"The same seeds trained natively once more, with operands of products rounded to {item.dtype}; their sums, "
        "parameters, gradients and the optimiser's state are float32. The detector that was timed is the one trained "
        "in float32. Differences seed by seed, with the 95 % interval of their mean (Student's t)."
    ]
    if item.diverged:
        notes.append(f"{plural(item.diverged, 'seed')} diverged in {item.dtype}.")
    return Table(("Metric", "float32", item.dtype, "Difference"), tuple(rows), notes=tuple(notes))


def _difference(difference: SeedDifference) -> str:
    """``-0.00012 [-0.00031, +0.00007]``."""
    low, high = difference.low, difference.high
    limits = "" if low is None or high is None else f" [{low:+.5f}, {high:+.5f}]"
    return f"{difference.mean:+.5f}{limits}"


def _learning_rates(accuracy: Accuracy) -> Table:
    shown = tuple(dict.fromkeys((accuracy.headline, *_AREAS)))
    rows: list[tuple[Cell, ...]] = [
        (f"{item.learning_rate:g}", *(accuracy_text(item.metrics.get(name)) for name in shown), str(item.diverged))
        for item in accuracy.learning_rates
    ]
    head = ("Learning rate", *(metric_name(name) for name in shown), "Diverged")
    return Table(head, tuple(rows), notes=("Trained together, as replicas of one detector, on the same rows.",))
