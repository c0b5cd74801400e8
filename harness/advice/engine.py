"""Rules over facts, giving findings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from harness.advice.finding import DOES, Action, Does, Evidence, Finding, NotChecked, Report, severity_of
from harness.advice.logic import Unknown
from harness.advice.rules import BY_POLICY, Rule, WorkloadNeeds, shipped_rules
from harness.decode import encode
from harness.platform.facts import Facts
from harness.platform.hmc import HmcFacts
from harness.platform.usable import usable

_NO_HMC = HmcFacts()
_NO_NEEDS = WorkloadNeeds()


def evaluate(
    facts: Facts,
    *,
    rules: Sequence[Rule] | None = None,
    hmc: HmcFacts = _NO_HMC,
    workload: WorkloadNeeds = _NO_NEEDS,
) -> Report:
    """Decide every rule on one machine.

    Args:
        facts: what is known of the machine. A rule that needs an unknown fact is not checked; it never gives a finding.
            Rules judge what the process may use; a stored tree that does not tell its limits is judged as a whole.
        rules: ``None``: those that come with the package.
        hmc: what the management console says. A ``managed_system`` given here appears in the commands, so leave it out
            of records that are passed on.
        workload: what the work at hand needs.
    """
    names = {item.name: getattr(facts, item.name) for item in fields(facts)}
    names.update(hmc=hmc, workload=workload, usable=usable(facts.topology, facts.limits))
    findings: list[Finding] = []
    checked: list[str] = []
    not_checked: list[NotChecked] = []
    not_applicable: list[str] = []
    for rule in shipped_rules() if rules is None else rules:
        local: dict[str, Any] = {**names, **rule.limits, BY_POLICY: rule.policy is not None}
        for name, expression in rule.lets:
            local[name] = expression.evaluate(local)
        applies = True if rule.applies is None else rule.applies.evaluate(local)
        if applies is False:
            not_applicable.append(rule.id)
            continue
        outcome = applies if isinstance(applies, Unknown) else rule.when.evaluate(local)
        if isinstance(outcome, Unknown) or outcome is None:
            missing = outcome.missing if isinstance(outcome, Unknown) else frozenset({rule.when.text})
            not_checked.append(NotChecked(rule.id, tuple(sorted(missing))))
            continue
        checked.append(rule.id)
        if outcome:
            findings.append(_finding(rule, local))
    findings.sort(key=lambda finding: (finding.severity.rank, -(finding.loss or 0.0), finding.id))
    return Report(tuple(findings), tuple(checked), tuple(not_checked), tuple(not_applicable), hmc.problems)


def _finding(rule: Rule, names: Mapping[str, Any]) -> Finding:
    value = rule.loss.evaluate(names) if rule.loss is not None else None
    loss = None if value is None or isinstance(value, Unknown) else min(1.0, max(0.0, float(value)))
    commands = _commands(rule, names)
    asked = rule.limits if rule.policy is not None else {}
    return Finding(
        id=rule.id,
        severity=rule.severity if rule.forced or loss is None else severity_of(loss),
        title=rule.title.fill(names),
        evidence=tuple(
            Evidence(shown.path, encode(shown_value), _source(shown.path, names))
            for shown in rule.evidence
            if not isinstance(shown_value := shown.value.evaluate(names), Unknown)
        )
        + tuple(Evidence(f"policy.{name}", value, rule.policy) for name, value in asked.items()),
        why=rule.why.fill(names),
        fix=tuple(line for line, _ in commands),
        actions=tuple(action for _, action in commands),
        effect=rule.effect.fill(names),
        source=rule.source,
        loss=loss,
        momentary=rule.momentary,
    )


def _commands(rule: Rule, names: Mapping[str, Any]) -> list[tuple[str, Action]]:
    """Command lines with what they do; the ways in order of what the worst of their steps does."""
    ways: list[list[tuple[str, Does]]] = []
    for command in rule.fix:
        if not command.then:
            ways.append([])
        wanted = command.when is None or command.when.evaluate(names) is True
        if wanted and (line := command.fill(names)) is not None:
            ways[-1].append((line, command.does))
    safest = sorted(filter(None, ways), key=lambda way: max(DOES.index(does) for _, does in way))
    return [(line, Action(does, number)) for number, way in enumerate(safest) for line, does in way]


def _source(path: str, names: Mapping[str, Any]) -> str | None:
    """Where a fact was read: what its group says of the longest part of the path it knows."""
    group, *parts = re.sub(r"\['([^']*)'\]", r".\1", path).split(".")
    sources: Mapping[str, str] = getattr(names.get(group), "sources", {})
    for length in range(len(parts), 0, -1):
        source = sources.get(".".join(parts[:length]))
        if source is not None:
            return source
    return None
