"""Rows of whole lines: comma-separated values, by pandas where all of a block fits and line by line where not, or JSON.

A value that is missing is taken as training took it: see `harness.datasets.gaps`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd

from harness.datasets.csvfile import FLOAT_PRECISION
from harness.errors import InputError
from harness.scoring.rows import BadRow, Layout, Rows, as_training, excerpt, joined, sorted_out
from harness.wording import plural

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_INFINITE = re.compile(r"\s*[+-]?inf(inity)?\s*", re.ASCII | re.IGNORECASE)  # read as a number, then refused as one
_LARGEST = float(np.finfo(np.float64).max)
_MARK = b"\xef\xbb\xbf"


class CsvRows:
    """Rows of comma-separated lines.

    Args:
        name: of the stream, for errors.
        layout: the columns of a row.
        start: the first lines, which may begin with a header.

    Raises:
        InputError: a header lacks columns.
    """

    def __init__(self, name: str, layout: Layout, start: bytes) -> None:
        self._layout, self._gaps = layout, layout.gaps
        first = start.removeprefix(_MARK).partition(b"\n")[0]
        names = tuple(value.strip() for value in fields_of(first) or ())
        needed = set(layout.columns)
        self.has_header = bool(needed & set(names)) and not any(_NUMBER.fullmatch(value) for value in names)
        self._header = _folded(first) if self.has_header else b""
        if self.has_header:
            missing = [column for column in layout.columns if names.count(column) != 1]
            if missing:
                some = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
                raise InputError(f"{name} line 1: {plural(len(missing), 'column')} missing or there twice: {some}.")
            self._columns = names
        elif layout.file_columns and len(names) != len(layout.columns):
            self._columns = layout.file_columns
        elif _are_numbered(layout.columns) and len(names) > max(map(int, layout.columns)):
            self._columns = tuple(map(str, range(len(names))))  # as training named them
        else:
            self._columns = layout.columns
        self._places = [self._columns.index(column) for column in layout.columns]

    def rows(self, block: bytes, first_line: int) -> Rows:
        """The rows of whole lines."""
        count = occurrences(block, b"\n") + (not block.endswith(b"\n"))
        repeated = self._gaps.filled and self._header and self._header in block.lower()
        frame = None if repeated else self._parsed(block, count)
        if frame is not None:
            return sorted_out(frame, np.arange(first_line, first_line + count), [], self._layout)
        bad: list[BadRow] = []
        good: list[tuple[int, bytes]] = []
        left_out = 0
        for line, content in enumerate(block.split(b"\n")[:count], first_line):
            if not content.strip():
                continue
            taken = self._taken(content)
            if taken is None:
                left_out += 1
            elif isinstance(taken, str):
                bad.append(BadRow(line, taken))
            else:
                good.append((line, taken))
        frame = self._parsed(b"\n".join(content for _, content in good), len(good), whole=False)
        if frame is None:  # something that only pandas minds
            frames = [(line, self._parsed(content, 1, whole=False)) for line, content in good]
            bad += [BadRow(line, "is not comma-separated text") for line, part in frames if part is None]
            good = [(line, b"") for line, part in frames if part is not None]
            frame = joined([part for _, part in frames if part is not None], self._layout)
        lines = np.array([line for line, _ in good], dtype=np.int64)
        return sorted_out(frame, lines, bad, self._layout, left_out)

    def _parsed(self, block: bytes, count: int, *, whole: bool = True) -> pd.DataFrame | None:
        """The needed columns of ``count`` lines, as they stand in the file or not; None when a line does not fit."""
        categories = self._layout.vocabulary
        if not count:
            return joined([], self._layout)
        named = list(zip(self._places, self._layout.columns, strict=True))
        missing: dict[Any, list[str]] = {}
        if self._gaps.filled:
            missing = {place: self._gaps.written(name) for place, name in named if name not in categories}
        try:
            frame = pd.read_csv(
                io.BytesIO(block),
                header=None,
                names=list(range(len(self._columns))),
                usecols=self._places,
                dtype={place: object if name in categories else np.float64 for place, name in named},
                keep_default_na=False,
                na_values=missing,
                float_precision=FLOAT_PRECISION,
                engine="c",
                low_memory=False,
                index_col=False,
                on_bad_lines="error",
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OverflowError):
            return None
        # pandas pads a short line and cuts a long one without a word
        if len(frame) != count:
            return None
        plain = (
            b'"' not in block
            and b"\0" not in block
            and (b"\r" not in block or block.count(b"\r") == block.count(b"\r\n"))
        )
        even = occurrences(block, b",") == count * (len(self._columns) - 1)
        lines = block.removesuffix(b"\n").split(b"\n") if whole and not (plain and even) else []
        if any(not isinstance(self._taken(line), bytes) for line in lines):
            return None
        frame = frame[self._places].set_axis(list(self._layout.columns), axis=1)
        if whole and self._gaps.filled and _has_blank(frame, categories):
            return None
        frame = frame.astype(dict.fromkeys(categories, "category"))  # pandas would make numbers of categories of digits
        return as_training(frame, self._layout)

    def _taken(self, line: bytes) -> bytes | str | None:
        """A line as pandas reads it, why it does not fit, or None where it is no row."""
        fields = fields_of(line)
        if fields is None:
            return "is no text on one line with closed quotes"
        if len(fields) != len(self._columns):
            return f"has {len(fields)} comma-separated values; expected {len(self._columns)}"
        if self._gaps.filled and (_folded(line) == self._header or not any(map(self._present, fields))):
            return None
        written = list(fields)
        for place, name in zip(self._places, self._layout.columns, strict=True):
            value = fields[place]
            if name not in self._layout.vocabulary and not _NUMBER.fullmatch(value):
                number = self._gaps.number(name, value) if self._gaps.filled else None
                if number is not None:
                    written[place] = "" if math.isnan(number) else repr(number)
                elif self._gaps.filled or not _INFINITE.fullmatch(value):
                    return f"column {name!r} takes a finite number, not {excerpt(value)}"
            if not value.isascii() and any("\udc80" <= letter <= "\udcff" for letter in value):
                return f"column {name!r} is not UTF-8 text"
        if written == fields:
            return line
        made = io.StringIO()
        csv.writer(made, lineterminator="").writerow(written)
        return made.getvalue().encode("utf-8", "surrogateescape")

    def _present(self, text: str) -> bool:
        """Whether a value of any column is there."""
        plain = text.strip()
        return bool(plain) and plain not in self._gaps.texts


def _folded(line: bytes) -> bytes:
    """A line by which a header is recognised that stands among the rows, as where files were joined."""
    return line.removeprefix(_MARK).strip().lower()


def _are_numbered(columns: tuple[str, ...]) -> bool:
    return bool(columns) and all(name.isdecimal() for name in columns)


def _has_blank(frame: pd.DataFrame, categories: Any) -> bool:
    """Whether a row holds no value in any of the columns."""
    blank = np.ones(len(frame), dtype=bool)
    for name in frame.columns:
        column = frame[name]
        blank &= (column == "").to_numpy() if name in categories else np.isnan(column.to_numpy())
        if not blank.any():
            return False
    return True


def occurrences(block: bytes, byte: bytes) -> int:
    """As ``bytes.count``, which is slow where there are many."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == byte[0]))


