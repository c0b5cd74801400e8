"""Files that appear whole or not at all, and outputs that destroy nothing that is there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from harness.errors import InputError, LparbenchError
from harness.scratch import aside

STANDARD_OUTPUT = Path("-")
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What a run, a sweep, a sizing, a load test or a fleet keeps in its directory and is read again from.
_RECORDS = re.compile(r"(run|sweep|size|load|fleet|design|request)\.json|journal\.jsonl")
_NOT_THE_USER = DISK_FULL | {errno.EIO, errno.EPIPE, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
_OTHER = "Choose another path, or make room."
_PROBED = 4096  # bytes that a disk with room takes


def unwritable(place: Path | str, error: OSError, remedy: str) -> LparbenchError:
    """The error for a ``place`` that cannot be written: the system's where its disk is full, else the user's choice."""
    words = f"{place}: cannot be written: {error.strerror or error}."
    return LparbenchError(words, remedy=remedy) if error.errno in _NOT_THE_USER else InputError(words, remedy=remedy)


def is_standard_output(path: Path) -> bool:
    """Whether a path names standard output: ``-``, or a name of its own, such as ``/dev/stdout``."""
    if path == STANDARD_OUTPUT:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def check_output(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Refuse at once what `write_output` would refuse when the work is done; nothing is made, nothing is left.

    Raises:
        InputError: it is one of the inputs.
        LparbenchError: the disk or its permissions refuse.
    """
    if is_standard_output(path):
        return
    _refuse_inputs(path, inputs)
    made = _missing(path)
    try:
        _make_folder(path.parent)
        target, before = _target(path)
        if before is None or not _stays(target, before):
            with aside(target) as probe:
                probe.write_bytes(bytes(_PROBED))
    except OSError as error:
        raise unwritable(path, error, _OTHER) from None
    finally:
        _unmake(made)


def write_output(path: Path, content: bytes, *, inputs: Iterable[Path] = ()) -> None:
    """Write what a command was asked to write; see :func:`whole_output`."""
    with whole_output(path, inputs=inputs) as sink:
        sink.write(content)


@contextlib.contextmanager
def whole_output(path: Path, *, inputs: Iterable[Path] = ()) -> Iterator[BinaryIO]:
    """A sink for what a command was asked to write: standard output, or a file as of :func:`whole_file`.

    Args:
        path: ``-`` is standard output.
        inputs: files that were read, which are not overwritten, nor are records in the directories among them.

    Raises:
        InputError: it is one of the inputs.
        LparbenchError: the disk or its permissions refuse.
    """
    if is_standard_output(path):
        yield sys.stdout.buffer
        return
    _refuse_inputs(path, inputs)
    with whole_file(path) as sink:
        yield sink


def _refuse_inputs(path: Path, inputs: Iterable[Path]) -> None:
    for source in inputs:
        with contextlib.suppress(OSError):
            if _was_read(path, Path(str(source).partition("#")[0])):  # a record of an archive is ARCHIVE#RECORD
                raise InputError(f"{path}: this was read, and would be lost.", remedy="Choose another output.")


def _was_read(path: Path, source: Path) -> bool:
    """Whether a file is the source, or a record or a journal in it."""
    if stat.S_ISREG(source.stat().st_mode):
        return source.samefile(path)
    if not path.is_file():
        return False
    target = path.resolve()
    return bool(_RECORDS.fullmatch(target.name)) and target.is_relative_to(source.resolve())


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file whole; see :func:`whole_file`."""
    with whole_file(path, durable=durable) as sink:
        sink.write(content)


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A sink whose content replaces a file whole when the block ends: a reader sees the old content or the new one.

    A symbolic link is followed, and a file keeps its mode and its owner. What is there and is no file, such as a pipe
    or a device, is written to and not replaced; so is a file of which another name or owner would be lost.

    Args:
        path: the file; folders that are missing are made.
        durable: also outlives a power failure; without it, nothing waits for the disk.

    Raises:
        LparbenchError: the disk or its permissions refuse; nothing is left behind.
    """
    made = _missing(path)
    try:
        _make_folder(path.parent)
        target, before = _target(path)
        if before is not None and _stays(target, before):
            with target.open("wb") as sink:
                yield sink
            return
        with aside(target) as hidden:
            with hidden.open("wb") as sink:
                if before is not None:
                    _take_over(sink, before)
                yield sink
                sink.flush()
                if durable:
                    os.fsync(sink.fileno())
            hidden.replace(target)
        made.clear()
        if durable:
            sync_directory(target.parent)
    except OSError as error:
        raise unwritable(path, error, _OTHER) from error
    finally:
        _unmake(made)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def sync_directory(path: Path) -> None:
    """Wait until the disk has what a directory lists."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _missing(path: Path) -> list[Path]:
    """Folders that a file lacks, the innermost first."""
    return [folder for folder in path.parents if not folder.exists()]


def _unmake(made: Iterable[Path]) -> None:
    """Remove the folders among them that are empty."""
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """Where a path leads, and what is there.

    Raises:
        OSError: it cannot be written.
    """
    target = _followed(path)
    before = target.stat() if target.exists() else None
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return target, before


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # what is there is no folder
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _followed(path: Path) -> Path:
    """Where a chain of links ends, also where nothing is there yet; a name of an open descriptor stays as it is."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target if not path.exists() or (target.exists() and target.samefile(path)) else path


def _stays(target: Path, before: os.stat_result) -> bool:
    """Whether what is there cannot be replaced without losing something."""
    if not stat.S_ISREG(before.st_mode) or before.st_nlink > 1 or not os.access(target.parent, os.W_OK):
        return True
    mine = os.geteuid()
    return mine not in (0, before.st_uid) or (mine != 0 and before.st_gid not in (os.getegid(), *os.getgroups()))


def _take_over(sink: BinaryIO, before: os.stat_result) -> None:
    """Mode and owner of the file that is about to be replaced."""
    handle = sink.fileno()
    now = os.fstat(handle)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        os.chown(handle, before.st_uid, before.st_gid)
    os.fchmod(handle, stat.S_IMODE(before.st_mode))
