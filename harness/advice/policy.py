"""A site's policy: which rules decide whether a machine is admitted, with what thresholds.

A TOML file::

    fail_on = "high"            # optional: findings of this severity or above fail too
    [rules.affinity-score]
    least_score = 70            # a name of the rule's [limits]
    [rules.cpus-on-several-nodes]
    severity = "high"           # optional
    [rules.other-load]
    ignore = true               # the rule is left out

The rules it names decide; all others are shown as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.advice.finding import Report, Severity
from harness.advice.rules import Rule
from harness.decode import decode, decode_toml_file
from harness.errors import ExitCode, InputError, unknown

_SEVERITY, _IGNORE = "severity", "ignore"


@dataclass(frozen=True)
class _File:
    """The keys of a policy file."""

    rules: Mapping[str, Mapping[str, bool | int | float | str]] = field(default_factory=dict)
    fail_on: Severity | None = None


@dataclass(frozen=True)
class Policy:
    """The rules as the site has them; those of ``decides`` decide, and findings of ``fail_on`` or above."""

    rules: tuple[Rule, ...]
    decides: frozenset[str] = frozenset()
    fail_on: Severity | None = None


@dataclass(frozen=True)
class Judgement:
    """Which findings fail, and which deciding rules could not be checked or are for other machines; all by rule id."""

    failed: tuple[str, ...]
    undecided: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """1 when something fails, 2 when a deciding rule is open, else 0."""
        return ExitCode.judged(failed=bool(self.failed), inconclusive=bool(self.undecided))


def load_policy(path: Path, rules: Sequence[Rule]) -> Policy:
    """A policy file over ``rules``.

    Raises:
        InputError: not TOML, an unknown rule, key or severity, or nothing that decides; names file and key, and the
            likeliest name.
    """
    file = decode_toml_file(_File, path)
    if not file.rules and file.fail_on is None:
        raise InputError(
            f"{path}: no rule and no fail_on in there, so that it admits every machine.",
            remedy="Name a rule: [rules.affinity-score]. See: lparbench doctor --rules",
        )
    known = {rule.id: rule for rule in rules}
    ignored = set()
    for name, table in file.rules.items():
        if name not in known:
            raise unknown("rule", name, known, where=f"{path}: rules", see="`lparbench doctor --rules` lists them.")
        rule, where = known[name], f"{path}: rules.{name}"
        limits = dict(rule.limits)
        for key, value in table.items():
            if key == _SEVERITY:
                rule = replace(rule, severity=decode(Severity, value, f"{where}.{key}"), forced=True)
            elif key == _IGNORE:
                ignored |= {name} if decode(bool, value, f"{where}.{key}") else set()
            elif key in limits:
                limits[key] = decode(float, value, f"{where}.{key}")
            else:
                raise unknown("key", key, [*limits, _SEVERITY, _IGNORE], where=where)
        known[name] = replace(rule, limits=limits, policy=where)
    kept = tuple(rule for name, rule in known.items() if name not in ignored)
    return Policy(kept, frozenset(file.rules) - ignored, file.fail_on)


def judge(report: Report, policy: Policy, fail_on: Severity | None = None) -> Judgement:
    """Whether a machine passes.

    Args:
        report: of the policy's rules.
        policy: without deciding rules and without a severity, every finding fails that costs performance and is not of
            the moment.
        fail_on: instead of the policy's: findings of this severity or above fail, those of the moment too.
    """
    least = fail_on or policy.fail_on
    if policy.decides or least is not None:
        failed = [
            finding.id
            for finding in report.findings
            if finding.id in policy.decides or (least is not None and finding.severity.rank <= least.rank)
        ]
    else:
        failed = [finding.id for finding in report.findings if finding.costs_performance and not finding.momentary]
    undecided = (item.id for item in report.not_checked if item.id in policy.decides)
    elsewhere = (name for name in report.not_applicable if name in policy.decides)
    return Judgement(tuple(failed), tuple(undecided), tuple(elsewhere))
