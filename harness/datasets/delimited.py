"""Tables of text of an unknown schema: separator, decimal mark, encoding and header found out or given, lines checked.

Columns come as pandas' fast reader infers them. Only what it cannot take for numbers is looked at value by value, and a
line is searched for only when a message needs its number.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pandas as pd

from harness.datasets.csvfile import FLOAT_PRECISION, distinct_names, records
from harness.datasets.drawn_tables import drawn, text_above
from harness.datasets.file_kinds import blank_misfit, refuse_binary, refuse_text
from harness.datasets.gaps import MISSING_TEXTS, Form
from harness.datasets.raw_table import RawTable
from harness.datasets.store import content
from harness.datasets.table import column_name, counted, trimmed
from harness.datasets.text_records import read_json, read_svmlight
from harness.errors import InputError
from harness.wording import plural

_SEPARATORS = (",", ";", "\t", "|")
_MARK = codecs.BOM_UTF8
_JOINED_MARK = re.compile(rb"(?<=[\r\n])" + _MARK)  # where files with a mark were joined
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE)
_BLANKS, _OUTER_BLANKS = re.compile(rb"[ \t]+"), re.compile(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)")
_START, _SAMPLE, _SHOWN = 1 << 20, 100, 3
# Names that no file has: the first value that a line has too many, what follows a separator at the end, a row's name.
_EXTRA, _END, _ROW = "\0extra", "\0end", "\0row"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class Body:
    """The data lines of a file: UTF-8 from ``start`` on, whose first line is number ``line`` of the file."""

    path: Path
    data: bytes
    separator: str
    start: int = 0
    line: int = 1

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Records that are not blank, with their physical line."""
        lines = (text for text in _stream(self.data, self.start))
        yield from (entry for entry in records(lines, self.line, self.separator) if not _is_blank(entry[1]))

    def place(self, row: int) -> str:
        """The physical line of a row."""
        line, _cells = next(itertools.islice(self.records(), row, None))
        return f"line {line}"


@dataclass(frozen=True)
class _Preamble:
    """What stands before a table.

    Attributes:
        start: byte at which its lines begin, comments included; ``line`` is the number of the first.
        table: byte of the first line that is no comment.
        separator: that the file names; None where it names none.
        names: of the columns, where these are not in the table; empty otherwise.
    """

    start: int = 0
    line: int = 1
    table: int = 0
    separator: str | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read(path: Path, form: Form, label: str | int | None, texts: Collection[str] = ()) -> RawTable:
    """Read a file.

    Args:
        path: plain or compressed.
        form: what is known of it.
        label: a column that must be there, which helps to tell separators apart; it is read as texts.
        texts: other columns that are read as texts, as they are written.

    Raises:
        InputError: it is no table of text, or a line has too few or too many values; line and reason are named.
    """
    data, sha256 = content(path)
    data, notes = _utf8(path, data, form.text)
    other = read_json(path, data, sha256) or read_svmlight(path, data, sha256)
    if other is not None:
        return other
    table = None if form.separator else drawn(path, data)
    data = data if table is None else table.data
    preamble = _preamble(path, data)
    above = None if label is None or preamble.start else text_above(data, str(label), _SEPARATORS)
    if above is not None:
        preamble = _Preamble(*above, above[0], notes=(f"{counted(above[1] - 1, 'line')} above the table left out.",))
    notes += preamble.notes if table is None else (table.note,)
    separator = form.separator or preamble.separator or (None if table is None else table.separator)
    separator = separator or _separator(data, None if label is None else str(label), preamble.table)
    if separator == " " and form.separator is None and b'"' not in data:
        data = _BLANKS.sub(b" ", _OUTER_BLANKS.sub(b"", data))  # columns that are aligned
        preamble = _preamble(path, data)
    if separator != "," and table is None:
        notes.append(f"Columns are separated by {separator!r}.")
    body = _without_comments(Body(path, data, separator, preamble.start, preamble.line), preamble.table)
    if body.line > preamble.line and data[preamble.start : body.start].strip():
        notes.append(f"{counted(body.line - preamble.line, 'line')} of comments above the table left out.")
    names, warnings = preamble.names, preamble.warnings
    if not names:
        names, warnings, body = _header(body, form.header)
    sample = [cells for _line, cells in itertools.islice(_safely(body), _SAMPLE)]
    names, dropped, shape_notes = _row_names(names, sample)
    decimal = form.decimal or _decimal(sample, separator)
    if decimal != ".":
        notes.append(f"Numbers have {decimal!r} as their decimal mark.")
    written = [name for name in names if name not in dropped]
    as_written = {*texts, *(() if label is None else (column_name(label, written),))}
    frame = _parsed(body, names, decimal, as_written)
    columns = {name: _column(frame[name]) for name in written}
    return RawTable(path, pd.DataFrame(columns, copy=False), sha256, body.place, (*notes, *shape_notes), warnings)


