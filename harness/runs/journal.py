"""What a run or a sweep has done: one line per finished piece of work, on the disk before the next one begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import InputError
from harness.placement.model import Placement
from harness.record import journal as record_journal
from harness.record.journal import JOURNAL_FILE
from harness.record.spec import Protocol, Scenario, TrainingDtype
from harness.runs.design import DESIGN_FILE
from harness.workers.outcomes import JobResult


@dataclass(frozen=True)
class SessionEntry:
    """A session of the work began."""

    at: str  # ISO 8601, UTC
    kind: Literal["session"] = "session"


@dataclass(frozen=True)
class SurveyEntry:
    """What the survey of the timing loop and the software gave."""

    result: JobResult
    kind: Literal["survey"] = "survey"


@dataclass(frozen=True)
class FitEntry:
    """A workload was fitted under a protocol, with products in a format."""

    workload: str
    protocol: Protocol
    result: JobResult
    dtype: TrainingDtype = "float32"
    kind: Literal["fit"] = "fit"


@dataclass(frozen=True)
class BaselineEntry:
    """The baseline detectors were fitted; ``key`` is equal for workloads that share them."""

    key: str
    result: JobResult
    kind: Literal["baseline"] = "baseline"


@dataclass(frozen=True)
class Measurement:
    """One slot was measured.

    Attributes:
        configuration: index into the configurations.
        placements: one per process; empty where it could not be placed.
        mismatches: how processes ran elsewhere than they were placed.
        disagreement: how the scores differ from the detector's own.
        clock: how the clock that timed disagrees with the kernel's.
    """

    slot: str
    at: str
    block: int
    order: int
    configuration: int
    scenarios: tuple[Scenario, ...]
    seed: int
    placements: tuple[Placement, ...]
    result: JobResult
    mismatches: tuple[str, ...] = ()
    disagreement: str | None = None
    clock: str | None = None
    kind: Literal["measurement"] = "measurement"


Entry = SessionEntry | SurveyEntry | FitEntry | BaselineEntry | Measurement


class Journal(record_journal.Journal[Entry]):
    """The lines of one run or sweep; see :func:`open_journal`."""

    def spent_s(self) -> float:
        """Time that the work noted so far took, which a budget of the whole has to count."""
        return sum(entry.result.wall_s for entry in self.entries if not isinstance(entry, SessionEntry))

    def done(self) -> set[str]:
        """Names of the slots that are finished, whether they were measured or failed."""
        return {measurement.slot for measurement in self.of(Measurement)}


@contextmanager
def open_journal(directory: Path) -> Iterator[Journal]:
    """Open the journal of a directory, alone, making it when it is not there.

    A last line without its end is what a killed process was about to write; it is cut off.

    Raises:
        InputError: another process is at work there, or a line in the middle is damaged.
    """
    with record_journal.locked_journal(directory, Entry, DESIGN_FILE) as (file, entries, link):
        yield Journal(file, _checked(directory, entries), link)


def read_journal(directory: Path) -> list[Entry]:
    """The entries of a journal, without the right to add one.

    Raises:
        InputError: there is none, or a line is damaged.
    """
    try:
        return _checked(directory, record_journal.journal_entries(directory, Entry, DESIGN_FILE))
    except FileNotFoundError:
        raise InputError(
            f"{directory / JOURNAL_FILE}: no such file.",
            remedy="Give the directory of a sweep or of an unfinished run.",
        ) from None


def _checked(directory: Path, entries: list[Entry]) -> list[Entry]:
    """The entries, in which no slot is measured twice."""
    slots: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, Measurement):
            if entry.slot in slots:
                where = f"{directory / JOURNAL_FILE}: line {number}"
                raise record_journal.damaged(where, f"slot {entry.slot} is there twice")
            slots.add(entry.slot)
    return entries
