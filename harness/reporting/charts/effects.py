"""How much slower or faster: one effect with its interval per line, against the margin that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting.charts.svg import (
    INK,
    MARKS,
    PAPER,
    WIDTH,
    drawing,
    few_ticks,
    name_of,
    row_band,
    row_labels,
    to_svg,
)
from harness.reporting.text import change

_ROW = 34
_WIDEST = 400.0  # percent; a change beyond is drawn at the edge, as an arrow
_LABEL = "change of the time per call, % (above 0: slower)"
_LEAST = -100.0  # percent: a time cannot fall further


@dataclass(frozen=True)
class Effect:
    """One change of a time in percent, positive is slower; ``decided`` ones are filled.

    ``points`` are single measurements behind it, in percent too.
    """

    name: str
    change: float
    low: float
    high: float
    decided: bool
    points: tuple[float, ...] = ()


def effects_chart(
    key: str, title: str, effects: Sequence[Effect], margin: float, *, label: str = _LABEL, width: int = WIDTH
) -> str:
    """Changes of a time around zero, with the band of ± ``margin`` percent in which a change does not matter."""
    with drawing(height=64 + _ROW * len(effects), width=width) as (figure, axes):
        left = max(_LEAST, min(-2 * margin, *(effect.low for effect in effects)))
        right = min(_WIDEST, max(2 * margin, *(effect.high for effect in effects)))
        row_band(axes, len(effects), max(left, -margin), min(right, margin))
        for at, effect in enumerate(effects):
            low, change, high = (min(max(value, left), right) for value in (effect.low, effect.change, effect.high))
            mark = MARKS[1] if effect.change > 0 else MARKS[0]
            axes.plot([low, high], [at, at], color=mark.colour, linewidth=3, alpha=0.55)
            inside = [min(max(point, left), right) for point in effect.points]
            axes.plot(inside, [at] * len(inside), "|", markersize=8, color=INK, alpha=0.5)
            shape = ">" if effect.change > right else mark.shape
            axes.plot([change], [at], shape, markersize=7, markeredgecolor=mark.colour,
                      markerfacecolor=mark.colour if effect.decided else PAPER)  # fmt: skip
            if width > WIDTH:
                axes.text(1.02, at, _figures(effect), transform=axes.get_yaxis_transform(), va="center", fontsize=10.5)
        row_labels(axes, [name_of(effect.name, 44 if width == WIDTH else 60) for effect in effects], width)
        room = 0.05 * (right - left)
        axes.set_xlim(max(_LEAST, left - room), right + room)
        few_ticks(axes.xaxis)
        axes.set_xlabel(label)
        description = "; ".join(f"{effect.name} {_figures(effect)}" for effect in effects)
        return to_svg(figure, key=key, title=title, description=f"{description}. The margin is {margin:g} %.")


def _figures(effect: Effect) -> str:
    return " ".join(change(*(1 + value / 100 for value in (effect.change, effect.low, effect.high))))
