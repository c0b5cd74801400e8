"""Comparisons and gates for CI systems: JUnit XML, Markdown, and the annotations of GitHub Actions."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from xml.etree import ElementTree

from harness.compare.compare import CompareReport
from harness.errors import LparbenchError, printable
from harness.gates.gate import GateReport, GateVerdict
from harness.measure.verdicts import CompareVerdict
from harness.record.files import write_output
from harness.record.store import encode
from harness.reporting.ci_format import CiFormat
from harness.reporting.comparison_terminal import gate_verdict
from harness.reporting.comparison_view import change_text, more_blocks_text, percent, view_of

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"  # the file that a step of GitHub Actions adds its summary to
_BREAKS = re.compile("[\t\n\r]")  # of lines and columns; each format has a way to keep them as text


class Outcome(str, Enum):
    """Of one result, as CI systems tell them apart."""

    PASSED = "passed"
    REGRESSED = "regressed"
    OPEN = "open"  # neither could be shown, or the result is missing


@dataclass(frozen=True)
class Case:
    """One result: its name, its outcome, and one sentence with the figures and the margin."""

    subject: str
    outcome: Outcome
    why: str


@dataclass(frozen=True)
class CiReport:
    """What a CI system is told; ``name`` of the command, ``verdict`` one sentence."""

    name: str
    verdict: str
    cases: tuple[Case, ...]


_GATE_OUTCOMES = {GateVerdict.PASSED: Outcome.PASSED, GateVerdict.REGRESSED: Outcome.REGRESSED}


def of_gate(report: GateReport) -> CiReport:
    """Every result of a gate."""
    cases = (
        Case(result.subject, _GATE_OUTCOMES.get(result.verdict, Outcome.OPEN), result.why) for result in report.results
    )
    return CiReport("lparbench gate", gate_verdict(report)[1], tuple(cases))


def of_comparison(report: CompareReport) -> CiReport:
    """Every time, accuracy metric and missing result of a comparison."""
    outcomes = {CompareVerdict.REGRESSED: Outcome.REGRESSED, CompareVerdict.INCONCLUSIVE: Outcome.OPEN}
    view = view_of(report)
    cases = []
    for time in report.times:
        note = more_blocks_text(time.comparison)
        figures = f"{' '.join(change_text(time.comparison))}, margin {percent(time.comparison.margin)}"
        why = f"{figures}; {note}" if note else figures
        cases.append(Case(f"{time.key}, {time.side}", outcomes.get(time.comparison.verdict, Outcome.PASSED), why))
    for metric, line in zip(report.accuracy, view.accuracy, strict=True):
        outcome = outcomes.get(metric.verdict, Outcome.PASSED)
        cases.append(Case(f"{line.metric}, {line.side}", outcome, f"{line.a} -> {line.b}, {line.change}"))
    cases += [Case(str(key), Outcome.OPEN, "the baseline has it and another side does not") for key in report.gone]
    return CiReport("lparbench compare", " ".join(view.sentences), tuple(cases))


def ci_text(report: CiReport, to: CiFormat) -> str:
    """The report in one of the formats, with its final newline."""
    match to:
        case CiFormat.JUNIT:
            return _junit(report)
        case CiFormat.MARKDOWN:
            return _markdown(report)
        case CiFormat.GITHUB:
            return _annotations(report)


def print_ci(report: CiReport, to: CiFormat) -> None:
    """Print the report; for GitHub also append the Markdown to the summary of the step, where there is one.

    Raises:
        LparbenchError: the file cannot be written.
    """
    sys.stdout.buffer.write(ci_text(report, to).encode("utf-8", "backslashreplace"))
    sys.stdout.flush()
    _add_summary(report, to)


def write_ci(report: CiReport, to: CiFormat, path: Path) -> None:
    """Write the report into a file; for GitHub also append to the summary of the step, as :func:`print_ci`.

    Raises:
        LparbenchError: one of them cannot be written.
    """
    write_output(path, encode(ci_text(report, to)))
    _add_summary(report, to)


def _add_summary(report: CiReport, to: CiFormat) -> None:
    if to is not CiFormat.GITHUB or not (summary := os.environ.get(STEP_SUMMARY)):
        return
    try:
        with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_markdown(report))
    except OSError as error:
        remedy = f"Unset {STEP_SUMMARY}, or make its folder writable."
        raise LparbenchError(f"{summary}: {error.strerror}.", remedy=remedy) from error


def _junit(report: CiReport) -> str:
    """A failure for what regressed, an error for what is open: either makes the job red, and the two stay distinct."""
    count = {outcome: sum(case.outcome is outcome for case in report.cases) for outcome in Outcome}
    suite = ElementTree.Element(
        "testsuite",
        name=report.name,
        tests=str(len(report.cases)),
        failures=str(count[Outcome.REGRESSED]),
        errors=str(count[Outcome.OPEN]),
    )
    for case in report.cases:
        element = ElementTree.SubElement(suite, "testcase", classname=report.name, name=_xml(case.subject))
        if case.outcome is not Outcome.PASSED:
            kind = "failure" if case.outcome is Outcome.REGRESSED else "error"
            ElementTree.SubElement(element, kind, type=case.outcome.value, message=_xml(case.why))
        else:
            ElementTree.SubElement(element, "system-out").text = _xml(case.why).replace("\r", "\n")
    ElementTree.SubElement(suite, "system-out").text = _xml(report.verdict).replace("\r", "\n")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Without what XML 1.0 cannot hold, and what would command the terminal that a log is read on."""
    kept = _BREAKS.finditer(text)
    return "".join(
        printable(part) + mark
        for part, mark in zip(_BREAKS.split(text), [*(each[0] for each in kept), ""], strict=True)
    )


def _markdown(report: CiReport) -> str:
    """What is not passed in a table, in full; what passed is counted."""
    open_or_worse = [case for case in report.cases if case.outcome is not Outcome.PASSED]
    lines = [f"### {markdown_cell(report.name)}", "", markdown_cell(report.verdict), ""]
    if open_or_worse:
        lines += ["| result | outcome | figures |", "|---|---|---|"]
        order = sorted(open_or_worse, key=lambda case: case.outcome is not Outcome.REGRESSED)
        lines += [
            f"| {markdown_cell(case.subject)} | {case.outcome.value} | {markdown_cell(case.why)} |" for case in order
        ]
        lines.append("")
    lines.append(f"{len(report.cases) - len(open_or_worse)} of {len(report.cases)} passed.")
    return "\n".join(lines) + "\n"


def markdown_cell(text: str) -> str:
    """Text that Markdown takes as text: no markup, no line breaks, no HTML."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~$@-])", r"\\\1", " ".join(_xml(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _annotations(report: CiReport) -> str:
    """An error for what regressed, a warning for what is open, and the verdict as a notice."""
    levels = {Outcome.REGRESSED: "error", Outcome.OPEN: "warning"}
    cases: Sequence[tuple[str, Case]] = [
        (levels[case.outcome], case) for case in report.cases if case.outcome is not Outcome.PASSED
    ]
    lines = [
        f"::{level} title={_property(f'{case.outcome.value}: {case.subject}')}::{_message(case.why)}"
        for level, case in cases
    ]
    return "\n".join([*lines, f"::notice title={_property(report.name)}::{_message(report.verdict)}"]) + "\n"


def _message(text: str) -> str:
    """Escaped as workflow commands want it. https://github.com/actions/toolkit, packages/core/src/command.ts"""
    return _xml(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
