"""Journals: what a command has done, one JSON line per finished piece of work, each on the disk before the next begins.

Every line holds the digest of its entry and of the line before, so that a line that was changed or lost is seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from harness.decode import decode, encode
from harness.errors import InputError, LparbenchError
from harness.parsing import parse_json
from harness.record.codec import digest_of

JOURNAL_FILE = "journal.jsonl"
UNFINISHED = ".unfinished"  # ending of the directory of a run that is under way
_MOST_BYTES = 1 << 30
E = TypeVar("E")
T = TypeVar("T")


@dataclass(frozen=True)
class _Line:
    """``link`` is the digest of the entry and of the link before; of the first, of the file that the journal is of."""

    entry: Any
    link: str


class Journal(Generic[E]):
    """The lines of one piece of work; see :func:`locked_journal`.

    Attributes:
        entries: everything noted so far, in order.
    """

    def __init__(self, file: BinaryIO, entries: list[E], link: str) -> None:
        self._file = file
        self._link = link
        self.entries = entries

    def note(self, entry: E) -> None:
        """Add a line; when this returns it survives whatever happens.

        Raises:
            LparbenchError: the disk refuses.
        """
        document = json.loads(json.dumps(encode(_Line(encode(entry), "")), allow_nan=False))  # as it is read
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


@contextmanager
def locked_journal(directory: Path, hint: Any, head: str) -> Iterator[tuple[BinaryIO, list[Any], str]]:
    """File, entries and last link of a directory's journal, held alone; made when it is not there.

    A last line without its end is what a killed process was about to write; it is cut off.

    Args:
        hint: type of the entries.
        head: name of the file that the journal is of.

    Raises:
        InputError: another process is at work there, or a line in the middle is damaged.
    """
    path = directory / JOURNAL_FILE
    _check_file(path)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{directory}: another lparbench is at work here.", remedy="Wait for it.") from error
        entries, length, link = _entries(path, hint, head)
        file.truncate(length)
        yield file, entries, link


def journal_entries(directory: Path, hint: Any, head: str) -> list[Any]:
    """The entries of a journal, without the right to add one.

    Raises:
        InputError: a line is damaged.
        FileNotFoundError: there is none.
    """
    return _entries(directory / JOURNAL_FILE, hint, head)[0]


def _check_file(path: Path) -> None:
    """A pipe would be waited for, and cannot be cut.

    Raises:
        InputError: what is there is no file.
    """
    if path.exists() and not path.is_file():
        raise damaged(str(path), "it is no file")


def damaged(where: str, what: str) -> InputError:
    """The error for a line that is not what was written."""
    return InputError(f"{where} is damaged: {what}.", remedy="Restore the file, or start again.")


def _linked(link: str, entry: object) -> str:
    return digest_of({"before": link, "entry": entry})


def _entries(path: Path, hint: Any, head: str) -> tuple[list[Any], int, str]:
    """Whole lines, how many bytes they take, and the link of the last."""
    _check_file(path)
    if path.stat().st_size > _MOST_BYTES:
        raise damaged(str(path), f"it has more than {_MOST_BYTES >> 20} MiB")
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    entries: list[Any] = []
    first = path.with_name(head)
    link = hashlib.sha256(first.read_bytes()).hexdigest() if first.exists() else ""
    for number, line in enumerate(whole.split(b"\n") if end else (), start=1):
        where = f"{path}: line {number}"
        try:
            document = parse_json(line.decode("utf-8"), where)
            decoded = decode(_Line, document, where)
            entry, link = decode(hint, decoded.entry, f"{where}: entry"), _linked(link, decoded.entry)
        except UnicodeDecodeError:
            raise damaged(where, "not UTF-8") from None
        except InputError as error:
            raise damaged(where, error.message) from None
        if link != decoded.link:
            raise damaged(where, f"it, a line before it, or {head} is not what was written")
        entries.append(entry)
    return entries, len(whole) + len(end), link
