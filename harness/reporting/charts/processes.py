"""How well processes agree: one dot each, around the estimate of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting.charts.svg import (
    BAND,
    INK,
    MARKS,
    WIDTH,
    drawing,
    few_ticks,
    name_of,
    row_labels,
    row_rule,
    to_svg,
)
from harness.wording import plural

_ROW = 40
_WIDEST = 400.0  # percent; a process beyond is drawn at the edge, as an arrow
_LEAST = -100.0  # percent: a time cannot be less than nothing


@dataclass(frozen=True)
class ProcessRow:
    """Estimates of the processes of one result, all in the same unit.

    Attributes:
        name: of the result.
        centre: the recorded estimate over processes.
        low: lower end of its interval, None without one.
        high: upper end.
        clean: per process, from undisturbed samples.
        all_samples: per process, from all samples.
    """

    name: str
    centre: float
    low: float | None
    high: float | None
    clean: Sequence[float]
    all_samples: Sequence[float]


def processes_chart(key: str, title: str, rows: Sequence[ProcessRow], *, width: int = WIDTH) -> str:
    """Each process as a deviation in percent from the estimate of all: filled clean samples, hollow all samples."""
    with drawing(height=72 + _ROW * len(rows), width=width) as (figure, axes):
        reach = 1.0
        for at, row in enumerate(rows):
            clean, all_samples = ([_percent(value, row.centre) for value in of] for of in (row.clean, row.all_samples))
            reach = max([reach, *(abs(value) for value in clean + all_samples)])
            if row.low is not None and row.high is not None:
                ends = [_percent(row.low, row.centre), _percent(row.high, row.centre)]
                reach = max(reach, -ends[0], ends[1])
                axes.fill_between(
                    ends, at - 0.2, at + 0.28, color=BAND,
                    linewidth=0,
                )  # fmt: skip
            for shape, inside in (("o", True), (">", False)):
                hollow, filled = (
                    [min(value, _WIDEST) for value in of if (value <= _WIDEST) == inside] for of in (all_samples, clean)
                )
                axes.plot(hollow, [at + 0.12] * len(hollow), shape, markersize=5.5, markerfacecolor="none",
                          markeredgecolor=MARKS[1].colour)  # fmt: skip
                axes.plot(filled, [at - 0.1] * len(filled), shape, markersize=5.5, color=MARKS[0].colour,
                          markeredgewidth=0)  # fmt: skip
        row_rule(axes, len(rows))
        row_labels(axes, [name_of(row.name, 40 if width == WIDTH else 60) for row in rows], width)
        reach = min(reach, _WIDEST)
        axes.set_xlim(max(_LEAST, -1.08 * reach), 1.08 * reach)
        few_ticks(axes.xaxis)
        axes.set_xlabel("time per call or step, % from the estimate of all processes")
        axes.plot([], [], "o", color=MARKS[0].colour, label="undisturbed samples")
        axes.plot([], [], "o", markerfacecolor="none", markeredgecolor=MARKS[1].colour, label="all samples")
        axes.fill_between([], [], color=BAND, label="95 % interval")
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderaxespad=0.1, columnspacing=1.0,
            handletextpad=0.4, handlelength=1.0, labelcolor=INK,
        )  # fmt: skip
        description = "; ".join(f"{row.name}: {_reach(row)}" for row in rows)
        return to_svg(figure, key=key, title=title, description=f"{description}.")


def _reach(row: ProcessRow) -> str:
    if not row.clean:
        return "no process"
    furthest = max(abs(_percent(value, row.centre)) for value in row.clean)
    return f"{plural(len(row.clean), 'process', 'processes')} within {furthest:.1f} %"


def _percent(value: float, centre: float) -> float:
    return 100 * (value / centre - 1)
