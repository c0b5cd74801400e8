"""Raw or encoded rows from a file or a pipe, block by block: comma-separated text, JSON lines, or a NumPy array.

Text is one row per line, with or without a header; gz and xz are recognised by their first bytes. A row that does not
fit is known by its line and a reason, and is what the caller makes of it: an error, or skipped.
"""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import select
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, cast

import numpy as np

from harness.datasets.file_kinds import binary_kind
from harness.datasets.packed import UnixText
from harness.datasets.store import empty
from harness.errors import InputError
from harness.scoring.line_rows import CsvRows, json_rows, occurrences
from harness.scoring.row_forms import LineForm, form_of
from harness.scoring.rows import BadRow, Layout, Rows

BLOCK_BYTES = 1 << 22
_LONGEST_LINE = 1 << 24
_ARRAY_ROWS = 1 << 16
GZ, XZ, NPY = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x93NUMPY"


def open_rows(path: Path) -> BinaryIO:
    """A file of rows; a pipe or a device may bring none.

    Raises:
        InputError: it cannot be read, or is a file without a byte.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        there = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        near = get_close_matches(path.name, there, n=1)
        remedy = f"Did you mean {path.parent / near[0]}?" if near and not path.exists() else "Check the path."
        archive = next((above for above in path.parents if above.suffix.lower() == ".zip" and above.is_file()), None)
        if archive is not None:
            member = path.relative_to(archive).as_posix()
            unpacked = f"unzip -p {quote(str(archive))} {quote(member)}"
            remedy = f"Give its rows by a pipe: {unpacked} | lparbench score BUNDLE -"
        raise InputError(f"{path} cannot be read: {error.strerror}.", remedy=remedy) from None
    if path.is_file() and not path.stat().st_size:
        stream.close()
        raise empty(path)
    return stream


def read_rows(stream: BinaryIO, name: str, layout: Layout, block_bytes: int = BLOCK_BYTES) -> Iterator[Rows]:
    """Rows of a stream, in order.

    Args:
        stream: a file or a pipe, at its beginning.
        name: how errors name it.
        layout: the columns of a row.
        block_bytes: of content that are held at once.

    Raises:
        InputError: damaged compression, a header without the columns, an array of another shape.
    """
    with _named(name):
        stream = cast("BinaryIO", getattr(stream, "raw", stream))  # its own buffer would hide whether more is there
        start = _start(stream)
        whole: BinaryIO = cast("BinaryIO", io.BufferedReader(_Prefixed(start, stream), 1 << 16))
        if start.startswith((GZ, XZ)):
            opened = gzip.GzipFile(fileobj=whole) if start.startswith(GZ) else lzma.LZMAFile(whole)  # noqa: SIM115
            whole = cast("BinaryIO", opened)
            start = opened.peek(len(NPY))[: len(NPY)]
        if start.startswith(NPY):
            yield from _array_rows(whole, name, layout)
            return
        kind = binary_kind(start)
        if kind is not None:
            raise InputError(
                f"{name} is {kind}; CSV, JSON lines or .npy were expected.",
                remedy="Write its rows as CSV with a header.",
            )
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            whole = cast("BinaryIO", io.BufferedReader(UnixText(whole), 1 << 16))
        reader: CsvRows | None = None
        form: LineForm | None = None
        as_json = start.lstrip().startswith(b"{")
        if start.lstrip().startswith(b"[{"):
            raise InputError(
                f"{name} is a JSON array; JSON lines were expected.", remedy="jq -c '.[]' makes them of it."
            )
        for first_line, block in _line_blocks(whole, name, block_bytes):
            if as_json:
                yield json_rows(block, first_line, layout)
                continue
            if reader is None:
                form = form_of(block, layout.columns)
            block = block if form is None else form.plain(block)
            if reader is None:
                reader = CsvRows(name, layout, block)
                if reader.has_header:
                    first_line, block = first_line + 1, block.partition(b"\n")[2]
            if block:
                yield reader.rows(block, first_line)


def _array_rows(stream: BinaryIO, name: str, layout: Layout) -> Iterator[Rows]:
    """Rows of a ``.npy`` file: float32 or float64, (n, d) or windows (n, steps, d); lines are row numbers."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except ValueError as error:
        raise InputError(f"{name}: damaged header of a NumPy array: {error}.") from error
    if layout.vocabulary or len(shape) not in (2, 3) or shape[-1] != len(layout.columns) or fortran:
        raise InputError(
            f"{name}: an array of shape {shape}; expected encoded rows (n, {len(layout.columns)}) in C order.",
            remedy="Give --encoded with an array of the bundle's features.",
        )
    if dtype.newbyteorder("=") not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError(f"{name}: an array of {dtype}; expected float32 or float64.")
    width = int(np.prod(shape[1:]))
    for first in range(0, shape[0], _ARRAY_ROWS):
        count = min(_ARRAY_ROWS, shape[0] - first)
        content = stream.read(count * width * dtype.itemsize)
        if len(content) != count * width * dtype.itemsize:
            raise InputError(f"{name} is truncated: {shape[0]} rows expected, {first} read.", remedy="Get it again.")
        with np.errstate(over="ignore"):
            array = np.frombuffer(content, dtype).reshape(count, *shape[1:]).astype(np.float32)
        fits = np.isfinite(array).reshape(count, width).all(axis=1)
        lines = np.arange(first + 1, first + 1 + count)
        bad = tuple(BadRow(line, "has a value that is not finite") for line in lines[~fits].tolist())
        yield Rows(array, lines) if not bad else Rows(array[fits], lines[fits], bad)


