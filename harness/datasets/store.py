"""Finds published files on this machine and reads them, decompressed and digested on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from harness.datasets.catalogue import DataFile, DatasetSpec, Variant
from harness.errors import InputError

_SUFFIXES = ("", ".gz", ".xz")
_MAGIC = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\x00"}
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


def cache_directory() -> Path:
    """Where downloads and imports go: ``$XDG_CACHE_HOME/lparbench/data``, by default below ``~/.cache``.

    Raises:
        InputError: no such variable, and the user has no home directory, as in many containers.
    """
    directory = _user_cache()
    if directory is None:
        raise InputError("This user has no home directory.", remedy="Give --into DIR, or set XDG_CACHE_HOME.")
    return directory


def _user_cache() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "lparbench" / "data"
    except RuntimeError:  # neither $HOME nor an entry in the user database
        return None


def search_directories(explicit: Path | None = None) -> tuple[Path, ...]:
    """Where data is looked for, in order: ``explicit``, ``$LPARBENCH_DATA``, ``./data``, the user cache."""
    named = os.environ.get("LPARBENCH_DATA")
    candidates = (explicit, Path(named) if named else None, Path("data"), _user_cache())
    return tuple(dict.fromkeys(directory for directory in candidates if directory is not None))


def locate(spec: DatasetSpec, directories: Sequence[Path]) -> Found | None:
    """The first variant of ``spec`` that is complete in one folder of the first directory that has any.

    Folders are, for each directory, the one named after the data set, then the directory itself, then its other
    sub-folders by name.
    """
    for directory in directories:
        for folder in _folders(directory, spec.name):
            for variant in spec.variants:
                local = found_in(folder, variant, own_folder=folder.name == spec.name)
                if local is not None:
                    return local
    return None


def located(name: str, pattern: str, directories: Sequence[Path]) -> tuple[Path, ...]:
    """Files of a pattern, plain or compressed, in the folders named after the data set ``name``."""
    folders = [directory / name for directory in directories]
    return tuple(path for folder in folders if folder.is_dir() for path in _matching(folder, pattern))


def plain_name(path: Path) -> str:
    """The file name without the suffix of a compression."""
    return path.name.removesuffix(".gz").removesuffix(".xz")


class DigestingReader(io.RawIOBase):
    """Reads a file decompressed, and keeps the sha256 and the size of what was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = _open(path)
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
            read = cast(io.BufferedIOBase, self._stream).readinto(buffer)
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
    """Open a plain, ``.gz`` or ``.xz`` file for reading.

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


def _folders(directory: Path, name: str) -> Iterator[Path]:
    if not directory.is_dir():
        return
    own = directory / name
    if own.is_dir():
        yield own
    yield directory
    try:
        children = sorted(child for child in directory.iterdir() if child != own and child.is_dir())
    except OSError:  # a directory that may not be listed can still hold a file of a known name
        return
    yield from children


def found_in(folder: Path, variant: Variant, *, own_folder: bool = True) -> Found | None:
    """The files of a variant in one folder, or ``None`` when they are not enough.

    Args:
        folder: searched without its sub-folders.
        variant: what to look for.
        own_folder: whether the folder is the data set's own; only there are files trusted that match a pattern.
    """
    files: list[FoundFile] = []
    for file in variant.files:
        if "*" in file.name:
            # Any file matches a pattern, so only the data set's own folder is trusted for it.
            matching = _matching(folder, file.name) if own_folder else []
            if matching:
                files.extend(FoundFile(file, path) for path in matching)
                continue
        for name in (file.name, *file.aliases):
            path = _present(folder, name)
            if path is not None:
                files.append(FoundFile(file, path))
                break
        else:
            if variant.require == "all":
                return None
    return Found(variant, tuple(files)) if files else None


def _present(folder: Path, name: str) -> Path | None:
    for suffix in _SUFFIXES:
        path = folder / (name + suffix)
        if path.is_file():
            return path
    return None


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files of a pattern, each once: plain before compressed."""
    by_name: dict[str, Path] = {}
    for suffix in _SUFFIXES:
        for path in sorted(folder.glob(pattern + suffix)):
            if path.is_file():
                by_name.setdefault(plain_name(path), path)
    return [by_name[name] for name in sorted(by_name)]


def _open(path: Path) -> BinaryIO:
    magic = _MAGIC.get(path.suffix)
    plain = path.open("rb")
    if magic is None:
        return plain
    start = plain.read(len(magic))
    plain.seek(0)
    if start and start != magic:
        plain.close()
        raise InputError(
            f"{path} is not {path.suffix[1:]}-compressed, although its name says so.",
            remedy="Rename it without the suffix, or get it again.",
        )
    if not start:
        return plain  # an empty file reads as empty, and the reader reports it
    plain.close()
    return cast(BinaryIO, gzip.open(path, "rb") if path.suffix == ".gz" else lzma.open(path, "rb"))


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
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path} is damaged after {read:,} bytes of content: {error}.", remedy="Get it again."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
