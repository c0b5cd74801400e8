"""Comma-separated files of a known schema: fast where the file is right, precise about the line where it is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from harness.datasets.store import DigestingReader, empty, opened
from harness.errors import InputError
from harness.wording import plural

FLOAT_PRECISION: Literal["round_trip"] | None = "round_trip" if int(pd.__version__.split(".")[0]) < 3 else None
"""What makes pandas read every number exactly: since version 3 it does by itself."""
_BLOCK_BYTES = 1 << 25
_NUMBER = "number"
_MISSING_NUMBERS = ("", " ", "NaN", "nan", "NA")


@dataclass(frozen=True)
class Schema:
    """The columns of a file, in the file's order.

    Attributes:
        columns: names of all columns of a line.
        categories: columns read as categories; every other kept column is a number.
        keep: columns to return; all when ``None``.
        missing_numbers: whether a number may be missing (``NaN``, empty), and is then NaN.
        skip: lines that are no data although they stand among it (a header repeated in the middle).
        text: character encoding.
    """

    columns: tuple[str, ...]
    categories: frozenset[str]
    keep: tuple[str, ...] | None = None
    missing_numbers: bool = False
    skip: bytes | None = None
    text: str = "utf-8"

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that are returned, in file order."""
        return self.columns if self.keep is None else tuple(name for name in self.columns if name in self.keep)


def read(path: Path, schema: Schema, *, header_lines: int = 0) -> tuple[pd.DataFrame, str]:
    """Read a whole file.

    Returns:
        Float64 and categorical columns, and the sha256 of the uncompressed file.

    Raises:
        InputError: empty, binary, truncated, or a line that does not fit the schema.
    """
    with opened(path) as reader:
        blocks = list(frames(reader, path, schema, header_lines=header_lines))
        if not blocks:
            raise empty(path) if not reader.size else InputError(f"{path} holds a header and no data.")
        return concatenate(blocks), reader.drain()


def frames(reader: DigestingReader, path: Path, schema: Schema, *, header_lines: int = 0) -> Iterator[pd.DataFrame]:
    """Read block by block, so that memory does not grow with the file."""
    for first_line, block in _line_blocks(reader, path, header_lines):
        yield _parse(block, path, schema, first_line)


def header(path: Path, *, text: str = "utf-8") -> tuple[str, ...]:
    """Column names of the first line, without byte-order mark and surrounding blanks.

    A name that occurs again gets ``.1``, ``.2``, … as pandas names it.

    Raises:
        InputError: empty or binary.
    """
    with opened(path) as reader:
        start = reader.read(1 << 20) or b""
    if not start:
        raise empty(path)
    _refuse_binary(start, path)
    if b"\r" in start and b"\n" not in start:
        raise InputError(f"{path}: its lines end in CR alone.", remedy="Write it with LF: tr '\\r' '\\n' < FILE.")
    first = start.split(b"\n", 1)[0].decode(text, errors="replace").lstrip("\ufeff").lstrip("\xef\xbb\xbf")
    return distinct_names(next(csv.reader([first.rstrip("\r")]), []))


def distinct_names(written: Sequence[str]) -> tuple[str, ...]:
    """Column names without surrounding blanks; one that occurs again gets ``.1``, ``.2``, … as pandas names it."""
    taken: set[str] = set()
    repeats: dict[str, int] = {}
    names = []
    for stripped in (name.strip() for name in written):
        name = stripped
        while name in taken:
            repeats[stripped] = repeats.get(stripped, 0) + 1
            name = f"{stripped}.{repeats[stripped]}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def records(lines: Iterable[str], first_line: int = 1, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Every record with its physical line; a quoted line break does not end a record, but it is a line.

    Args:
        lines: with their ends, as ``io.StringIO(text, newline="")`` gives them.
        first_line: number of the first of them.
        separator: of values.

    Raises:
        csv.Error: a field is longer than 128 KiB: a quotation mark is not closed.
    """
    reader = csv.reader(lines, delimiter=separator)
    line = first_line
    for cells in reader:
        yield line, cells
        line = first_line + reader.line_num


def require_columns(path: Path, present: Sequence[str], required: Sequence[str]) -> None:
    """Check a header.

    Raises:
        InputError: names the columns that are missing.
    """
    missing = [name for name in required if name not in present]
    if missing:
        some = ", ".join(repr(name) for name in missing[:5]) + (" …" if len(missing) > 5 else "")
        spare = [name for name in present if name not in required]
        near = {name: close[0] for name in missing[:5] if (close := get_close_matches(name, spare, n=1))}
        meant = "Is " + ", ".join(f"{has!r} meant for {name!r}" for name, has in near.items()) + "? Rename it."
        raise InputError(
            f"{path} line 1: {len(missing)} of {plural(len(required), 'expected column')} missing: {some}.",
            remedy=meant
            if near
            else "Is this the file the data set expects? `lparbench data list` shows the names of its files.",
        )


def concatenate(blocks: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join blocks of the same columns, categories united."""
    if len(blocks) == 1:
        return blocks[0]
    joined: dict[str, Any] = {}
    for name in blocks[0].columns:
        parts = [block[name] for block in blocks]
        if isinstance(parts[0].dtype, pd.CategoricalDtype):
            joined[name] = union_categoricals(parts)
        else:
            joined[name] = np.concatenate([part.to_numpy() for part in parts])
    return pd.DataFrame(joined, copy=False)


