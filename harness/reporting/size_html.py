"""A sizing as one HTML page in the frame of the run report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from harness import __version__
from harness.record.codec import normal
from harness.record.size_model import Capacity, Size
from harness.reporting.charts.capacity import CapacityCurve, Trials, capacity_chart, latency_chart
from harness.reporting.charts.rates import Estimate
from harness.reporting.charts.svg import fitted
from harness.reporting.page import page_of
from harness.reporting.sections.machine import machine_card, machine_line
from harness.reporting.sections.panels import Panel
from harness.reporting.size_view import plan_lines, view_of
from harness.sizing.assemble import bench_of
from harness.wording import plural

_ENDED = {
    "decided": "when the decision stood",
    "budget": "with the time budget",
    "blocks": "with the largest number of blocks",
    "stored": "with the records that there were",
}
_CURVES = 4  # of the latency chart, the nearest to the chosen number of cores


def render_size(record: Size) -> bytes:
    """The page as UTF-8; the same record gives the same bytes."""
    record = normal(record)
    return page_of("size.html.j2")(
        size=record,
        view=view_of(record),
        panels=_panels(record),
        plans=[(plan, plan_lines(plan)) for plan in record.answer.plans],
        machine_line=machine_line(record.facts),
        machine_card=machine_card(record.facts),
        command=shlex.join(record.tool.argv),
        ended=_ENDED[record.design.ended_by],
        version=__version__,
    )


@dataclass(frozen=True)
class _Chart:
    title: str
    draw: Callable[[str, int], str]
    caption: str


def _panels(record: Size) -> list[Panel]:
    charts = [chart for chart in (_capacity(record), _latency(record)) if chart is not None]
    return [
        Panel(chart.title, fitted(chart.draw, f"size-{at}", alone=len(charts) == 1), caption=chart.caption)
        for at, chart in enumerate(charts)
    ]


def _capacity(record: Size) -> _Chart | None:
    question = record.answer.question
    bench = bench_of(record, question.p99_s)
    curves = []
    for curve in bench.curves:
        known = [
            (cores, capacity)
            for cores in range(1, bench.limit + 1)
            if (capacity := curve.capacity(cores, question.confidence)) is not None
        ]
        if known:
            name = f"SMT {curve.series.threads_per_core}, {curve.series.layout}"
            cores = [count for count, _ in known]
            rates = [_estimate(capacity) for _, capacity in known]
            curves.append(CapacityCurve(name, cores, rates, [each.basis == "measured" for _, each in known]))
    if not curves:
        return None
    caption = "Thick: 95 % interval of a measured number of cores. Thin: between or beyond them, from the law."
    return _Chart("Capacity over cores", partial(_draw_capacity, curves, question.need, question.unit), caption)


def _estimate(capacity: Capacity) -> Estimate:
    return Estimate(capacity.value, capacity.low, capacity.high)


def _latency(record: Size) -> _Chart | None:
    chosen, bound = record.answer.chosen, record.answer.question.p99_s
    if chosen is None or bound is None:
        return None
    trials = [
        Trials(
            plural(point.cores, "core"),
            [rate for block in point.blocks for rate, _ in block.trials],
            [latency for block in point.blocks for _, latency in block.trials],
        )
        for series in record.series
        if (series.threads_per_core, series.layout) == (chosen.threads_per_core, chosen.layout)
        for point in sorted(series.points, key=lambda point: abs(point.cores - chosen.cores))[:_CURVES]
    ]
    trials = [each for each in trials if each.rates]
    if not trials:
        return None
    title = f"Latency over rate, SMT {chosen.threads_per_core}"
    return _Chart(title, partial(_draw_latency, trials, bound), "Every trial of every block.")


def _draw_capacity(curves: Sequence[CapacityCurve], need: float, unit: str, key: str, width: int) -> str:
    return capacity_chart(key, curves, need, unit, width=width)


def _draw_latency(trials: Sequence[Trials], bound: float, key: str, width: int) -> str:
    return latency_chart(key, trials, bound, width=width)
