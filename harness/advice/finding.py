"""What the rules have to say of one machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal


class Severity(str, Enum):
    """How much a finding matters. ``INFO`` costs no performance: it explains or warns of a misreading."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the most severe."""
        return list(Severity).index(self)


# Costs from which a finding is high and medium; below, it is low. They order findings and label them: one scale.
HIGH_LOSS, MEDIUM_LOSS = 0.3, 0.1

Does = Literal["look", "program", "change", "restart"]
DOES: tuple[Does, ...] = ("look", "program", "change", "restart")  # the safest first


def severity_of(loss: float) -> Severity:
    """The severity of a share of throughput lost."""
    return Severity.HIGH if loss >= HIGH_LOSS else Severity.MEDIUM if loss >= MEDIUM_LOSS else Severity.LOW


@dataclass(frozen=True)
class Action:
    """What a command does to the machine, and which way of correcting a finding it belongs to.

    Attributes:
        does: it only looks; concerns the program that it starts and nothing else; changes the machine now; or its
            change needs a restart, or is one.
        way: commands of one way are steps, in order; ways are alternatives, the safest first.
    """

    does: Does
    way: int


@dataclass(frozen=True)
class Evidence:
    """One fact that a finding rests on."""

    path: str  # "topology.smt.online"
    value: Any  # as JSON
    source: str | None  # where it was read: "lparcfg:shared_processor_mode"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and what to do about it."""

    id: str
    severity: Severity
    title: str
    evidence: tuple[Evidence, ...]
    why: str
    fix: tuple[str, ...]  # commands, each with a comment where it must run elsewhere than here or as root
    effect: str  # what it costs, in words
    source: str  # of the effect: a publication, a derivation, or "judgement"
    loss: float | None  # the same as the largest share of throughput lost, in [0, 1]; None: not known
    actions: tuple[Action, ...] = ()  # one for each command of ``fix``
    momentary: bool = False  # about this moment (other work is running), not about the machine's set-up

    @property
    def costs_performance(self) -> bool:
        """Whether the machine delivers less because of it."""
        return self.severity is not Severity.INFO


@dataclass(frozen=True)
class NotChecked:
    """A rule that could not be decided."""

    id: str
    missing: tuple[str, ...]  # the facts that were not known


@dataclass(frozen=True)
class Report:
    """The outcome of all rules on one machine.

    Attributes:
        findings: the most severe first, of these the costliest.
        checked: rules that were decided, those with findings included.
        not_checked: rules that rest on unknown facts.
        not_applicable: rules for other kinds of machines.
        problems: what could not be asked, one sentence each.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: tuple[NotChecked, ...]
    not_applicable: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def costs_performance(self) -> bool:
        """Whether any finding does."""
        return any(finding.costs_performance for finding in self.findings)
