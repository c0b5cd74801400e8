"""A history as one HTML page in the frame of the run report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness import __version__
from harness.compare.history import History
from harness.reporting.charts.history import Series, history_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.history_view import lines_of, sentence
from harness.reporting.page import page_of
from harness.reporting.text import quantity
from harness.wording import plural

_DRAWN = 24  # results; those whose last step made them slower first
_RUNS = 200  # in a table
_ORDER = {"bad": 0, "good": 1, "warn": 2}


def render_history(histories: Sequence[History]) -> bytes:
    """The page as UTF-8; the same histories give the same bytes."""
    lines = lines_of(histories)
    status, text = sentence(lines)
    pairs = sorted(zip(lines, histories, strict=True), key=lambda pair: _ORDER[pair[0].status.kind])
    charted = [pair for pair in pairs if pair[0].charted][:_DRAWN]
    shown = [
        (line, fitted(partial(_chart, line.name, history), f"h{at}", alone=True), _table(history))
        for at, (line, history) in enumerate(charted)
    ]
    others = [line for line, _ in pairs if all(line is not drawn for drawn, _, _ in shown)]
    runs = max((len(history.points) for history in histories), default=0)
    return page_of("history.html.j2")(
        status=status, sentence=text, shown=shown, others=others, runs=plural(runs, "run"), version=__version__
    )


def _chart(title: str, history: History, key: str, width: int) -> str:
    points, steps = history.points, [(step.at, step.ratio > 1) for step in history.steps]
    series = Series([point.run for point in points], [point.seconds for point in points], steps, history.unit)
    return history_chart(key, title, series, width=width)


def _table(history: History) -> list[tuple[str, str, str]]:
    """Date, run and time of the newest runs."""
    return [
        (point.created, point.run, quantity(point.seconds, history.unit)) for point in reversed(history.points[-_RUNS:])
    ]