def _line_blocks(reader: DigestingReader, path: Path, header_lines: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines with the number of their first line (counted from 1)."""
    pending = b""
    line = 1
    to_skip = header_lines
    first = True
    while True:
        block = reader.read(_BLOCK_BYTES) or b""
        if first and block:
            _refuse_binary(block[: 1 << 16], path)
            first = False
        data = pending + block
        while to_skip and (end := data.find(b"\n")) >= 0:
            data, line, to_skip = data[end + 1 :], line + 1, to_skip - 1
        if not block:
            if data and not to_skip:
                yield line, data
            return
        cut = data.rfind(b"\n") + 1 if not to_skip else 0
        pending = data[cut:]
        if cut:
            yield line, data[:cut]
            line += data.count(b"\n", 0, cut)


def _parse(block: bytes, path: Path, schema: Schema, first_line: int) -> pd.DataFrame:
    kept = schema.kept
    data = block.replace(schema.skip, b"") if schema.skip else block
    missing: Mapping[str, Sequence[str]] = (
        {name: _MISSING_NUMBERS for name in kept if name not in schema.categories} if schema.missing_numbers else {}
    )
    try:
        frame = pd.read_csv(
            io.BytesIO(data),
            header=None,
            names=list(schema.columns),
            usecols=list(kept),
            dtype={name: "category" if name in schema.categories else "float64" for name in kept},
            keep_default_na=False,
            na_values=dict(missing),
            encoding=schema.text,
            float_precision=FLOAT_PRECISION,
            engine="c",
            low_memory=False,
            index_col=False,
            on_bad_lines="error",
        )
    except (pd.errors.ParserError, ValueError, OverflowError) as error:
        raise _explain(block, path, schema, first_line, str(error)) from None
    # pandas pads a short line and cuts a long one without a word.
    if not _lengths_fit(data, schema, len(frame)):
        raise _explain(block, path, schema, first_line, "lines differ in length")
    if not schema.missing_numbers and _has_missing(frame, schema):
        raise _explain(block, path, schema, first_line, "a value is missing")
    return frame


def _lines(text: str) -> io.StringIO:
    return io.StringIO(text, newline="")


def _lengths_fit(data: bytes, schema: Schema, rows: int) -> bool:
    if b'"' not in data:
        return data.count(b",") == rows * (len(schema.columns) - 1)
    try:
        lengths = {len(cells) for _line, cells in records(_lines(data.decode(schema.text, errors="replace"))) if cells}
    except csv.Error:
        return False
    return lengths <= {len(schema.columns)}


def _has_missing(frame: pd.DataFrame, schema: Schema) -> bool:
    return any(
        bool((frame[name].cat.codes < 0).any()) if name in schema.categories else bool(frame[name].isna().any())
        for name in frame.columns
    )


def _explain(block: bytes, path: Path, schema: Schema, first_line: int, reason: str) -> InputError:
    """Find the first line that does not fit; the slow way, only taken for a file known to be wrong."""
    try:
        text = block.decode(schema.text)
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        return InputError(f"{path} line {line}: {schema.text} text expected, byte 0x{block[error.start]:02x} found.")
    kept = set(schema.kept)
    numbers = [(place, name) for place, name in enumerate(schema.columns) if name in kept - schema.categories]
    skipped = schema.skip.decode(schema.text).strip() if schema.skip else None
    try:
        parsed = list(records(_lines(text), first_line))
    except csv.Error as error:
        return InputError(f"{path} from line {first_line} on is no comma-separated text: {error}.")
    for line, values in parsed:
        content = ",".join(values)
        if not content.strip() or content.strip() == skipped:
            continue
        if len(values) != len(schema.columns):
            return InputError(
                f"{path} line {line}: {len(schema.columns)} comma-separated values expected, "
                f"{len(values)} found: {_excerpt(content)}",
                remedy="The file is truncated, edited, or not the one its name says.",
            )
        for place, name in numbers:
            value = values[place].strip()
            if not (_is_number(value) or (schema.missing_numbers and value in _MISSING_NUMBERS)):
                return InputError(f"{path} line {line}: column {name!r} takes a number, not {_excerpt(value)}.")
    return InputError(f"{path} from line {first_line} on does not fit its schema: {reason}.")


def _refuse_binary(start: bytes, path: Path) -> None:
    if b"\0" in start:
        raise InputError(
            f"{path} is binary; comma-separated text was expected.",
            remedy="A compressed file must keep its suffix (.gz, .xz).",
        )


def _is_number(value: str) -> bool:
    try:
        return "_" not in value and not np.isnan(float(value))
    except ValueError:
        return False


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
