"""Every system with its published figure: as published, clean, and the best baseline detector on the same data."""

from __future__ import annotations

from dataclasses import dataclass

from harness.record.accuracy import Accuracy, Counterpart, FailedCounterpart, ScoredCounterpart, SeedMean
from harness.record.model import Result, Run
from harness.reporting.sections.figures import (
    NONE,
    Figure,
    accuracy_text,
    accuracy_value,
    cuts_of,
    headline_metric,
    incomparable,
    metric_name,
    published_of,
    workload_title,
)
from harness.reporting.sections.results import baseline_values, by_workload
from harness.reporting.text import as_given, score

HEAD = (
    "System", "Data", "Published", "As published, here", "Clean, here", "Best baseline, clean", "Difference explained",
)  # fmt: skip


@dataclass(frozen=True)
class PublishedRow:
    """One system; a text is – where there is nothing to show."""

    system: str
    data: str
    metric: str
    published: str
    no_published: str  # why the figure of the document cannot stand here; empty where it does or there is none
    as_published: Figure
    clean: Figure
    baseline: str
    prevalence: str
    beaten: bool  # by that baseline, under the clean protocol
    difference: str  # between the published protocol and ours, and what is known to be wrong with the figure

    @property
    def baseline_name(self) -> str:
        """Without its figure."""
        return "" if self.baseline == "–" else self.baseline.rpartition(" ")[0]

    @property
    def baseline_value(self) -> str:
        """Without its name."""
        return self.baseline.rpartition(" ")[2]

    def cells(self) -> tuple[str, ...]:
        """One text per column of `HEAD`."""
        mark = " ▲ better" if self.beaten else ""
        metric = "" if self.published == "–" else f"{self.metric} "
        return (
            self.system, self.data, f"{metric}{self.published}", _in_a_line(self.as_published),
            _in_a_line(self.clean), f"{self.baseline}{mark}", self.difference,
        )  # fmt: skip


def published_rows(run: Run) -> list[PublishedRow]:
    """One row per system of a run under both protocols; a system that could not be fitted says why."""
    if not run.spec.both_protocols:
        return []
    firsts = (
        next((result for result in group if result.accuracy is not None), group[0])
        for group in by_workload(run.results)
    )
    return [_row(result) for result in firsts if result.accuracy is None or result.accuracy.counterpart is not None]


def _row(result: Result) -> PublishedRow:
    name, accuracy = headline_metric(result) or "", result.accuracy
    own_protocol = result.dataset.protocol
    own, other = _failed(result), NONE
    baselines: list[tuple[str, float]] = []
    notes: tuple[str, ...] = ()
    if accuracy is not None:
        own, other = _ours(result, accuracy, name), _counterpart(accuracy.counterpart, name)
        # Baselines are those of the run's own protocol; next to the other one they would compare two tasks.
        baselines = baseline_values(accuracy, name) if own_protocol == "clean" else []
        notes = accuracy.notes
    document = published_of(result)
    best = max(baselines, key=lambda pair: pair[1], default=None)
    ours = accuracy_value(result, name)
    explained = [*([document.difference] if document else []), *notes]
    return PublishedRow(
        system=workload_title(result),
        data=result.dataset.name + ("" if result.dataset.origin == "real" else f" ({result.dataset.origin} data)"),
        metric=metric_name(name),
        published=as_given(document.value) if document else "–",
        no_published=", ".join(incomparable(result)) if result.published and not document else "",
        as_published=other if own_protocol == "clean" else own,
        clean=own if own_protocol == "clean" else other,
        baseline="–" if best is None else f"{best[0]} {score(best[1])}",
        prevalence="" if accuracy is None else score(accuracy.prevalence),
        beaten=best is not None and ours is not None and best[1] > ours,
        difference=" ".join(text.strip() for text in explained) or "–",
    )


def _failed(result: Result) -> Figure:
    return Figure("failed", note=" ".join(result.validity.reasons) or "no accuracy")


def _counterpart(counterpart: Counterpart | None, name: str) -> Figure:
    match counterpart:
        case None:
            return NONE
        case FailedCounterpart(failure=failure):
            return Figure("failed", note=failure)
        case ScoredCounterpart():
            return _over_seeds(counterpart.metrics.get(name), ())


def _ours(result: Result, accuracy: Accuracy, name: str) -> Figure:
    """The figure over seeds, below it their number and what the training was limited to."""
    return _over_seeds(accuracy.metrics.get(name), cuts_of(result))


def _over_seeds(metric: SeedMean | None, notes: tuple[str, ...]) -> Figure:
    value, _, seeds = accuracy_text(metric).partition(" (")
    return Figure(value, note=", ".join(note for note in (seeds.rstrip(")"), *notes) if note))


def _in_a_line(figure: Figure) -> str:
    return f"{figure.value} ({figure.note})" if figure.note else figure.value
