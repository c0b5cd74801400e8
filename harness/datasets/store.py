"""Published files as they lie on this machine, read decompressed and digested on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from harness.datasets.catalogue import DataFile, Variant
from harness.datasets.packed import UnixText, open_unpacked, packed_size, plain_name
from harness.errors import InputError

BLOCK_BYTES = 1 << 22
RATIO = 250  # content over compressed size that is read; text of tables has 5 to 50
SMALL_CONTENT = 1 << 28  # is read whatever the ratio
PARSING_NOTE: ContextVar[Path | None] = ContextVar("parsing_note", default=None)
"""Where :func:`parsing` notes what is being parsed."""


@dataclass(frozen=True)
class FoundFile:
    """A canonical file and where it lies, plain or compressed."""

    file: DataFile
    path: Path

    @property
    def name(self) -> str:
        """Its name without the suffix of a compression."""
        return plain_name(self.path)


@dataclass(frozen=True)
class Found:
    """The files of one variant of a data set."""

    variant: Variant
    files: tuple[FoundFile, ...]

    def path(self, name: str) -> FoundFile:
        """The found file whose canonical name is ``name``."""
        return next(entry for entry in self.files if entry.file.name == name)


class DigestingReader(io.RawIOBase):
    """Reads a file decompressed, and keeps the sha256 and the size of what was read.

    Line ends of text are LF and UTF-16 is UTF-8 in what is read, whatever the file has: a digest is of the content.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = UnixText(open_unpacked(path))
        self._packed_size = packed_size(path)
        self._digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``, except at the end of the file.

        Raises:
            InputError: the file is truncated, is not what its suffix says, or cannot be read.
        """
        with _as_input_error(self._path, self.size):
            read = self._stream.readinto(buffer)
        self._digest.update(memoryview(buffer)[:read])
        self.size += read
        if self.size > SMALL_CONTENT and self._packed_size:
            refuse_bomb(self._path, self._packed_size, self.size)
        return read

    def drain(self) -> str:
        """Read to the end; the sha256 of the whole uncompressed file."""
        buffer = bytearray(BLOCK_BYTES)
        while self.readinto(buffer):
            pass
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


@contextmanager
def opened(path: Path) -> Iterator[DigestingReader]:
    """Open a plain or compressed file for reading.

    Raises:
        InputError: it cannot be opened, or its suffix is that of a compression it does not have.
    """
    with _as_input_error(path, 0):
        reader = DigestingReader(path)
    with reader:
        yield reader


def digest(path: Path) -> str:
    """sha256 of the uncompressed file."""
    with opened(path) as reader:
        return reader.drain()


def content(path: Path) -> tuple[bytes, str]:
    """The whole uncompressed file and its sha256.

    Raises:
        InputError: unreadable, truncated or empty.
    """
    with opened(path) as reader:
        parts = []
        while block := reader.read(BLOCK_BYTES):
            parts.append(block)
        whole = b"".join(parts)
        if not whole:
            raise empty(path)
        return whole, reader.drain()


def empty(path: Path) -> InputError:
    """The error for a file without content."""
    return InputError(f"{path} is empty.", remedy="Get it again: an interrupted copy leaves such a file.")


@contextmanager
def parsing(path: Path, form: str) -> Iterator[None]:
    """Around the parser of a library, which raises anything on a damaged file, or ends the process.

    The file is noted meanwhile where a worker asks for that (:data:`PARSING_NOTE`), so that its death can be explained.

    Args:
        path: what is parsed.
        form: what it should be: ``"MATLAB file"``.

    Raises:
        InputError: the parser raised; names the file.
    """
    note = PARSING_NOTE.get()
    if note is not None:
        note.write_text(json.dumps([str(path), form]), encoding="utf-8")
    try:
        yield
    except (InputError, ImportError):
        raise
    except MemoryError:
        raise InputError(f"{path} needs more memory than there is.", remedy="It may be damaged.") from None
    except Exception as error:  # noqa: BLE001 - whatever a parser makes of a damaged file
        words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{path} is no readable {form}: {words}.", remedy="Get it again.") from None
    finally:
        if note is not None:
            note.unlink(missing_ok=True)


def refuse_bomb(path: Path, size: int, content: int) -> None:
    """See that ``content`` bytes can have come from ``size`` compressed ones.

    Raises:
        InputError: no table compresses like that; its content would fill the memory or the disk.
    """
    if content > max(SMALL_CONTENT, RATIO * size):
        raise InputError(
            f"{path}: {size:,} bytes hold more than {RATIO} times as much, {content:,} bytes so far.",
            remedy="No table compresses like that; if it is meant, unpack it first.",
        )


@contextmanager
def _as_input_error(path: Path, read: int) -> Iterator[None]:
    """Turn what decompression and the file system raise into one clear error."""
    try:
        yield
    except EOFError:
        raise InputError(
            f"{path} is truncated: its compressed stream ends early, after {read:,} bytes of content.",
            remedy="Get it again, or complete the copy.",
        ) from None
    except (lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is damaged after {read:,} bytes of content: {error}.", remedy="Get it again."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
