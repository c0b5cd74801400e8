"""Verdicts as a word and a shape, so that no colour is needed to tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.record.model import Result, Verdict
from harness.reporting.sections.figures import shortfall_of


@dataclass(frozen=True)
class Status:
    """A word, a shape, and the kind ("good", "warn", "bad") a style sheet may colour by."""

    word: str
    shape: str
    kind: str


GOOD, WARN, BAD = "✔", "▲", "✖"

_OF_VERDICT = {
    Verdict.VALID: Status("Valid", GOOD, "good"),
    Verdict.INVALID: Status("Invalid", BAD, "bad"),
    Verdict.NO_STEADY_STATE: Status("No steady state", BAD, "bad"),
    Verdict.TIMINGS_REFUSED: Status("Timings refused", WARN, "warn"),
    Verdict.FAILED: Status("Failed", BAD, "bad"),
}
DISTURBED = Status("Valid, disturbed", WARN, "warn")


def status_of(verdict: Verdict) -> Status:
    """The status of one result."""
    return _OF_VERDICT[verdict]


def status_of_result(result: Result) -> Status:
    """The status of one result; a valid one that delivered much less than its undisturbed rate says so."""
    return DISTURBED if is_valid(result) and shortfall_of(result) is not None else status_of(result.validity.verdict)


def status_of_run(results: Sequence[Result]) -> Status:
    """The status of all results together."""
    verdicts = [result.validity.verdict for result in results]
    if not verdicts:
        return Status("No result", BAD, "bad")
    if len(set(verdicts)) == 1:
        statuses = [status_of_result(result) for result in results]
        return next((status for status in statuses if status is DISTURBED), statuses[0])
    if Verdict.VALID in verdicts:
        return Status("Valid in part", WARN, "warn")
    return Status("Invalid", BAD, "bad")


def is_valid(result: Result) -> bool:
    """Whether the figures of a result may be used."""
    return result.validity.verdict is Verdict.VALID


def has_times(result: Result) -> bool:
    """Whether times may be printed at all: not under emulation, and not when nothing finished."""
    return result.validity.verdict not in (Verdict.TIMINGS_REFUSED, Verdict.FAILED)
