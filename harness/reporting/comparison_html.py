"""A comparison as one HTML page in the frame of the run report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from harness import __version__
from harness.compare.compare import CompareReport
from harness.measure.verdicts import CompareVerdict
from harness.reporting.charts.effects import Effect, effects_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.comparison_view import AccuracyLine, ComparisonView, TimeLine, distinct, view_of
from harness.reporting.page import page_of, within_bound

Line = TypeVar("Line", TimeLine, AccuracyLine)
_ORDER = {"bad": 0, "warn": 1}  # anything else: last
_DRAWN = 24  # effects in one chart; the table holds them all


def render_comparison(report: CompareReport) -> bytes:
    """The page as UTF-8, below its bound; the same report gives the same bytes."""
    view, charts, page = view_of(report), _charts(report), page_of("compare.html.j2")

    def draw(most: int) -> bytes:
        cut = _cut(view, most)
        left_out = sum(map(len, _lists(view))) - sum(map(len, _lists(cut)))
        return page(
            view=cut, sides=report.sides, charts=charts[:most], left_out=left_out, version=__version__
        )  # fmt: skip

    return within_bound(draw, max(map(len, [*_lists(view), charts])))


def _lists(view: ComparisonView) -> tuple[Sequence[object], ...]:
    return view.sentences, view.times, view.accuracy, view.differences, view.missing


def _cut(view: ComparisonView, most: int) -> ComparisonView:
    """With so many entries of each list at most."""
    return replace(
        view,
        sentences=view.sentences[:most],
        times=_worst(view.times, most),
        accuracy=_worst(view.accuracy, most),
        differences=view.differences[:most],
        missing=view.missing[:most],
    )


def _worst(lines: tuple[Line, ...], most: int) -> tuple[Line, ...]:
    """So many lines at most, what did not hold first."""
    if len(lines) <= most:
        return lines
    return tuple(sorted(lines, key=lambda line: _ORDER.get(line.status.kind, len(_ORDER)))[:most])


def _charts(report: CompareReport) -> list[tuple[str, str]]:
    """Per side its name, with what all effects have in common, and their SVG, the largest first."""
    charts = []
    shared, names = distinct([time.key for time in report.times if time.comparison.effect is not None])
    for at, side in enumerate(report.sides[1:]):
        effects = [
            (time.comparison.margin, Effect(
                name=names[time.key],
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
            title = f"{side.name}: {shared}" if shared else side.name
            charts.append((title, fitted(draw, f"e{at}", alone=True)))
    return charts


def _chart(title: str, effects: Sequence[Effect], margin: float, key: str, width: int) -> str:
    return effects_chart(key, title, effects, margin, width=width)
