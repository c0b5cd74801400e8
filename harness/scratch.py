"""Directories and files for the time being. Whoever makes one holds a lock on it, which the kernel takes away with the
process; so what a killed process left is known from what a living one needs, and goes when the next one is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

SCRATCH_VARIABLE = "LPARBENCH_SCRATCH"  # a directory of the process that started this one, with which all goes
_PREFIX = "lparbench-scratch-"
_NAME_KEPT = 40  # characters of a name in its hidden one, which must fit into 255 bytes too
_TURNS = 1000  # of others that are waited for; where there are no locks, attempts that fail at once
_SCRATCH = re.compile(re.escape(_PREFIX) + ".+")
_ASIDE = re.compile(r"\..+\.[0-9a-f]{32}")


@contextlib.contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """A new directory below the one for temporary files; gone afterwards, as are those of killed processes."""
    directory, lock = new_scratch(kind)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def scratch_top() -> Path:
    """Where such directories are made."""
    return Path(os.environ.get(SCRATCH_VARIABLE) or tempfile.gettempdir())


def new_scratch(kind: str) -> tuple[Path, int]:
    """A directory that whoever asks removes, and the descriptor that holds it."""
    top = scratch_top()
    clear_left(top, _SCRATCH)
    while True:
        directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-", dir=top))
        lock = _held(directory)
        if lock is not None:
            return directory, lock


@contextlib.contextmanager
def aside(path: Path, *, directory: bool = False) -> Iterator[Path]:
    """A hidden file or directory next to ``path``, to be renamed to it when it is whole; gone afterwards otherwise.

    Raises:
        OSError: it cannot be made there.
    """
    clear_left(path.parent, _ASIDE)
    hidden = path.with_name(f".{path.name[:_NAME_KEPT]}.{uuid.uuid4().hex}")
    lock: int | None = None
    try:
        if directory:
            hidden.mkdir()
        else:
            hidden.touch(exist_ok=False)
        lock = _held(hidden)
        yield hidden
    finally:
        _remove(hidden)
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold an exclusive lock while a file that several processes update is read and replaced; go on without locks.

    The lock is a hidden file next to it, and not the file, which is replaced.
    """
    name = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # which whoever writes the file meets as well
            stack.enter_context(folder_made(path.parent))
            stack.enter_context(_turn(path.with_name(f".{path.name[:_NAME_KEPT]}.{name}")))
        yield


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is made for it and removed at the end; who waited for that one makes it anew."""
    lock: int | None = None
    try:
        for _ in range(_TURNS):
            path.touch(0o600)
            if (lock := _held(path)) is not None:
                break
        yield
    finally:
        path.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Make a folder; what was not there before is gone again when the block fails and nothing came into it.

    Raises:
        OSError: it cannot be made.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for each in made:
            with contextlib.suppress(OSError):  # somebody has put something there
                each.rmdir()
        raise


def clear_left(folder: Path, names: re.Pattern[str] = _ASIDE) -> None:
    """Remove what killed processes of this user left in a folder; what cannot be seen to be left stays."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if names.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                lock = _held(Path(entry.path), wait=False)
                if lock is not None:
                    _remove(Path(entry.path))
                    os.close(lock)


def _held(path: Path, *, wait: bool = True) -> int | None:
    """A descriptor that holds the lock of what is there; None where another process holds it, or has removed it."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        there = path.stat(follow_symlinks=False)
        if os.path.samestat(there, os.fstat(lock)):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
