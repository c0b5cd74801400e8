"""Tables that are texts of another make than lines of cells: JSON in its usual shapes, and libsvm (svmlight)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.datasets.file_kinds import as_csv
from harness.datasets.raw_table import RawTable, column_of
from harness.errors import InputError
from harness.platform.memory import usable_bytes

_MOST_JSON = 1 << 29  # bytes that are parsed: as values of a program they are several times as much
_START = 1 << 16
_SHARE = 1 / 4  # of the memory that a libsvm file may take as a table
_LABEL = r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?"
_SVMLIGHT = re.compile(rf"{_LABEL}(\s+qid:\d+)?(\s+\d+:[^\s:#]+)+\s*(#.*)?")


def read_json(path: Path, data: bytes, sha256: str) -> RawTable | None:
    """Rows that are objects, one per line or in an array, or columns that are arrays or objects; None if it is no JSON.

    Objects within objects become columns ``outer.inner``, arrays within them texts.

    Raises:
        InputError: it is JSON of another shape, broken, or too large; names the line.
    """
    start = data[:_START].decode("utf-8", "replace").lstrip()
    if not re.match(r"\{\s*(\"|\}|$)|\[\s*(\{|\[|$)", start):
        return None
    if len(data) > _MOST_JSON:
        raise InputError(
            f"{path} is JSON of more than {_MOST_JSON >> 20} MiB.",
            remedy=as_csv(path, f"import pandas; pandas.read_json({str(path)!r}, lines=True)"),
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} line {line}: JSON is UTF-8 text, byte 0x{data[error.start]:02x} found.") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if start.startswith("{") and len(lines) > 1 and _is_object(lines[0][1]):
        places = [f"line {number}" for number, _ in lines]
        rows = [_object(path, number, line) for number, line in lines]
        return _table(path, sha256, rows, places, "The file is JSON lines.")
    document = _parsed(path, text, "")
    if isinstance(document, dict):
        columns = _columns(document)
        if columns is not None:
            count = len(next(iter(columns.values())))
            frame = pd.DataFrame({name: column_of(values) for name, values in columns.items()})
            places = [f"row {number + 1}" for number in range(count)]
            return RawTable(path, frame, sha256, places.__getitem__, ("The file is JSON, a column to a key.",))
        arrays = [name for name, value in document.items() if _is_rows(value)]
        document = document[arrays[0]] if len(arrays) == 1 else [document] if not arrays else document
    if not _is_rows(document):
        raise InputError(
            f"{path} is JSON that holds no table; an array of objects, or an object per line, was expected.",
            remedy="Write it with pandas: DataFrame.to_json(FILE, orient='records', lines=True).",
        )
    places = [f"record {number + 1}" for number in range(len(document))]
    return _table(path, sha256, document, places, "The file is a JSON array.")


def read_svmlight(path: Path, data: bytes, sha256: str) -> RawTable | None:
    """Column ``label`` and a column per feature number; None if the first line is not that of libsvm.

    Raises:
        InputError: a line is of another form, or the table of all features would not fit into memory.
    """
    start = data[:_START].decode("utf-8", "replace").splitlines()
    if _SVMLIGHT.fullmatch(next((line.strip() for line in start if line.strip() and line[0] != "#"), "")) is None:
        return None
    lines = [(number, line.strip()) for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1)]
    rows = [(number, line) for number, line in lines if line and not line.startswith("#")]
    from sklearn.datasets import load_svmlight_file

    for number, line in rows:
        if _SVMLIGHT.fullmatch(line) is None and re.fullmatch(_LABEL + r"\s*(#.*)?", line) is None:
            raise InputError(
                f"{path} line {number}: libsvm text (LABEL FEATURE:VALUE …) expected, {line[:60]!r} found."
            )
    try:
        values, labels = load_svmlight_file(io.BytesIO(data), zero_based=True)
    except ValueError as error:
        raise InputError(f"{path} is no readable libsvm text: {error}.") from None
    used = np.flatnonzero(np.diff(values.tocsc().indptr))
    memory = usable_bytes()
    if memory is not None and 8 * len(rows) * len(used) > _SHARE * memory:
        raise InputError(
            f"{path} is libsvm text of {len(rows):,} rows and {len(used):,} features, which take "
            f"{8 * len(rows) * len(used) / 2**30:.1f} GiB as a table.",
            remedy="Take fewer of its rows (head -n), or make fewer features of it first.",
        )
    dense = values[:, used].toarray()
    frame = pd.DataFrame({"label": labels, **{str(name): dense[:, at] for at, name in enumerate(used)}})
    numbers = [number for number, _ in rows]
    note = "The file is libsvm text: column 'label' is the first value of a line, the others are feature numbers."
    return RawTable(path, frame, sha256, lambda row: f"line {numbers[row]}", (note,))


def _table(path: Path, sha256: str, rows: Sequence[Any], places: Sequence[str], note: str) -> RawTable:
    flat = [_flat(row) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    frame = pd.DataFrame({name: column_of([row.get(name) for row in flat]) for name in names})
    return RawTable(path, frame, sha256, places.__getitem__, (note,))


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of an object, those of objects in it under joined names."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and value:
            values |= _flat(value, f"{prefix}{name}.")
        else:
            values[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list | dict) else value
    return values


def _columns(document: Mapping[str, Any]) -> dict[str, list[Any]] | None:
    """Columns of ``{"a": [1, 2]}`` or of ``{"a": {"0": 1, "1": 2}}``, as pandas writes by default; None for others."""
    values = list(document.values())
    if not values or not isinstance(values[0], list | dict) or not values[0]:
        return None
    first = values[0]
    if all(isinstance(value, list) and len(value) == len(first) for value in values) and not _is_rows(first):
        return {name: list(value) for name, value in document.items()}
    same = isinstance(first, dict) and all(isinstance(value, dict) and value.keys() == first.keys() for value in values)
    if same and len(values) > 1:
        return {name: list(value.values()) for name, value in document.items()}
    return None


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    value = _parsed(path, line, f" line {number}")
    if not isinstance(value, dict):
        raise InputError(f"{path} line {number}: a JSON object expected, {line.strip()[:60]!r} found.")
    return value


def _parsed(path: Path, text: str, at: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{path}{at} is JSON that is nested too deeply.") from None
    except ValueError as error:
        raise InputError(
            f"{path}{at} is no readable JSON: {error}.",
            remedy="A file whose lines are objects needs a whole object on every line.",
        ) from None
