"""Opens files as they are copied about: plain or compressed, alone or in a zip archive, UTF-16 or CRLF text."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, cast

from harness.errors import InputError

_MAGIC: Mapping[str, bytes] = MappingProxyType(
    {
        ".gz": b"\x1f\x8b",
        ".xz": b"\xfd7zXZ\x00",
        ".bz2": b"BZh",
        ".zst": b"\x28\xb5\x2f\xfd",
        ".zip": b"PK\x03\x04",
    }
)
SUFFIXES = tuple(_MAGIC)  # of files and archives that are read without unpacking them first
_START_BYTES = 1 << 16
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def plain_name(path: Path) -> str:
    """The file name without the suffix of a compression."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def open_unpacked(path: Path) -> BinaryIO:
    """The content of a file, decompressed; ``archive.zip/folder/name`` is a file in a zip archive.

    Raises:
        InputError: not what its suffix says, several files in an archive, or no decoder is installed.
        OSError: it cannot be opened.
    """
    archive = next((parent for parent in path.parents if parent.suffix.lower() == ".zip" and parent.is_file()), None)
    if archive is not None:
        return _member(archive, path.relative_to(archive).as_posix())
    with path.open("rb") as plain:
        start = plain.read(8)
    suffix = path.suffix.lower()
    kind = next((name for name, magic in _MAGIC.items() if start.startswith(magic)), None)
    if suffix in SUFFIXES and start and kind != suffix:
        raise InputError(
            f"{path} is not {suffix[1:]}-compressed, although its name says so.",
            remedy="Rename it without the suffix, or get it again.",
        )
    match kind:
        case ".gz" if suffix != ".tgz":  # a published archive, which has a digest of its own
            return cast(BinaryIO, gzip.open(path, "rb"))
        case ".xz":
            return cast(BinaryIO, lzma.open(path, "rb"))
        case ".bz2" if suffix == ".bz2" or start[4:] == b"1AY&":
            return cast(BinaryIO, bz2.open(path, "rb"))
        case ".zst":
            return _zstandard(path)
        case ".zip" if suffix == ".zip":  # NumPy archives and workbooks are zip files by content, too
            return _member(path, _only_member(path))
    return path.open("rb")


def packed_size(path: Path) -> int | None:
    """Bytes of a file, or of a file in an archive, as they are compressed; None where they are not."""
    container = container_of(path)
    return container.stat().st_size if container.suffix.lower() in SUFFIXES or container != path else None


def container_of(path: Path) -> Path:
    """The zip archive that holds a file, or the file itself: what lies on the disk."""
    archives = (parent for parent in path.parents if parent.suffix.lower() == ".zip" and parent.is_file())
    return next(archives, path)


def archived(path: Path) -> dict[str, Path]:
    """Files of a zip archive: name without folders -> the path that `open_unpacked` takes; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {Path(name).name: path / name for name in _files(archive)}
    except (OSError, zipfile.BadZipFile):
        return {}


class UnixText(io.RawIOBase):
    """A file's bytes; of text, UTF-16 is given as UTF-8 and CRLF as LF, so that copies of one text are equal."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pending = b""
        self._held = b""  # a carriage return at the end of a block: its line feed may follow
        self._decoder: codecs.IncrementalDecoder | None = None
        self._text: bool | None = None  # None: nothing was read yet

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` in part or whole; 0 at the end."""
        while not self._pending:
            block = self._stream.read(max(len(buffer), _START_BYTES))
            self._pending = self._converted(block)
            if not block:
                break
        part, self._pending = self._pending[: len(buffer)], self._pending[len(buffer) :]
        memoryview(buffer)[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()

    def _converted(self, block: bytes) -> bytes:
        if self._text is None:
            if block.startswith(_UTF16):
                self._decoder = codecs.getincrementaldecoder("utf-16")()
            self._text = self._decoder is not None or b"\0" not in block[:_START_BYTES]
        if self._decoder is not None:
            block = self._decoder.decode(block, final=not block).encode()
        if not self._text:
            return block
        end = not block
        block, self._held = self._held + block, b""
        if block.endswith(b"\r") and not end:
            block, self._held = block[:-1], b"\r"
        return block.replace(b"\r\n", b"\n") if b"\r" in block else block


def _files(archive: zipfile.ZipFile) -> list[str]:
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    return [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]


def _only_member(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        names = _files(archive)
    same = [name for name in names if Path(name).name.casefold() == plain_name(path).casefold()]
    if len(chosen := same or names) == 1:
        return chosen[0]
    listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    raise InputError(
        f"{path} holds {len(names)} files, one expected: {listed or 'none'}.",
        remedy=f"Name one of them, {path}/FILE, or unpack it.",
    )


def _member(archive: Path, name: str) -> BinaryIO:
    try:
        return cast(BinaryIO, zipfile.ZipFile(archive).open(name))
    except KeyError:
        raise InputError(f"{archive} holds no {name}.") from None
    except (RuntimeError, NotImplementedError) as error:  # a password, or a method of compression that Python lacks
        raise InputError(f"{archive}: {error}.", remedy="Unpack it yourself.") from None


def _zstandard(path: Path) -> BinaryIO:
    decoders: dict[str, Callable[[], object]] = {
        "compression.zstd": lambda: import_module("compression.zstd").open(path, "rb"),
        "zstandard": lambda: import_module("zstandard").open(path, "rb"),
        "pyarrow": lambda: import_module("pyarrow").CompressedInputStream(str(path), "zstd"),
    }
    for decoder in decoders.values():
        try:
            return cast(BinaryIO, decoder())
        except ImportError:
            continue
    raise InputError(
        f"{path} is Zstandard-compressed, and no decoder is installed.",
        remedy="pip install zstandard, or unpack it: zstd -d FILE",
    )
