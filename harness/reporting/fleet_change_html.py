"""Two runs of one fleet as one HTML page in the frame of the run report."""

from __future__ import annotations

from harness import __version__
from harness.errors import ExitCode
from harness.fleet.compare import FleetChange
from harness.record.fleet_model import Standing
from harness.reporting.fleet_change import exit_code_of, sentence_of
from harness.reporting.fleet_view import STATUS, change
from harness.reporting.page import page_of, within_bound
from harness.reporting.text import percent

_OF_CODE = {ExitCode.REGRESSION: Standing.SLOW, ExitCode.GOOD: Standing.EQUAL}


def render_change(changed: FleetChange) -> bytes:
    """The page as UTF-8, below its bound; the hosts that changed most in standing come first."""
    page = page_of("fleet-compare.html.j2")
    order = [Standing.SLOW, Standing.UNDECIDED, Standing.FAST, Standing.UNSTEADY, Standing.EQUAL]
    results = [
        (
            result.title,
            [
                (each.host, STATUS[each.standing], change(each))
                for each in sorted(result.hosts, key=lambda each: order.index(each.standing))
            ],
        )
        for result in changed.results
    ]
    most = max([len(changed.facts or ()), len(changed.missing), *(len(rows) for _, rows in results)])

    def draw(entries: int) -> bytes:
        return page(
            before=changed.before,
            after=changed.after,
            status=STATUS[_OF_CODE.get(exit_code_of(changed), Standing.UNDECIDED)],
            sentences=[sentence_of(result) for result in changed.results],
            results=[(title, rows[:entries], len(rows) - len(rows[:entries])) for title, rows in results],
            facts=None if changed.facts is None else changed.facts[:entries],
            missing=list(changed.missing.items())[:entries],
            margin=percent(changed.margin, 2),
            version=__version__,
        )

    return within_bound(draw, most)
