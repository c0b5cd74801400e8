"""A load test as one HTML page in the frame of the run report."""

from __future__ import annotations

import shlex

from harness import __version__
from harness.measure.percentiles import PERCENTILES
from harness.record.codec import normal
from harness.record.load_model import LoadRecord
from harness.reporting.charts.load import latency_curve_chart, rate_chart
from harness.reporting.load_view import (
    description_of,
    latency_rows,
    limit_of,
    marks_of,
    process_line,
    search_line,
    sentence_of,
    server_lines,
    status_of,
)
from harness.reporting.page import page_of
from harness.reporting.sections.machine import machine_card, machine_line
from harness.reporting.sections.panels import Panel


def render_load(record: LoadRecord) -> bytes:
    """The page as UTF-8; the same record gives the same bytes."""
    record = normal(record)
    result = record.result
    return page_of("load.html.j2")(
        load=record,
        status=status_of(record),
        sentence=sentence_of(record),
        marks=marks_of(record),
        limit=limit_of(record),
        search=search_line(record),
        panels=_panels(record),
        latencies=latency_rows(record),
        processes=[process_line(use) for use in result.processes],
        lines=server_lines(record),
        machine_line=machine_line(record.facts),
        machine_card=machine_card(record.facts),
        command=shlex.join(record.tool.argv),
        version=__version__,
    )


def _panels(record: LoadRecord) -> list[Panel]:
    result = record.result
    seen = {
        PERCENTILES[name] / 100: value
        for name, value in result.observed_s.items()
        if value is not None and name in PERCENTILES
    }
    latency = latency_curve_chart(
        "load-latency", result.curve, result.requests, seen, record.spec.p99_bound_s, description_of(record)
    )
    return [
        Panel(
            "Latency",
            latency,
            caption="Counted from the scheduled time, so that a stall is in all requests that were due meanwhile. "
            "A request that failed took longer than any. Points: percentiles as seen.",
        ),
        Panel(
            "Rate over time",
            rate_chart("load-rate", result.timeline),
            caption="Due by the schedule, and answered when the whole answer had come.",
        ),
    ]
