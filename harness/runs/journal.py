"""What a run or a sweep has done: one line per finished piece of work, on the disk before the next one begins."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from harness.decode import decode, encode
from harness.errors import InputError, LparbenchError
from harness.parsing import parse_json
from harness.placement.model import Placement
from harness.record.codec import digest_of
from harness.record.spec import Protocol, Scenario
from harness.runs.design import DESIGN_FILE
from harness.workers.outcomes import JobResult

JOURNAL_FILE = "journal.jsonl"
T = TypeVar("T")


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
    """A workload was fitted under a protocol."""

    workload: str
    protocol: Protocol
    result: JobResult
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


@dataclass(frozen=True)
class _Line:
    """``link`` is the digest of the entry and of the link before; of the first, of the design."""

    entry: Entry
    link: str


class Journal:
    """The lines of one run or sweep; see :func:`open_journal`.

    Attributes:
        entries: everything noted so far, in order.
    """

    def __init__(self, file: BinaryIO, entries: list[Entry], link: str) -> None:
        self._file = file
        self._link = link
        self.entries = entries

    def note(self, entry: Entry) -> None:
        """Add a line; when this returns it survives whatever happens.

        Raises:
            LparbenchError: the disk refuses.
        """
        document = json.loads(json.dumps(encode(_Line(entry, "")), allow_nan=False))  # as it is read
        link = _linked(self._link, document["entry"])
        line = json.dumps({**document, "link": link}, ensure_ascii=False)
        try:
            self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise LparbenchError(
                f"{self._file.name}: cannot be written: {error.strerror}.",
                remedy="Free space there and continue with --resume; nothing noted so far is lost.",
            ) from error
        self._link = link
        self.entries.append(entry)

    def of(self, kind: type[T]) -> list[T]:
        """The entries of one type, in order."""
        return [entry for entry in self.entries if isinstance(entry, kind)]

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
    path = directory / JOURNAL_FILE
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{directory}: another lparbench is at work here.", remedy="Wait for it.") from error
        entries, length, link = _entries(path)
        file.truncate(length)
        yield Journal(file, entries, link)


def read_journal(directory: Path) -> list[Entry]:
    """The entries of a journal, without the right to add one.

    Raises:
        InputError: there is none, or a line is damaged.
    """
    try:
        return _entries(directory / JOURNAL_FILE)[0]
    except FileNotFoundError:
        raise InputError(
            f"{directory / JOURNAL_FILE}: no such file.",
            remedy="Give the directory of a sweep or of an unfinished run.",
        ) from None


def _linked(link: str, entry: object) -> str:
    return digest_of({"before": link, "entry": entry})


def _entries(path: Path) -> tuple[list[Entry], int, str]:
    """Whole lines, how many bytes they take, and the link of the last."""
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    entries: list[Entry] = []
    design = path.with_name(DESIGN_FILE)
    link = hashlib.sha256(design.read_bytes()).hexdigest() if design.exists() else ""
    slots: set[str] = set()
    for number, line in enumerate(whole.split(b"\n") if end else (), start=1):
        where = f"{path}: line {number}"
        try:
            document = parse_json(line.decode("utf-8"), where)
            decoded = decode(_Line, document, where)
            entry, link = decoded.entry, _linked(link, document["entry"])
        except UnicodeDecodeError:
            raise _damaged(where, "not UTF-8") from None
        except InputError as error:
            raise _damaged(where, error.message) from None
        if link != decoded.link:
            raise _damaged(where, f"it, a line before it, or {DESIGN_FILE} is not what was written")
        if isinstance(entry, Measurement):
            if entry.slot in slots:
                raise _damaged(where, f"slot {entry.slot} is there twice")
            slots.add(entry.slot)
        entries.append(entry)
    return entries, len(whole) + len(end), link


def _damaged(where: str, what: str) -> InputError:
    return InputError(f"{where} is damaged: {what}.", remedy="Restore the file, or start again.")
