"""What to change: the findings, and what was checked where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.advice.finding import Finding, Severity
from harness.record.model import Run
from harness.reporting.sections.status import WARN, Status
from harness.reporting.text import fact_text

_STATUS: Mapping[Severity, Status] = {
    Severity.HIGH: Status("High cost", WARN, "bad"),
    Severity.MEDIUM: Status("Medium cost", WARN, "warn"),
    Severity.LOW: Status("Low cost", "△", "warn"),
    Severity.INFO: Status("Note", "○", "note"),
}


@dataclass(frozen=True)
class FindingView:
    """A finding with its status and its evidence as text: path, value, where it was read."""

    finding: Finding
    status: Status
    evidence: tuple[tuple[str, str, str], ...]


def costly(run: Run) -> list[Finding]:
    """Findings that cost performance."""
    return [finding for finding in run.findings if finding.costs_performance]


def findings(run: Run) -> list[FindingView]:
    """All findings, the costliest first."""
    return [finding_view(finding) for finding in sorted(run.findings, key=_order)]


def _order(finding: Finding) -> tuple[float, int, str]:
    return -(finding.loss or 0.0), finding.severity.rank, finding.id


def finding_view(finding: Finding) -> FindingView:
    """A finding as a page shows it."""
    evidence = tuple((fact.path, fact_text(fact.path, fact.value), fact.source or "") for fact in finding.evidence)
    return FindingView(finding, _STATUS[finding.severity], evidence)
