"""Published files as they lie on this machine, read decompressed and digested on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.datasets.catalogue import DataFile, Variant
from harness.datasets.packed import UnixText, open_unpacked, plain_name
from harness.errors import InputError

BLOCK_BYTES = 1 << 22


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