def _parsed(body: Body, names: Sequence[str], decimal: str, texts: Collection[str]) -> pd.DataFrame:
    missing = {name: [""] if name in texts or name == _EXTRA else MISSING_TEXTS for name in (*names, _EXTRA)}
    stream = io.BytesIO(body.data)
    stream.seek(body.start)
    try:
        with catch_warnings():
            simplefilter("ignore", pd.errors.ParserWarning)  # of lines that are named below
            frame = pd.read_csv(
                stream, header=None, names=[*names, _EXTRA], sep=body.separator, decimal=decimal, index_col=False,
                low_memory=False, keep_default_na=False, na_values=missing, float_precision=FLOAT_PRECISION,
                dtype=dict.fromkeys(texts, "str"),
            )  # fmt: skip
    except pd.errors.EmptyDataError:
        raise InputError(f"{body.path} holds no rows.") from None
    except UnicodeDecodeError:
        raise _undecodable(body.path, body.data, "utf-8") from None
    except (pd.errors.ParserError, OverflowError) as error:
        raise _misfit(body, len(names)) or InputError(
            f"{body.path}: {str(error).splitlines()[0].replace('Error tokenizing data. C error: ', '')}."
        ) from None
    extra = frame.pop(_EXTRA)
    if body.data.find(b'"', body.start) >= 0:
        suspicious = bool(extra.notna().any() or frame[names[-1]].isna().any())
    else:
        suspicious = body.data.count(body.separator.encode(), body.start) != len(frame) * (len(names) - 1)
    misfit = _misfit(body, len(names)) if suspicious else None
    if misfit is not None:
        raise misfit
    return frame


def _misfit(body: Body, width: int) -> InputError | None:
    """The first line that is too short or too long."""
    line = body.line
    try:
        for line, cells in body.records():
            if len(cells) != width:
                return InputError(
                    f"{body.path} line {line}: {plural(width, 'value')} expected, {len(cells)} found: "
                    f"{body.separator.join(cells)[:60]!r}.",
                    remedy=blank_misfit(body.path)
                    if body.separator == " "
                    else "The line is cut off, or a value holds the separator without quotation marks.",
                )
    except csv.Error as error:
        return InputError(f"{body.path}: from line {line} on: {error}.", remedy="Is a quotation mark not closed there?")
    return None


def _safely(body: Body) -> Iterator[tuple[int, list[str]]]:
    """Records up to what cannot be read, which is reported when the whole file is."""
    with suppress(csv.Error):
        yield from body.records()


def _utf8(path: Path, data: bytes, given: str | None) -> tuple[bytes, list[str]]:
    """The file as UTF-8 without a mark; what it was, where that is not the usual."""
    refuse_binary(path, data)
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    encoding = given or marked or "utf-8"
    if given is None and marked is None and b"\0" in data[: 1 << 16]:
        raise InputError(
            f"{path} is binary; a table of text was expected.",
            remedy="Text in UTF-16 without a mark takes --encoding utf-16-le; a compressed file must keep its suffix.",
        )
    try:
        if codecs.lookup(encoding).name == "utf-8":
            return _JOINED_MARK.sub(b"", data) if _MARK in data else data, []
        text = data.decode(encoding).removeprefix("\ufeff").encode()
        note = [] if encoding == "utf-8-sig" else [f"The file is {encoding} text."]
        return _JOINED_MARK.sub(b"", text) if _MARK in text else text, note
    except LookupError:
        raise InputError(f"Encoding {encoding!r} is not known.", remedy="For example utf-8, utf-16, cp1252.") from None
    except UnicodeDecodeError:
        raise _undecodable(path, data, encoding) from None


