"""What to change: the findings, and what was checked where there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.record.model import Run
from harness.reporting.sections.lookup import number_at, objects_at, text_at, texts_at
from harness.reporting.sections.status import WARN, Status
from harness.reporting.text import value_text

_STATUS = {
    "high": Status("High cost", WARN, "bad"),
    "medium": Status("Medium cost", WARN, "warn"),
    "low": Status("Low cost", "△", "warn"),
    "info": Status("Note", "○", "note"),
}
_RANK = list(_STATUS)


@dataclass(frozen=True)
class FindingView:
    """One finding, everything as text."""

    id: str
    status: Status
    title: str
    why: str
    effect: str
    source: str
    fix: tuple[str, ...]
    evidence: tuple[tuple[str, str, str], ...]  # path, value, where it was read


@dataclass(frozen=True)
class Checks:
    """Which rules were decided."""

    checked: tuple[str, ...]
    not_checked: tuple[tuple[str, str], ...]  # rule, facts it lacks
    not_applicable: tuple[str, ...]


def costly(run: Run) -> list[Mapping[str, Any]]:
    """Findings that cost performance."""
    return [finding for finding in run.findings if finding["severity"] != "info"]


def findings(run: Run) -> list[FindingView]:
    """All findings, the costliest first."""
    return [_view(finding) for finding in sorted(run.findings, key=_order)]


def checks(run: Run) -> Checks:
    """The rules behind the findings."""
    return Checks(
        checked=tuple(texts_at(run.checks, "checked")),
        not_checked=tuple(
            (str(item.get("id")), ", ".join(texts_at(item, "missing")))
            for item in objects_at(run.checks, "not_checked")
        ),
        not_applicable=tuple(texts_at(run.checks, "not_applicable")),
    )


def _order(finding: Mapping[str, Any]) -> tuple[float, int, str]:
    severity = finding["severity"]
    rank = _RANK.index(severity) if severity in _RANK else len(_RANK)
    return -(number_at(finding, "loss") or 0.0), rank, finding["id"]


def _view(finding: Mapping[str, Any]) -> FindingView:
    severity = str(finding["severity"])
    return FindingView(
        id=str(finding["id"]),
        status=_STATUS.get(severity, Status(severity, WARN, "warn")),
        title=str(finding["title"]),
        why=text_at(finding, "why") or "",
        effect=text_at(finding, "effect") or "",
        source=text_at(finding, "source") or "",
        fix=tuple(finding.get("fix") or ()),
        evidence=tuple(
            (item["path"], value_text(item["value"]), text_at(item, "source") or "")
            for item in finding.get("evidence", ())
        ),
    )
