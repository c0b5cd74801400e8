"""What a sweep has done: one line per finished piece of work, on the disk before the next one begins."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import InputError, LparbenchError

JOURNAL_FILE = "journal.jsonl"

Entry = Mapping[str, Any]


class Journal:
    """The lines of one sweep; see :func:`open_journal`.

    Attributes:
        entries: everything noted so far, in order.
    """

    def __init__(self, file: BinaryIO, entries: list[Entry]) -> None:
        self._file = file
        self.entries = entries

    def note(self, entry: Entry) -> None:
        """Add a line; when this returns it survives whatever happens.

        Raises:
            LparbenchError: the disk refuses.
        """
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        try:
            self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise LparbenchError(
                f"{self._file.name}: cannot be written: {error.strerror}.",
                remedy="Free space there and go on with --resume; nothing noted so far is lost.",
            ) from error
        self.entries.append(entry)

    def of_kind(self, kind: str) -> list[Entry]:
        """The entries of one kind, in order."""
        return [entry for entry in self.entries if entry["kind"] == kind]

    def done(self) -> set[str]:
        """Names of the slots that are finished, whether they were measured or failed."""
        return {entry["slot"] for entry in self.of_kind("slot")}


@contextmanager
def open_journal(directory: Path) -> Iterator[Journal]:
    """Open the journal of a sweep directory, alone, making it when it is not there.

    A last line without its end is what a killed process was about to write; it is cut off.

    Raises:
        InputError: another process is at work on this sweep, or a line in the middle is damaged.
    """
    path = directory / JOURNAL_FILE
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{directory}: another lparbench is at work on this sweep.") from error
        entries, length = _entries(path)
        file.truncate(length)
        yield Journal(file, entries)


def read_journal(directory: Path) -> list[Entry]:
    """The entries of a journal, without the right to add one.

    Raises:
        InputError: there is none, or a line is damaged.
    """
    try:
        return _entries(directory / JOURNAL_FILE)[0]
    except FileNotFoundError:
        raise InputError(f"{directory / JOURNAL_FILE}: no such file.", remedy="Give a sweep directory.") from None


def _entries(path: Path) -> tuple[list[Entry], int]:
    """Whole lines, and how many bytes they take."""
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    entries: list[Entry] = []
    slots: set[str] = set()
    for number, line in enumerate(whole.split(b"\n") if end else (), start=1):
        try:
            entry = json.loads(line)
            if entry["kind"] == "slot":
                if entry["slot"] in slots:
                    raise ValueError(f"slot {entry['slot']} is there twice")
                slots.add(entry["slot"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: line {number} is damaged: {error}.", remedy="Restore the file, or start a new sweep."
            ) from None
        entries.append(entry)
    return entries, len(whole) + len(end)