def _undecodable(path: Path, data: bytes, encoding: str) -> InputError:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\n|\r", data[: error.start])) + 1
        return InputError(
            f"{path} line {line}: {encoding.upper()} text expected, byte 0x{data[error.start]:02x} found.",
            remedy="Name its encoding: --encoding cp1252 (Windows), latin-1 or utf-16.",
        )
    return InputError(f"{path} is no {encoding.upper()} text.")


def _stream(data: bytes, start: int) -> io.TextIOWrapper:
    raw = io.BytesIO(data)
    raw.seek(start)
    return io.TextIOWrapper(raw, "utf-8", errors="replace", newline="")


def _preamble(path: Path, data: bytes) -> _Preamble:
    """What a file says of itself: a separator for Excel, comments, or the attributes of ARFF.

    Raises:
        InputError: it is a document of another kind.
    """
    lines = data[:_START].splitlines(keepends=True)
    start = [line.decode(errors="replace") for line in lines]
    first = next((line.strip() for line in start if line.strip()), "").casefold()
    refuse_text(path, first)
    excel = re.fullmatch(r"sep=(.)", start[0].strip("\r\n"), re.IGNORECASE) if start else None
    if excel is not None:
        length = len(lines[0])
        return _Preamble(length, 2, length, excel[1], notes=("Its first line names the separator.",))
    lowered = [line.strip().casefold() for line in start]
    if first.startswith(("@relation", "%")) and "@data" in lowered:
        names = [match[1].strip("'\"") for line in start if (match := _ATTRIBUTE.match(line.strip()))]
        below = lowered.index("@data") + 1
        if next((line for line in lowered[below:] if line and line[0] != "%"), "").startswith("{"):
            raise InputError(
                f"{path} is sparse ARFF, which is not read.",
                remedy="Write it dense: Weka's filter unsupervised.instance.SparseToNonSparse does.",
            )
        offset = sum(map(len, lines[:below]))
        attributes = distinct_names(names)
        warnings = _repeated(path, names, attributes)
        return _Preamble(offset, below + 1, offset, ",", attributes, ("The file is ARFF.",), warnings)
    table = 0
    for line in lines:
        if line.strip() and not line.startswith(b"#"):
            return _Preamble(table=table)
        table += len(line)
    return _Preamble()


def _without_comments(body: Body, table: int) -> Body:
    """Without the lines that begin with ``#`` and are not as wide as the ``table`` below; a header may begin so."""
    if table <= body.start:
        return body
    width = len(next(csv.reader(_stream(body.data[:_START], table), delimiter=body.separator), []))
    start, number = body.start, body.line
    for line in body.data[body.start : table].splitlines(keepends=True):
        cells = next(csv.reader([line.decode(errors="replace").replace("\0", "")], delimiter=body.separator), [])
        if line.startswith(b"#") and len(cells) == width:
            break
        start, number = start + len(line), number + 1
    return replace(body, start=start, line=number)


def _separator(data: bytes, label: str | None, start: int) -> str:
    """The separator that makes a column of the label's name, else that which makes the most columns."""
    first = next((line for line in _stream(data[: start + _START], start) if line.strip()), "")
    names = {
        mark: [name.strip() for name in next(csv.reader([first.strip("\r\n")], delimiter=mark), [])]
        for mark in _SEPARATORS
    }
    if all(len(columns) == 1 for columns in names.values()):
        return " " if len(next(csv.reader([first.strip()], delimiter=" "), [])) > 1 else ","  # as R writes by default
    fitting = [mark for mark in _SEPARATORS if label is not None and label in names[mark] and len(names[mark]) > 1]
    return max(fitting or _SEPARATORS, key=lambda mark: len(names[mark]))


