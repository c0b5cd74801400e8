"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from harness.errors import LparbenchError


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file whole: a reader sees the old content or the new one, never a part.

    What is there and is no file, such as a pipe or a device, is written to and not replaced.

    Args:
        path: the file.
        content: what it holds afterwards.
        durable: also outlives a power failure; without it, nothing waits for the disk.

    Raises:
        LparbenchError: the disk or its permissions refuse.
    """
    aside = hidden_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        if durable:
            write_synced(aside, content)
        else:
            aside.write_bytes(content)
        aside.replace(path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        raise LparbenchError(f"{path}: cannot be written: {error.strerror}.", remedy="Choose another path.") from error
    finally:
        with contextlib.suppress(OSError):  # where the path cannot even hold it, that is said already
            aside.unlink(missing_ok=True)


def hidden_name(path: Path) -> Path:
    """A hidden name in the directory of ``path``, on the same file system, so that the rename is atomic."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


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
