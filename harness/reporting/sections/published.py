"""Every system beside its published figure: as published, clean, and the best classical reference on the same data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.record.model import Result, Run
from harness.reporting.sections.figures import Figure, accuracy_text, headline_metric, metric_name, workload_title
from harness.reporting.sections.lookup import dig, number_at, text_at, texts_at
from harness.reporting.sections.results import by_workload, reference_values
from harness.reporting.text import as_given, count, score

HEAD = (
    "System", "Data", "Published", "As published, here", "Clean, here", "Best reference, clean", "Difference explained",
)  # fmt: skip


@dataclass(frozen=True)
class PublishedRow:
    """One system; a text is – where there is nothing to show."""

    system: str
    data: str
    metric: str
    published: str
    as_published: Figure
    clean: Figure
    reference: str
    prevalence: str
    beaten: bool  # by that reference, under the clean protocol
    difference: str  # between the published protocol and ours, and what is known to be wrong with the figure

    @property
    def reference_name(self) -> str:
        """Without its figure."""
        return "" if self.reference == "–" else self.reference.rpartition(" ")[0]

    @property
    def reference_value(self) -> str:
        """Without its name."""
        return self.reference.rpartition(" ")[2]

    def cells(self) -> tuple[str, ...]:
        """One text per column of `HEAD`."""
        mark = " ▲ better" if self.beaten else ""
        metric = "" if self.published == "–" else f"{self.metric} "
        return (
            self.system, self.data, f"{metric}{self.published}", _in_a_line(self.as_published),
            _in_a_line(self.clean), f"{self.reference}{mark}", self.difference,
        )  # fmt: skip


def published_rows(run: Run) -> list[PublishedRow]:
    """One row per system of a run under both protocols; a system that could not be fitted says why."""
    if dig(run.plan, "both_protocols") is not True:
        return []
    firsts = (next((one for one in group if one.accuracy is not None), group[0]) for group in by_workload(run.results))
    return [_row(one) for one in firsts if one.accuracy is None or "counterpart" in one.accuracy]


def _row(result: Result) -> PublishedRow:
    name = headline_metric(result) or ""
    accuracy = result.accuracy or {
        "protocol": result.dataset.protocol,
        "failure": " ".join(result.validity.reasons) or "no accuracy",
        "counterpart": {"protocol": "clean" if result.dataset.protocol == "as-published" else "as-published"},
    }
    counterpart = dig(accuracy, "counterpart")
    other = text_at(counterpart, "protocol")
    clean, published = (counterpart, accuracy) if other == "clean" else (accuracy, counterpart)
    # References are those of the run's own protocol; beside the other one they would compare two tasks.
    values = reference_values(accuracy, name) if clean is accuracy else []
    best = max(values, key=lambda pair: pair[1], default=None)
    ours = number_at(clean, "metrics", name, "value")
    prevalence = number_at(accuracy, "prevalence")
    explained = [result.published.difference] if result.published else []
    explained += texts_at(accuracy, "notes")
    return PublishedRow(
        system=workload_title(result),
        data=result.dataset.name + ("" if result.dataset.origin == "real" else f" ({result.dataset.origin} data)"),
        metric=metric_name(name),
        published=as_given(result.published.value) if result.published else "–",
        as_published=_ours(published, name),
        clean=_ours(clean, name),
        reference="–" if best is None else f"{best[0]} {score(best[1])}",
        prevalence="" if prevalence is None else score(prevalence),
        beaten=best is not None and ours is not None and best[1] > ours,
        difference=" ".join(text.strip() for text in explained) or "–",
    )


def _ours(accuracy: Any, name: str) -> Figure:
    """The figure over seeds, below it their number and what the training was limited to; or why it failed."""
    if failure := text_at(accuracy, "failure"):
        return Figure("failed", note=failure)
    value, _, seeds = accuracy_text(dig(accuracy, "metrics", name)).partition(" (")
    epochs, rows = (number_at(accuracy, "limits", key) for key in ("epochs", "rows"))
    scheduled = number_at(accuracy, "epochs", "scheduled")
    notes = (
        seeds.rstrip(")"),
        "" if epochs is None or scheduled is None else f"{epochs:g} of {scheduled:g} epochs",
        "" if rows is None else f"{count(int(rows))} training rows",
    )
    return Figure(value, note=", ".join(note for note in notes if note))


def _in_a_line(figure: Figure) -> str:
    return f"{figure.value} ({figure.note})" if figure.note else figure.value
