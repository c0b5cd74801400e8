"""What to change: the findings, and what was checked where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.advice.finding import Does, Finding, Severity
from harness.record.model import Run
from harness.reporting.sections.status import WARN, Status
from harness.reporting.text import fact_text, percent

_STATUS: Mapping[Severity, Status] = {
    Severity.HIGH: Status("High cost", WARN, "bad"),
    Severity.MEDIUM: Status("Medium cost", WARN, "warn"),
    Severity.LOW: Status("Low cost", "△", "warn"),
    Severity.INFO: Status("Note", "○", "note"),
}

_DOES: Mapping[Does, str] = {
    "look": "look, which changes nothing",
    "program": "for one program, which changes nothing else",
    "change": "change now",
    "restart": "needs a restart",
}


@dataclass(frozen=True)
class FindingView:
    """A finding as a page or a terminal shows it.

    Attributes:
        finding: what it is of.
        status: its severity.
        effect: what it costs, with the largest share where one is known.
        evidence: path, value and where it was read, as text.
        ways: what each command does, and the command.
    """

    finding: Finding
    status: Status
    effect: str
    evidence: tuple[tuple[str, str, str], ...]
    ways: tuple[tuple[str, str], ...]


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
    return FindingView(finding, _STATUS[finding.severity], effect_of(finding), evidence, tuple(ways(finding)))


def effect_of(finding: Finding) -> str:
    """``up to 75 %: this share of the processors is not guaranteed``.

    Of the moment no share is said, the effect has it; nor all of it, which says nothing.
    """
    share = "" if finding.momentary or not finding.loss or finding.loss >= 1 else f"up to {percent(finding.loss, 2)}"
    return f"{share}: {finding.effect}" if share and finding.effect else share or finding.effect


def ways(finding: Finding) -> Iterator[tuple[str, str]]:
    """The commands of a finding, each below what it does: alternatives by "either" and "or", steps by number.

    A record may not say what its commands do: then nothing is said of them.
    """
    if not finding.actions:
        yield from (("", command) for command in finding.fix)
        return
    amount = len({action.way for action in finding.actions})
    for index, (command, action) in enumerate(zip(finding.fix, finding.actions, strict=True)):
        steps = [position for position, each in enumerate(finding.actions) if each.way == action.way]
        does, first = _DOES[action.does], steps[0] == index
        way = "" if amount < 2 or not first else "or, " if index else "either, "
        if len(steps) > 1:
            does = f"{'in this order, ' if first else ''}{steps.index(index) + 1}. {does}"
        yield f"{way}{does}", command
