"""How much slower or faster: one effect with its interval per line, against the margin that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting.charts.svg import BAND, MARKS, MUTED, PAPER, drawing, few_ticks, name_of, row_labels, to_svg

_ROW = 34
_WIDEST = 400.0  # percent; a change beyond is drawn at the edge


@dataclass(frozen=True)
class Effect:
    """One change of a time in percent, positive is slower; ``decided`` ones are filled."""

    name: str
    change: float
    low: float
    high: float
    decided: bool


def effects_chart(
    key: str, title: str, effects: Sequence[Effect], margin: float, *, of: str = "the time per call"
) -> str:
    """Changes ``of`` a time around zero, with the band of ± ``margin`` percent in which a change does not matter."""
    with drawing(height=64 + _ROW * len(effects)) as (figure, axes):
        left, right = (
            min(_WIDEST, max(2 * margin, *(sign * end for effect in effects for end in (effect.low, effect.high))))
            for sign in (-1, 1)
        )
        axes.axvspan(-margin, margin, color=BAND, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        for at, effect in enumerate(effects):
            low, change, high = (min(max(value, -left), right) for value in (effect.low, effect.change, effect.high))
            mark = MARKS[1] if effect.change > 0 else MARKS[0]
            axes.plot([low, high], [at, at], color=mark.colour, linewidth=3, alpha=0.55)
            axes.plot([change], [at], mark.shape, markersize=7, markeredgecolor=mark.colour,
                      markerfacecolor=mark.colour if effect.decided else PAPER)  # fmt: skip
        row_labels(axes, [name_of(effect.name, 44) for effect in effects])
        room = 0.05 * (left + right)
        axes.set_xlim(-left - room, right + room)
        few_ticks(axes.xaxis)
        axes.set_xlabel(f"change of {of}, % (above 0: slower)")
        description = "; ".join(
            f"{effect.name} {effect.change:+.1f} % [{effect.low:+.1f}, {effect.high:+.1f}]" for effect in effects
        )
        return to_svg(figure, key=key, title=title, description=f"{description}. The margin is {margin:g} %.")
