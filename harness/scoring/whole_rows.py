"""Rows of a file that is no plain table of lines, read whole by the reader of training.

Quoted line breaks, comments, drawn tables, ARFF, arrays of JSON, Parquet and other character encodings are of this
kind. What that reader refuses is refused here too.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd

from harness.datasets.columns import as_texts
from harness.datasets.drawn_tables import drawn
from harness.datasets.file_kinds import binary_kind
from harness.datasets.gaps import Form
from harness.datasets.own_rows import OwnRows, read, without_blank_rows
from harness.datasets.raw_table import RawTable
from harness.errors import InputError
from harness.scoring.line_rows import fields_of
from harness.scoring.row_forms import MARKS
from harness.scoring.row_source import GZ, NPY, XZ, read_rows
from harness.scoring.rows import BadRow, Layout, Rows, as_training, excerpt, sorted_out

_START = 1 << 20
_COLUMNAR = (b"PAR1", b"ARROW1")
_PACKED = (b"PK\x03\x04", b"BZh", b"\x28\xb5\x2f\xfd")  # that the reader of lines does not unpack
_LOOKED_AT = 1 << 28  # bytes of content in which quoted line breaks are looked for


def file_rows(path: Path, stream: BinaryIO, layout: Layout) -> Iterator[Rows]:
    """The rows of a file that is open as ``stream``: block by block, or read whole where lines alone do not do.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    return whole_rows(path, layout) if is_whole(path, layout) else read_rows(stream, str(path), layout)


def is_whole(path: Path, layout: Layout) -> bool:
    """Whether a file is to be read whole: lines alone do not say what training would have read of it.

    Args:
        path: of the file.
        layout: of a bundle; only those of the user's own tables have such a reader.

    Raises:
        OSError: it cannot be read.
    """
    form = layout.gaps.form
    if form is None or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith((*_COLUMNAR, *_PACKED)):
        return True
    if start.startswith(NPY) or binary_kind(start) is not None:
        return False
    try:
        with _content(path, start) as content:
            head = content.read(_START)
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile):
        return False  # which the reader of lines says
    if _is_given(form) or (head and not _is_plain(path, head, form, layout)):
        return True
    return _breaks_within_quotes(path, start)


def whole_rows(path: Path, layout: Layout) -> Iterator[Rows]:
    """The rows of a file.

    Raises:
        InputError: the reader of training cannot read it either, or it lacks a column.
    """
    with path.open("rb") as file:
        columnar = file.read(8).startswith(_COLUMNAR)
    texts = [name for name in layout.columns if name in layout.vocabulary]
    table = _table(path, layout, texts, columnar=columnar)
    rows = OwnRows(table.frame, str(path), table.place, len(table.frame), {}, frozenset(), (), ())
    if not columnar:  # where all columns are there, and not those of the model alone
        rows = without_blank_rows(rows)
    columns: dict[str, Any] = {}
    bad: dict[int, str] = {}
    for name in layout.columns:
        column = rows.frame[name]
        columns[name] = as_texts(column) if name in layout.vocabulary else _numbers(column, name, layout, bad)
    frame = as_training(pd.DataFrame(columns, copy=False), layout)
    sound = np.array([row not in bad for row in range(len(frame))], dtype=bool)
    reasons = [BadRow(row + 1, reason) for row, reason in sorted(bad.items())]
    made = sorted_out(
        frame[sound].reset_index(drop=True), np.flatnonzero(sound) + 1, reasons, layout,
        len(table.frame) - len(rows.frame),
    )  # fmt: skip
    yield replace(made, place=lambda line: rows.place(line - 1))


def _table(path: Path, layout: Layout, texts: list[str], *, columnar: bool) -> RawTable:
    """The columns of a file as training reads them, those of the model among them."""
    needed = set(layout.columns)
    wanted: Callable[[str], bool] = needed.__contains__ if columnar else lambda _: True
    form = layout.gaps.form or Form()
    try:
        table = read(path, form, next(iter(texts), None), columnar=columnar, texts=texts[1:], wanted=wanted)
    except InputError as error:
        remedy = error.remedy
        if remedy is not None and "--" in remedy:  # an option of training
            remedy = f"Write it as UTF-8: iconv -f cp1252 -t utf-8 {path}" if "--encoding" in remedy else None
        raise InputError(error.message, remedy=remedy) from None
    there = [str(name) for name in table.frame.columns]
    missing = [name for name in layout.columns if name not in there]
    if missing:
        near = get_close_matches(missing[0], [name for name in there if name not in needed], n=1)
        raise InputError(
            f"{path} lacks {len(missing)} of the model's {len(needed)} columns: {', '.join(map(repr, missing[:5]))}.",
            remedy=f"Is {near[0]!r} meant for {missing[0]!r}? Rename it."
            if near
            else f"It has {', '.join(there[:10])}.",
        )
    return table


def _numbers(column: pd.Series[Any], name: str, layout: Layout, bad: dict[int, str]) -> Any:
    """A column's numbers; rows with anything else are noted in ``bad``."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        if pd.api.types.is_numeric_dtype(column.dtype):
            return column.to_numpy(np.float64)
        raise InputError(f"Column {name!r} holds {column.dtype}; numbers were expected, as in training.")
    texts = [str(text) for text in column.cat.categories]
    values = [layout.gaps.number(name, text) for text in texts]
    codes = column.cat.codes.to_numpy()
    odd = np.array([*(value is None for value in values), False])[codes]
    for row in np.flatnonzero(odd).tolist():
        bad.setdefault(row, f"column {name!r} takes a finite number, not {excerpt(texts[codes[row]])}")
    return np.array([*(np.nan if value is None else value for value in values), np.nan])[codes]


def _is_given(form: Form) -> bool:
    """Whether the user named how the files of training are written."""
    return form.text is not None or form.decimal == "," or form.separator not in (None, *MARKS)


def _is_plain(path: Path, head: bytes, form: Form, layout: Layout) -> bool:
    """Whether the first lines are UTF-8 with a header of the columns, an object of JSON each, or have no header."""
    try:
        head.rpartition(b"\n")[0].decode()
    except UnicodeDecodeError:
        return head.startswith((b"\xff\xfe", b"\xfe\xff"))
    first = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    needed = set(layout.columns)
    if first.lstrip().startswith((b"{", b"[")):
        try:
            document = json.loads(first)
        except ValueError:
            return False
        there = isinstance(document, dict) and needed <= document.keys()
        return there and not any(isinstance(document[name], list | dict) for name in needed)
    if form.header is False:
        return True
    if drawn(path, head) is not None:
        return False
    second = head.partition(b"\n")[2].partition(b"\n")[0]
    for mark in MARKS:
        names, values = (fields_of(line, mark) or [] for line in (first, second))
        if needed <= {name.strip() for name in names}:
            return len(values) != len(names) + 1  # as R writes the names of rows
    return first.count(b",") == len(needed) - 1 > 0


def _breaks_within_quotes(path: Path, start: bytes) -> bool:
    """Whether a line has an open quotation mark, in files of moderate size; of others the reader of lines says so."""
    read = 0
    try:
        with _content(path, start) as content:
            for line in content:
                read += len(line)
                if line.count(b'"') % 2:
                    return True
                if read > _LOOKED_AT:
                    return False
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile):
        pass
    return False


def _content(path: Path, start: bytes) -> BinaryIO:
    if start.startswith(GZ):
        return cast("BinaryIO", gzip.open(path, "rb"))
    return cast("BinaryIO", lzma.open(path, "rb") if start.startswith(XZ) else path.open("rb"))
