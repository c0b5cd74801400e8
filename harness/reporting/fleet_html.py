"""A fleet run as one HTML page in the frame of the run report."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from statistics import median

from harness import __version__
from harness.record.codec import normal
from harness.record.fleet_model import Fleet, FleetTest, HostStanding, Standing
from harness.reporting.charts.effects import Effect, effects_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.fleet_view import STATUS, change, view_of
from harness.reporting.page import page_of, within_bound
from harness.reporting.text import percent
from harness.wording import plural

_CHARTS, _ROWS = 12, 16  # drawn; hosts in a chart, those out of line first


def render_fleet(fleet: Fleet) -> bytes:
    """The page as UTF-8, below its bound; the same record gives the same bytes."""
    fleet = normal(fleet)
    view = view_of(fleet)
    page = page_of("fleet.html.j2")
    charts = [
        (
            f"{test.title}, population {test.population}",
            fitted(partial(_chart, test, fleet.margin), f"f{at}", alone=True),
        )
        for at, test in enumerate(fleet.tests[:_CHARTS])
    ]
    order = sorted(view.lines, key=lambda line: {"bad": 0, "warn": 1, "good": 2}[line.status.kind])

    def draw(most: int) -> bytes:
        return page(
            fleet=fleet,
            view=replace(view, lines=tuple(order[:most])),
            differing=[line for line in order[:most] if line.effects and (line.host.differences or line.host.findings)],
            left_out=len(order) - len(order[:most]),
            charts=charts,
            tests=[
                (test, [(each, STATUS[each.standing], change(each)) for each in sorted(test.hosts, key=_calm)[:most]])
                for test in fleet.tests
            ],
            percent=percent,
            hosts=plural(len(fleet.hosts), "host"),
            version=__version__,
        )

    return within_bound(draw, len(order))


def _chart(test: FleetTest, margin: float, key: str, width: int) -> str:
    """The hosts furthest from the others; a stroke per wave, against the median of all hosts in that wave."""
    waves = max((len(each.rates) for each in test.hosts), default=0)
    centres = [_median([each.rates[wave] for each in test.hosts]) for wave in range(waves)]
    effects = []
    for each in sorted(test.hosts, key=_calm)[:_ROWS]:
        if each.ratio is None or each.low is None or each.high is None:
            continue
        points = tuple(
            100 * (1 - rate / centre) for rate, centre in zip(each.rates, centres, strict=True) if rate and centre
        )
        slower, low, high = (100 * (1 - value) for value in (each.ratio, each.high, each.low))
        effects.append(Effect(each.host, slower, low, high, each.standing is not Standing.UNDECIDED, points))
    if not effects:
        return ""
    label = "slower than the peers' median, % (below 0: faster)"
    return effects_chart(key, test.title, effects, 100 * margin, label=label, width=width)


def _calm(standing: HostStanding) -> tuple[float, str]:
    return -abs(math.log(standing.ratio or 1.0)), standing.host


def _median(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return median(known) if known else None
