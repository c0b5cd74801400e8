"""The findings of ``lparbench doctor`` for a terminal, a pipe or a ticket."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from harness.advice.finding import Evidence, Finding, Report, Severity
from harness.advice.policy import Judgement, Policy
from harness.errors import printable
from harness.platform.facts import Facts
from harness.reporting.listing import listing
from harness.reporting.sections.findings import effect_of, ways
from harness.reporting.text import fact_text, number
from harness.wording import plural

_INDENT = " " * 4
_MAX_WIDTH = 110
_SHOWN_ITEMS = 12
_COLOURS = {"high": typer.colors.RED, "medium": typer.colors.YELLOW, "low": typer.colors.CYAN, "info": None}


def verdict(report: Report) -> str:
    """One sentence: whether anything costs performance, and how far the checks reach."""
    costly = [finding for finding in report.findings if finding.costs_performance and not finding.momentary]
    passing = [finding.title for finding in report.findings if finding.momentary]
    reach = f"{len(report.checked)} rules checked"
    if report.not_checked:
        reach += f", {len(report.not_checked)} could not be"
    if not costly and passing:
        return f"Nothing lasting was found that costs performance; for the moment: {'; '.join(passing)} ({reach})."
    if not costly:
        return f"Nothing was found that costs performance ({reach})."
    counts = Counter(finding.severity for finding in costly)
    levels = ", ".join(f"{counts[severity]} {severity.value}" for severity in Severity if counts[severity])
    things = "finding costs" if len(costly) == 1 else "findings cost"
    return f"{len(costly)} {things} performance: {levels} ({reach})."


def print_report(
    facts: Facts, report: Report, judgement: Judgement, policy: Path | None = None, *, verbose: bool = False
) -> None:
    """Write the report to standard output; wrapped to the terminal, commands on lines of their own, never wrapped.

    ``verbose`` lists the rules without a finding as well, instead of counting them.
    """
    width = min(_MAX_WIDTH, shutil.get_terminal_size((100, 24)).columns) if sys.stdout.isatty() else 100
    for text, bold in ((machine_line(facts), False), (verdict(report), True)):
        for line in textwrap.wrap(text, width) if sys.stdout.isatty() else [text]:
            typer.secho(printable(line), bold=bold)
    for line in () if policy is None else _judged(policy, report, judgement, width):
        typer.secho(printable(line), bold=True)
    for position, finding in enumerate(report.findings, start=1):
        typer.echo()
        label = finding.severity.value
        typer.secho(f"{position}. [{label}] {printable(finding.title)}", fg=_COLOURS[label], bold=True)
        for line in _body(finding, width):
            typer.echo(printable(line))
    typer.echo()
    for line in _reach(report, width) if verbose else _summary(report, width):
        typer.echo(printable(line))


def machine_line(facts: Facts) -> str:
    """What was looked at, in one line; nothing that is not known."""
    lpar, cpu, topology = facts.lpar, facts.cpu, facts.topology
    mode = "" if cpu.generation_mode in (None, cpu.generation_hw) else f" in {cpu.generation_mode} mode"
    parts = [
        f"LPAR {lpar.partition_name}" if lpar.partition_name else None,
        facts.machine.name or facts.machine.mtm,
        f"{cpu.generation_hw}{mode}" if cpu.generation_hw else cpu.model_name or cpu.architecture,
        facts.kernel.hypervisor,
        lpar.mode,
        plural(len(topology.cores), "core") if topology.cores else None,
        plural(len(topology.cpus_online), "CPU") if topology.cpus_online else None,
        "mixed SMT" if topology.smt.mixed else f"SMT {topology.smt.online}" if topology.smt.online else None,
        plural(len(topology.nodes), "NUMA node") if topology.nodes else None,
        f"{number(facts.memory.total_bytes / 2**30)} GiB" if facts.memory.total_bytes else None,
    ]
    return ", ".join(part for part in parts if part) or f"nothing is known of {facts.sysroot}"


def _body(finding: Finding, width: int) -> Iterator[str]:
    for evidence in finding.evidence:
        yield from _wrapped("found", _shown(evidence), width)
    yield from _wrapped("why", finding.why, width)
    yield from _wrapped("costs", f"{effect_of(finding)} ({finding.source})", width)
    for position, (heading, command) in enumerate(ways(finding)):
        if heading:
            yield f"{_INDENT}{'' if position else 'fix':6}{heading}:"
        yield f"{_INDENT}{'' if position or heading else 'fix':6}$ {command}"


def _summary(report: Report, width: int) -> Iterator[str]:
    """One line on the rules without a finding; and what was not answered."""
    for problem in report.problems:
        yield from _listed("Not answered", problem, width)
    passed = len(report.checked) - len({finding.id for finding in report.findings})
    counts = [f"{passed} passed"]
    if report.not_checked:
        counts.append(f"{len(report.not_checked)} not checked for want of facts")
    if report.not_applicable:
        counts.append(f"{len(report.not_applicable)} for other machines")
    yield from _listed("Other rules", f"{', '.join(counts)}. --verbose lists them.", width)


def _reach(report: Report, width: int) -> Iterator[str]:
    for problem in report.problems:
        yield from _listed("Not answered", problem, width)
    broken = {finding.id for finding in report.findings}
    clean = [rule for rule in report.checked if rule not in broken]
    if clean:
        yield from _listed("Passed", ", ".join(clean), width)
    for item in report.not_checked:
        yield from _listed("Not checked", f"{item.id} (not known: {', '.join(item.missing)})", width)
    if report.not_applicable:
        yield from _listed("For other machines", ", ".join(report.not_applicable), width)


def _wrapped(label: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        width,
        initial_indent=f"{_INDENT}{label:6}",
        subsequent_indent=_INDENT + " " * 6,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _listed(label: str, text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        f"{label}: {text}", width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )


def _shown(evidence: Evidence) -> str:
    path, value = evidence.path, evidence.value
    plain = value is None or isinstance(value, bool) or not isinstance(value, int | float)
    value = "not known" if value is None else _value(value) if plain else fact_text(path, value)
    return f"{evidence.path} = {value}" + (f"  [{evidence.source}]" if evidence.source else "")


def _value(value: Any) -> str:
    if isinstance(value, list):
        shown = [_value(item) for item in value[:_SHOWN_ITEMS]]
        return ", ".join(shown) + (f", ... ({len(value)} in all)" if len(value) > _SHOWN_ITEMS else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(item)}" for key, item in list(value.items())[:_SHOWN_ITEMS])
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _judged(policy: Path, report: Report, judgement: Judgement, width: int) -> Iterator[str]:
    missing = {item.id: ", ".join(item.missing) for item in report.not_checked}
    if judgement.failed:
        yield from _listed(f"Policy {policy}: not met", ", ".join(judgement.failed), width)
    elif not judgement.undecided:
        yield f"Policy {policy}: met"
    for name in judgement.undecided:
        yield from _listed(f"Policy {policy}: cannot be decided", f"{name} (not known: {missing[name]})", width)
    if judgement.not_applicable:
        yield from _listed("The policy's rules for other machines", ", ".join(judgement.not_applicable), width)


@dataclass(frozen=True)
class RuleEntry:
    """A rule as a list shows it; ``when`` is its condition over facts and ``limits``."""

    id: str
    severity: Severity
    limits: Mapping[str, float]
    when: str


def rule_entries(policy: Policy) -> tuple[RuleEntry, ...]:
    """Every rule, with the thresholds and severities of the policy."""
    return tuple(RuleEntry(rule.id, rule.severity, rule.limits, rule.when.text) for rule in policy.rules)


def rules_text(entries: Sequence[RuleEntry], width: int | None) -> str:
    """The same as a list."""
    rows = []
    for rule in entries:
        limits = ", ".join(f"{name} = {value:g}" for name, value in rule.limits.items())
        rows.append((rule.id, rule.severity.value, limits, rule.when))
    return listing(("rule", "severity", "thresholds", "finding where"), rows, width)
