"""A sweep as one HTML page in the frame of the run report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from harness import __version__
from harness.record.codec import normal
from harness.record.sweep_model import Sweep
from harness.reporting.page import page_of, within_bound
from harness.reporting.sections.counters import sweep_table
from harness.reporting.sections.machine import machine_card, machine_line
from harness.reporting.sweep_charts import charts_of, ramp
from harness.reporting.sweep_view import SweepView, view_of

_ROWS = 600  # of the table, per workload


def render_sweep(sweep: Sweep) -> bytes:
    """The page as UTF-8, below its bound; the same record gives the same bytes."""
    sweep = normal(sweep)  # a record straight from a sweep and one read from disk
    view = view_of(sweep)
    charts = charts_of(view, sweep.margin)
    page = page_of("sweep.html.j2")

    def draw(most: int) -> bytes:
        cut = _cut(view, most)
        return page(
            sweep=sweep,
            view=cut,
            charts=charts[: len(cut.workloads)],
            ramp=ramp(view),
            most_rows=min(_ROWS, most),
            counters=sweep_table(sweep, min(_ROWS, most)),
            left_out=_entries(view) - _entries(cut),
            machine_line=machine_line(sweep.facts),
            machine_card=machine_card(sweep.facts),
            command=shlex.join(sweep.tool.argv),
            version=__version__,
        )

    return within_bound(draw, max(_ROWS, *map(len, _lists(view))))


def _lists(view: SweepView) -> list[Sequence[object]]:
    """What the page has an entry for each of, besides the settings."""
    own: list[Sequence[object]] = [view.workloads, view.skipped]
    for workload in view.workloads:
        own += [workload.losses, workload.reasons, workload.by_cores]
    return own


def _entries(view: SweepView) -> int:
    return sum(map(len, _lists(view)))


def _cut(view: SweepView, most: int) -> SweepView:
    """With so many entries of each list at most."""
    workloads = (
        replace(each, losses=each.losses[:most], reasons=each.reasons[:most], by_cores=each.by_cores[:most])
        for each in view.workloads[:most]
    )
    return replace(view, workloads=tuple(workloads), skipped=view.skipped[:most])
