"""The findings of ``lparbench doctor`` as one HTML page in the frame of the run report: to send and to print."""

from __future__ import annotations

from harness import __version__
from harness.advice.finding import Report
from harness.platform.facts import Facts
from harness.reporting.doctor import machine_line, verdict
from harness.reporting.page import page_of
from harness.reporting.sections.findings import finding_view

_LONGEST = 400  # characters of a value; a list of all CPUs of a large machine is longer


def render_findings(facts: Facts, report: Report) -> bytes:
    """The page as UTF-8; the same findings give the same bytes."""
    views = [finding_view(finding) for finding in report.findings]
    broken = {finding.id for finding in report.findings}
    return page_of("doctor.html.j2")(
        machine=machine_line(facts),
        verdict=verdict(report),
        kind="warn" if report.costs_performance else "good",
        findings=views,
        problems=report.problems,
        passed=[rule for rule in report.checked if rule not in broken],
        not_checked=[(item.id, f"not known: {', '.join(item.missing)}") for item in report.not_checked],
        elsewhere=report.not_applicable,
        longest=_LONGEST,
        version=__version__,
    )
