"""Tables of what a detector becomes in lower precision and at other learning rates."""

from __future__ import annotations

from typing import Any

from harness.reporting.sections.figures import accuracy_text, metric_name
from harness.reporting.sections.lookup import dig, number_at, objects_at, text_at
from harness.reporting.sections.panels import Cell, Table
from harness.reporting.text import score

_AREAS = ("auc_roc", "auc_pr")


def variant_tables(accuracy: Any) -> tuple[tuple[str, Table], ...]:
    """Title and table of each variation that the record holds."""
    found = (("Lower precision", _formats(accuracy)), ("Learning rates", _learning_rates(accuracy)))
    return tuple((title, table) for title, table in found if table is not None)


def _formats(accuracy: Any) -> Table | None:
    rows: list[tuple[Cell, ...]] = []
    for one in objects_at(accuracy, "number_formats"):
        cells = [f"{text_at(one, 'backend')} {text_at(one, 'dtype')}"]
        for name in _AREAS:
            value, difference = number_at(one, name), number_at(one, f"{name}_difference")
            cells += ["–" if value is None else score(value), "–" if difference is None else f"{difference:+.5f}"]
        rows.append(tuple(cells))
    if not rows:
        return None
    head = ("Scored by", *(title for name in _AREAS for title in (metric_name(name), "to float32")))
    return Table(head, tuple(rows), notes=("Of the detector that was timed, on all test rows.",))


def _learning_rates(accuracy: Any) -> Table | None:
    headline = text_at(accuracy, "headline") or _AREAS[0]
    shown = tuple(dict.fromkeys((headline, *_AREAS)))
    rows: list[tuple[Cell, ...]] = []
    for one in objects_at(accuracy, "learning_rates"):
        rate, diverged = number_at(one, "learning_rate"), number_at(one, "diverged") or 0
        cells = [accuracy_text(dig(one, "metrics", name)) for name in shown]
        rows.append(("–" if rate is None else f"{rate:g}", *cells, f"{int(diverged)}"))
    if not rows:
        return None
    head = ("Learning rate", *(metric_name(name) for name in shown), "Diverged")
    return Table(head, tuple(rows), notes=("Trained together, as replicas of one detector, on the same rows.",))
