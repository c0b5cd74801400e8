"""How good a detector's scores are: curves, the scores themselves, and recall by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reporting.charts.svg import (
    INK,
    MARKS,
    MUTED,
    drawing,
    few_ticks,
    legend,
    log_ticks,
    name_of,
    row_labels,
    si_ticks,
    to_svg,
)
from harness.reporting.text import number, percent, score
from harness.wording import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SQUARE = 300
_SKEWED_COUNTS = 30.0  # fullest over typical bin from which a linear axis hides the others
_CLASS_ROWS = 16
_ROW = 30

Point = tuple[float, float]


@dataclass(frozen=True)
class ClassBar:
    """Share of the rows of one class that were flagged."""

    name: str
    rows: int
    flagged: float
    normal: bool  # flagging it is a mistake


@dataclass(frozen=True)
class Scores:
    """Counts of normal and anomalous rows between ``edges`` (one more than counts)."""

    edges: Sequence[float]
    normal: Sequence[int]
    anomaly: Sequence[int]
    log: bool
    threshold: float | None


def roc_chart(key: str, curve: Sequence[Point], at_threshold: Point | None, auc: float | None) -> str:
    """True-positive over false-positive rate; chance is the diagonal, the threshold in use is marked."""
    with drawing(height=_SQUARE) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (1, 3)))
        axes.plot(*zip(*curve, strict=True), color=MARKS[0].colour)
        _mark_threshold(axes, at_threshold)
        _unit_square(axes, "false-positive rate", "true-positive rate (recall)")
        description = "" if auc is None else f"Area under the curve {score(auc)}."
        return to_svg(figure, key=key, title="ROC curve", description=description + _threshold_sentence(at_threshold))


def pr_chart(
    key: str, curve: Sequence[Point], at_threshold: Point | None, auc: float | None, prevalence: float | None
) -> str:
    """Precision over recall; the dotted line is the precision of flagging everything, which is the prevalence."""
    with drawing(height=_SQUARE) as (figure, axes):
        if prevalence is not None:
            axes.axhline(prevalence, color=MUTED, linewidth=0.9, linestyle=(0, (1, 3)))
            above = prevalence < 0.9
            axes.annotate(
                f"prevalence {number(prevalence)}", (0.02, prevalence), xytext=(0, 3 if above else -3),
                textcoords="offset points", va="bottom" if above else "top", fontsize=10,
            )  # fmt: skip
        axes.plot(*zip(*curve, strict=True), color=MARKS[0].colour)
        _mark_threshold(axes, at_threshold)
        _unit_square(axes, "recall", "precision")
        description = "" if auc is None else f"Average precision {score(auc)}."
        if prevalence is not None:
            description += f" Prevalence {number(prevalence)}."
        description += _threshold_sentence(at_threshold)
        return to_svg(figure, key=key, title="Precision–recall curve", description=description)


def scores_chart(key: str, scores: Scores) -> str:
    """Rows per bin of the anomaly score, normal and anomalous apart, with the threshold."""
    with drawing() as (figure, axes):
        for mark, name, counts in zip(MARKS, ("normal", "anomaly"), (scores.normal, scores.anomaly), strict=False):
            axes.stairs(counts, scores.edges, color=mark.colour, linestyle=mark.dashes, linewidth=1.6, label=name)
            axes.stairs(counts, scores.edges, color=mark.colour, fill=True, alpha=0.14)
        filled = sorted(count for count in (*scores.normal, *scores.anomaly) if count > 0)
        if filled and filled[-1] > _SKEWED_COUNTS * filled[len(filled) // 2]:
            axes.set_yscale("log")
            axes.set_ylim(0.7, filled[-1] * 1.5)
            log_ticks(axes.yaxis, 1, filled[-1])
        else:
            axes.set_ylim(0, None)
            few_ticks(axes.yaxis, whole=True)
        si_ticks(axes.yaxis, "rows")
        if scores.log:
            axes.set_xscale("log")
            log_ticks(axes.xaxis, scores.edges[0], scores.edges[-1])
        if scores.threshold is not None:
            axes.axvline(scores.threshold, color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="threshold")
        axes.set_xlabel("anomaly score")
        axes.set_ylabel("rows per bin")
        legend(axes, columns=3)
        description = f"{sum(scores.normal):,} normal and {sum(scores.anomaly):,} anomalous rows"
        description += "." if scores.threshold is None else f", threshold {number(scores.threshold)}."
        return to_svg(figure, key=key, title="Anomaly scores and threshold", description=description)


def classes_chart(key: str, classes: Sequence[ClassBar]) -> str:
    """Share flagged per class, largest classes first; for normal rows that share is false alarms."""
    shown = sorted(classes, key=lambda bar: (-bar.rows, bar.name))[:_CLASS_ROWS]
    with drawing(height=52 + _ROW * len(shown)) as (figure, axes):
        for at, bar in enumerate(shown):
            mark = MARKS[1] if bar.normal else MARKS[0]
            axes.barh([at], [100 * bar.flagged], height=0.3, color=mark.colour, linewidth=0)
        alarms = {True: " (false alarms)", False: ""}
        row_labels(axes, [f"{name_of(bar.name)}{alarms[bar.normal]}, {bar.rows:,}" for bar in shown])
        axes.set_xlim(0, 100)
        axes.set_xlabel("rows flagged, %")
        description = "; ".join(f"{bar.name} {percent(bar.flagged)} of {bar.rows:,}" for bar in shown)
        return to_svg(figure, key=key, title="Rows flagged by class", description=f"{description}.")


def epoch_chart(
    key: str, curves: Mapping[str, Sequence[float | None]], *, what: str = "loss",
    title: str = "Loss while training", unit: str = "epoch",
) -> str:  # fmt: skip
    """A quantity per epoch, one line per name; None for an epoch without.

    Args:
        key: of the drawing.
        curves: a value at least in each.
        what: the quantity.
        title: of the drawing.
        unit: of what there is a value after each.
    """
    lines = {
        name: [(epoch, value) for epoch, value in enumerate(values, 1) if value is not None]
        for name, values in sorted(curves.items())
    }
    with drawing() as (figure, axes):
        for mark, (name, points) in zip(MARKS, lines.items(), strict=False):
            axes.plot(
                *zip(*points, strict=True), color=mark.colour, linestyle=mark.dashes, label=name_of(name),
                marker=mark.shape if len(points) < 3 else None,
            )  # fmt: skip
        every = [value for points in lines.values() for _, value in points]
        low, high = min(every), max(every)
        if low > 0 and high > 20 * low:
            axes.set_yscale("log")
            log_ticks(axes.yaxis, low, high)
        else:
            few_ticks(axes.yaxis)
        few_ticks(axes.xaxis, whole=True)
        axes.set_xlabel(unit)
        axes.set_ylabel(what)
        if len(lines) > 1:
            legend(axes)
        description = " ".join(
            f"{name}: from {number(points[0][1])} to {number(points[-1][1])} in {plural(len(points), unit)}."
            for name, points in lines.items()
        )
        return to_svg(figure, key=key, title=title, description=description)


def _mark_threshold(axes: Axes, at: Point | None) -> None:
    if at is not None:
        axes.plot([at[0]], [at[1]], "o", markersize=8, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.6)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _threshold_sentence(at: Point | None) -> str:
    return "" if at is None else f" The ring is the threshold in use, at {number(at[0])}, {number(at[1])}."