class _Prefixed(io.RawIOBase):
    """A stream whose first bytes have been read already; a read returns what is there, as a pipe's does."""

    def __init__(self, prefix: bytes, stream: BinaryIO) -> None:
        self._prefix, self._stream = prefix, stream

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of ``buffer``; 0 at the end."""
        content = self._prefix[: len(buffer)] or _some(self._stream, len(buffer))
        self._prefix = self._prefix[len(content) :] if self._prefix else b""
        buffer[: len(content)] = content
        return len(content)


def _some(stream: BinaryIO, size: int) -> bytes:
    read1 = getattr(stream, "read1", stream.read)
    return bytes(read1(size))


def _start(stream: BinaryIO) -> bytes:
    """The first bytes, enough to tell the format; fewer where the first line is shorter."""
    start = b""
    while len(start) < len(XZ) and b"\n" not in start:
        more = _some(stream, len(XZ) - len(start))
        if not more:
            break
        start += more
    return start


def _line_blocks(stream: BinaryIO, name: str, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines with the number of their first line; what a pipe holds is not waited to grow."""
    pending, line = b"", 1
    while True:
        more = _some(stream, block_bytes)
        while more and len(more) < block_bytes and (rest := _ready(stream, block_bytes - len(more))):
            more += rest
        cut = more.rfind(b"\n") + 1
        if cut:
            block = pending + more[:cut]
            yield line, block
            line += occurrences(block, b"\n")
            pending = more[cut:]
        else:
            pending += more
        if len(pending) > _LONGEST_LINE:
            raise InputError(f"{name} line {line} is longer than {_LONGEST_LINE:,} bytes; expected one row per line.")
        if not more:
            if pending:
                yield line, pending
            return


def _ready(stream: BinaryIO, size: int) -> bytes:
    """More bytes, if reading does not wait for them."""
    raw = getattr(stream, "raw", None)
    source = raw._stream if isinstance(raw, _Prefixed) else None
    try:
        waits = source is not None and not select.select([source.fileno()], [], [], 0)[0]
    except (OSError, ValueError):  # no file descriptor: bytes in memory
        waits = False
    return b"" if waits else _some(stream, size)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of decompression, of UTF-16 and of the file system as an `InputError` that names the input."""
    try:
        yield
    except EOFError:
        raise InputError(f"{name} is truncated: its compressed stream ends early.", remedy="Get it again.") from None
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is damaged: {error}.", remedy="Get it again.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no whole UTF-16: {error.reason}.", remedy="Get it again.") from None