def _repeated(path: Path, written: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """A warning of column names that occur again, with what these columns are called here."""
    first: dict[str, int] = {}
    repeats = []
    for number, (text, name) in enumerate(zip(written, names, strict=True), 1):
        earlier = first.setdefault(text.strip(), number)
        if earlier != number and text.strip():
            repeats.append(
                f"{earlier} and {number} are both called {text.strip()!r} (column {number} is {name!r} here)"
            )
    more = f"; {len(repeats) - _SHOWN} more repeat a name" if len(repeats) > _SHOWN else ""
    return (f"Columns of {path.name}: {'; '.join(repeats[:_SHOWN])}{more}.",) if repeats else ()


def _header(body: Body, given: bool | None) -> tuple[tuple[str, ...], tuple[str, ...], Body]:
    """Column names, what is wrong with them, and the lines below them."""
    taken: list[int] = []

    def lines() -> Iterator[str]:
        for line in _stream(body.data, body.start):
            taken.append(len(line.encode()))
            yield line.replace("\0", "\ufffd")  # which Python 3.10 does not read

    start, before = 0, 0
    for cells in csv.reader(lines(), delimiter=body.separator):
        if _is_blank(cells):
            start, before = sum(taken), len(taken)  # below where the lines begin
            continue
        if any("\ufffd" in cell for cell in cells):
            raise _undecodable(body.path, body.data, "utf-8")
        if given is False:
            names = tuple(map(str, range(len(cells))))
            return names, (), replace(body, start=body.start + start, line=body.line + before)
        if given is None and all(_is_number(cell) for cell in cells):
            raise InputError(
                f"{body.path} line {body.line + before}: only numbers where column names were expected: "
                f"{body.separator.join(cells)[:60]}.",
                remedy="--no-header names the columns of such a file 0, 1, 2, … (header = false in a workload file).",
            )
        names = distinct_names(cells)
        below = replace(body, start=body.start + sum(taken), line=body.line + len(taken))
        return names, _repeated(body.path, cells, names), below
    raise InputError(f"{body.path} holds no rows.")


def _row_names(names: tuple[str, ...], sample: list[list[str]]) -> tuple[tuple[str, ...], frozenset[str], list[str]]:
    """Names of all columns, those of them that are left out, and why.

    Lines with one value more than the header hold R's row names, or end with a separator. A first column without a name
    that counts the rows is what pandas writes of its index.
    """
    if not sample:
        return names, frozenset(), []
    if all(len(cells) == len(names) + 1 for cells in sample):
        if not any(cells[-1].strip() for cells in sample):
            return (*names, _END), frozenset({_END}), []
        if len({cells[0] for cells in sample}) == len(sample):
            note = "The first value of each line, which has no column name, is the row's name; it is left out."
            return (_ROW, *names), frozenset({_ROW}), [note]
    first = [cells[0].strip() for cells in sample]
    if names[0] in ("", "Unnamed: 0") and len(names) > 1 and all(re.fullmatch(r"\d{1,9}", cell) for cell in first):
        counts = [int(cell) - int(first[0]) for cell in first] == list(range(len(first)))
        if counts:
            return names, frozenset({names[0]}), ["The first column, which has no name, counts the rows; left out."]
    return names, frozenset(), []


def _decimal(sample: list[list[str]], separator: str) -> str:
    """A comma where values of the first lines are numbers with one and no value is a number with a point."""
    cells = [cell.strip() for row in sample for cell in row] if separator != "," else []
    with_comma = any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    with_point = any("." in cell and _is_number(cell) for cell in cells)
    return "," if with_comma and not with_point else "."


def _column(column: pd.Series[Any]) -> pd.Series[Any]:
    """Float64, or categories of trimmed texts in order of appearance."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("float64")
    codes, values = pd.factorize(column)
    return pd.Series(trimmed(codes, [str(value) for value in values]))


def _is_blank(cells: Sequence[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
