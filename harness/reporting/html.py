"""A run as one HTML page: self-contained, below a megabyte, the same bytes for the same record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.record.codec import normal
from harness.record.model import Checks, Run
from harness.reporting.page import MAX_BYTES, page_of
from harness.reporting.sections.counters import run_table
from harness.reporting.sections.detail import details
from harness.reporting.sections.findings import findings
from harness.reporting.sections.headline import headline
from harness.reporting.sections.machine import machine_card, machine_line
from harness.reporting.sections.method import Raw, method, raw_facts, raw_record
from harness.reporting.sections.published import published_rows
from harness.reporting.sections.results import by_workload, rate_panels, shown_columns, workload_groups
from harness.reporting.sections.roof import roof_view
from harness.reporting.sections.trust import trust
from harness.reporting.sections.where import places

_RAW_RESERVE = 40_000  # bytes kept for facts and record before workloads lose their charts
_NO_RAW = Raw("", "")


def render(run: Run) -> bytes:
    """The report of a run as UTF-8.

    A page that would be too large loses, in this order, raw samples and processes of the folded record, the charts
    of the workloads beyond the first so many, and the results and findings beyond; it says what it left out.
    """
    run = normal(run)  # a record straight from a run and one read from disk give the same bytes
    charted = [details(f"w{index + 1}", results) for index, results in enumerate(by_workload(run.results))]
    page, context = page_of("run.html.j2"), _context(run)
    shown = len(charted)
    entries = most = max(map(len, _lists(run)), default=0)

    def draw(facts: Raw, record: Raw) -> bytes:
        counts = {"left_out": len(charted) - shown, "cut": entries - most}
        return page(**context, **counts, details=charted[:shown], facts=facts, record=record)

    bare = draw(_NO_RAW, _NO_RAW)
    while len(bare) > MAX_BYTES - _RAW_RESERVE and (shown or most):
        if shown:
            shown //= 2
        else:
            most //= 2
            context = _context(_cut(run, most))
        bare = draw(_NO_RAW, _NO_RAW)
    # Escaping lengthens JSON: half of what is left, in characters, fits in any case that is not hostile.
    free = MAX_BYTES - len(bare)
    whole = draw(raw_facts(run, free // 5), raw_record(run, free // 3))
    return whole if len(whole) <= MAX_BYTES else draw(raw_facts(run, 0), raw_record(run, 0))


def _lists(run: Run) -> tuple[Sequence[object], ...]:
    """What a page has a row or a sentence for each entry of."""
    checks, roof = run.checks, run.roofline
    kernels: Sequence[object] = () if roof is None else roof.kernels
    return run.results, run.findings, checks.checked, checks.not_checked, checks.not_applicable, kernels


def _cut(run: Run, most: int) -> Run:
    """The run with so many entries of each list at most."""
    checks, roof = run.checks, run.roofline
    return replace(
        run,
        results=run.results[:most],
        findings=run.findings[:most],
        checks=Checks(checks.checked[:most], checks.not_checked[:most], checks.not_applicable[:most]),
        roofline=None if roof is None else replace(roof, kernels=roof.kernels[:most]),
    )


def _context(run: Run) -> dict[str, object]:
    groups = workload_groups(run)
    return {
        "run": run,
        "headline": headline(run),
        "machine_line": machine_line(run.facts),
        "groups": groups,
        "columns": shown_columns(groups),
        "published": published_rows(run),
        "counters": run_table(run),
        "rate_panels": rate_panels(run),
        "findings": findings(run),
        "not_checked": [(rule.id, ", ".join(rule.missing)) for rule in run.checks.not_checked],
        "places": places(run),
        "machine_card": machine_card(run.facts),
        "trust": trust(run),
        "roof": roof_view(run),
        "method": method(run),
    }
