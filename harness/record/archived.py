"""Records in archives where a command takes run directories: ``team.sqlite#20261103T080000Z-1a2b``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import InputError, LparbenchError
from harness.record.archive import Query, is_archive, opened
from harness.scratch import scratch
from harness.wording import plural

MARK = "#"
_URL = re.compile(r"([a-z][a-z0-9+]*):/(?!/)")  # as a path has it, whose double slashes are one
_NAMED = 3  # records that an error names


@contextmanager
def archived(paths: Sequence[Path], *, whole: bool = False) -> Iterator[list[Path]]:
    """The paths, in which ``ARCHIVE#RECORD`` is the directory of that record, there for the time being.

    Errors that are raised meanwhile name what was given.

    Args:
        paths: files, directories, and records of archives, by their name or the beginning of their digest.
        whole: an archive without a record stays what it is, for those who read all of it.

    Raises:
        InputError: an archive is given without a record, or has no such record or several.
    """
    with scratch("archived") as folder:
        written = [
            path if whole and is_archive(path) else _written(path, folder / str(at) / _shown(path))
            for at, path in enumerate(paths)
        ]
        try:
            yield written
        except LparbenchError as error:  # by the names that the user knows
            names = [(str(place), str(path)) for place, path in zip(written, paths, strict=True) if place != path]
            raise type(error)(
                _renamed(error.message, names), remedy=_renamed(error.remedy or "", names) or None
            ) from None


def _shown(path: Path) -> str:
    """Name of a directory that a record's name is distinguished by; none of a URL, which may hold a password."""
    return "archive" if ":" in str(path) else path.name.partition(MARK)[0] or "archive"


def _renamed(text: str, names: Sequence[tuple[str, str]]) -> str:
    for own, given in names:
        text = text.replace(own, given)
    return text


def _written(path: Path, folder: Path) -> Path:
    place, mark, name = str(path).rpartition(MARK)
    if path.exists() or not mark:
        if is_archive(path):
            raise _without_name(path)
        return path
    if not name and is_archive(Path(place)):
        raise _without_name(Path(place))
    with opened(_URL.sub(r"\1://", place, count=1)) as archive:
        if not name:  # the beginning of every digest
            raise InputError(f"{path}: no record is named.", remedy="Name it: ARCHIVE#RECORD")
        entries = archive.entries(Query(ids=(name,)))
        if len(entries) != 1:
            several = ", ".join(entry.digest for entry in entries[:_NAMED])
            message = (
                f"{len(entries)} records are called {name}: {several}" if entries else f"no record {name} in there"
            )
            raise InputError(f"{path}: {message}.", remedy=f"See: lparbench archive query {place}")
        return archive.write(entries, folder)[0]


def _without_name(path: Path) -> InputError:
    with opened(str(path)) as archive:
        entries = archive.entries(Query())
    newest = ", ".join(f"{path}{MARK}{entry.id}" for entry in reversed(entries[-_NAMED:]))
    return InputError(
        f"{path}: an archive of {plural(len(entries), 'record')}, of which one is wanted.", remedy=f"Name it: {newest}"
    )
