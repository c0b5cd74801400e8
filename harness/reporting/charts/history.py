"""A time over many runs: a point per run, a level per segment, and a rule at every lasting step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import geometric_mean

from harness.reporting.charts.svg import INK, MARKS, WIDTH, drawing, few_ticks, name_of, si_ticks, to_svg
from harness.reporting.text import quantity
from harness.wording import plural

_LABELS = {False: 2, True: 4}  # runs named below the axis, by whether the chart is wide


@dataclass(frozen=True)
class Series:
    """Times of the runs of one result, oldest first, and the positions of its steps (slower or not)."""

    runs: Sequence[str]
    times: Sequence[float]
    steps: Sequence[tuple[int, bool]]
    unit: str


def history_chart(key: str, title: str, series: Series, *, width: int = WIDTH) -> str:
    """Runs from left to right; an axis that does not begin at zero, so that a step of some per cent is seen."""
    with drawing(height=210, width=width) as (figure, axes):
        count = len(series.times)
        axes.plot(range(count), series.times, "o", markersize=4.5, color=MARKS[0].colour)
        ends = [0, *(at for at, _ in series.steps), count]
        for start, end in pairwise(ends):
            level = geometric_mean(series.times[start:end])
            axes.plot([start - 0.5, end - 0.5], [level, level], color=MARKS[0].colour, linewidth=1.4, alpha=0.7)
        for at, slower in series.steps:
            axes.axvline(at - 0.5, color=MARKS[1].colour if slower else INK, linewidth=1.2, linestyle=(0, (4, 2)))
        low, high = min(series.times), max(series.times)
        room = 0.12 * (high - low) or 0.05 * high
        axes.set_ylim(max(0.0, low - room), high + room)
        axes.set_xlim(-0.6, count - 0.4)
        few_ticks(axes.yaxis, halves=False)
        if series.unit:
            si_ticks(axes.yaxis, series.unit)
        most = _LABELS[width > WIDTH] - 1
        shown = sorted({round(at * (count - 1) / most) for at in range(most + 1)})
        axes.set_xticks(shown, [name_of(series.runs[at], 18) for at in shown])
        for label, at in zip(axes.get_xticklabels(), shown, strict=True):
            label.set_horizontalalignment(
                "left" if at == 0 < count - 1 else "right" if 0 < at == count - 1 else "center"
            )
        first, last = (quantity(series.times[at], series.unit) for at in (0, -1))
        description = f"{plural(count, 'run')}, from {first} to {last}"
        description += "".join(
            f"; {'slower' if slower else 'faster'} from {series.runs[at]} on" for at, slower in series.steps
        )
        return to_svg(figure, key=key, title=title, description=f"{description}.")