def fields_of(line: bytes, separator: str = ",") -> list[str] | None:
    """The values of a line; None where it has an open quote, a carriage return or a zero byte inside."""
    text = line.decode("utf-8", "surrogateescape").removesuffix("\r")
    if "\r" in text or "\0" in text:
        return None
    try:
        return next(csv.reader([text], delimiter=separator, strict=True), [])
    except csv.Error:
        return None


def json_rows(block: bytes, first_line: int, layout: Layout) -> Rows:
    """The rows of lines that are an object each."""
    good: list[list[Any]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    for line, content in enumerate(block.splitlines(), first_line):
        if not content.strip():
            continue
        values = _json_values(content, layout)
        if isinstance(values, str):
            bad.append(BadRow(line, values))
        else:
            good.append(values)
            lines.append(line)
    columns = list(zip(*good, strict=True)) if good else [()] * len(layout.columns)
    frame = pd.DataFrame(
        {
            name: pd.Categorical(list(map(str, values)))
            if name in layout.vocabulary
            else np.array(values, dtype=np.float64)
            for name, values in zip(layout.columns, columns, strict=True)
        }
    )
    return sorted_out(as_training(frame, layout), np.array(lines, dtype=np.int64), bad, layout)


def _json_values(content: bytes, layout: Layout) -> list[Any] | str:
    """The needed values of an object, or why it does not fit."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return "is not a JSON object on one line"
    if not isinstance(document, dict):
        return "is not a JSON object on one line"
    values = []
    for name in layout.columns:
        value = document.get(name)
        if layout.gaps.filled:
            value = _without_gap(value, name, layout)
        if name in layout.vocabulary:
            if not isinstance(value, str | int) or isinstance(value, bool):
                return f"column {name!r} takes a text, not {excerpt(json.dumps(value))}"
        elif not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _LARGEST:
            return f"column {name!r} takes a finite number, not {excerpt(json.dumps(value))}"
        values.append(value)
    return values


def _without_gap(value: Any, name: str, layout: Layout) -> Any:
    """A value of JSON as training read it; what is none of its column stays what it is."""
    if name in layout.vocabulary:
        if value is None or isinstance(value, bool):
            return "" if value is None else str(value).lower()
        return str(value) if isinstance(value, float) else value
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str | int | float):
        try:
            number = layout.gaps.number(name, str(value))
        except ValueError:  # an integer of more digits than Python writes
            return math.nan
        return value if number is None else number
    return value
