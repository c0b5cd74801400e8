"""A sweep as one HTML page in the frame of the run report."""

from __future__ import annotations

import shlex

from harness import __version__
from harness.record.codec import normal
from harness.record.sweep_model import Sweep
from harness.reporting.page import page_of
from harness.reporting.sections.machine import machine_card, machine_line
from harness.reporting.sweep_charts import charts_of, ramp
from harness.reporting.sweep_view import view_of

_ROWS = 600  # of the table, per workload: a page that is mailed stays below a megabyte


def render_sweep(sweep: Sweep) -> bytes:
    """The page as UTF-8; the same record gives the same bytes."""
    sweep = normal(sweep)  # a record straight from a sweep and one read from disk
    view = view_of(sweep)
    return page_of("sweep.html.j2")(
        sweep=sweep,
        view=view,
        charts=charts_of(view, sweep.margin),
        ramp=ramp(view),
        most_rows=_ROWS,
        machine_line=machine_line(sweep.facts),
        machine_card=machine_card(sweep.facts),
        command=shlex.join(sweep.tool.argv),
        version=__version__,
    )
