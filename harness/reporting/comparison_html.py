"""A comparison as one HTML page in the frame of the run report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from harness import __version__
from harness.compare.compare import CompareReport
from harness.measure.verdicts import CompareVerdict
from harness.reporting.charts.effects import Effect, effects_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.comparison_view import view_of
from harness.reporting.page import page_of

_DRAWN = 24  # effects in one chart; the table holds them all


def render_comparison(report: CompareReport) -> bytes:
    """The page as UTF-8; the same report gives the same bytes."""
    return page_of("compare.html.j2")(
        view=view_of(report),
        sides=report.sides,
        charts=_charts(report),
        version=__version__,
    )


def _charts(report: CompareReport) -> list[tuple[str, str]]:
    """Per side its name and the SVG of its effects, the largest first."""
    charts = []
    for at, side in enumerate(report.sides[1:]):
        effects = [
            (time.comparison.margin, Effect(
                name=str(time.key),
                change=100 * math.expm1(time.comparison.effect.mean),
                low=100 * math.expm1(time.comparison.effect.low),
                high=100 * math.expm1(time.comparison.effect.high),
                decided=time.comparison.verdict is not CompareVerdict.INCONCLUSIVE,
            ))
            for time in report.times
            if time.side == side.name and time.comparison.effect is not None
        ]  # fmt: skip
        effects.sort(key=lambda pair: (-abs(pair[1].change), pair[1].name))
        if effects:
            drawn, margin = [effect for _, effect in effects[:_DRAWN]], 100 * effects[0][0]
            draw = partial(_chart, f"{side.name} against the baseline", drawn, margin)
            charts.append((side.name, fitted(draw, f"e{at}", alone=True)))
    return charts


def _chart(title: str, effects: Sequence[Effect], margin: float, key: str, width: int) -> str:
    return effects_chart(key, title, effects, margin, width=width)
