"""Raw rows of requests to features, bit for bit as the bundle's encoder makes them, without a data frame."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import isfinite, nan
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.encoders import Doubles, Encoder
from harness.datasets.few_rows import MOST, FewRows
from harness.datasets.gaps import are_numbers
from harness.serving.exchange import Checked, Rows
from harness.serving.json_input import field_error
from harness.wording import plural

_NUMBERS = {int, float}
_NONE = "\0"  # no category of any column
_NEVER = -2  # code of no category


class RowEncoder:
    """Encodes rows given as lists in the order of the encoder's columns."""

    def __init__(self, encoder: Encoder) -> None:
        self.columns = encoder.columns
        self._encoder = encoder
        self.filled = encoder.gaps.filled  # a number may be missing
        self.absent = encoder.absent if self.filled else None  # how many were in training, where that is known
        self._sentinels = encoder.gaps.sentinels
        self._numbers: list[int] = []  # columns of the numeric block, ordinal codes among them
        self._texts: list[tuple[int, dict[str, int]]] = []  # column, codes
        self._ordinals: list[tuple[int, dict[str, int]]] = []  # place among the numbers, codes
        for index, name in enumerate(encoder.columns):
            values = encoder.vocabulary.get(name)
            codes = {} if values is None else {value: code for code, value in enumerate(values)}
            if values is not None and encoder.encoding.categories in ("onehot", "codes"):
                self._texts.append((index, codes))
                continue
            if values is not None:
                self._ordinals.append((len(self._numbers), codes))
            self._numbers.append(index)
        self._pack = struct.Struct(f"{len(self._numbers)}d").pack
        self._pack_codes = struct.Struct(f"{len(self._texts)}q").pack
        self._few = FewRows.of(encoder)
        self._chosen: Callable[[list[Any]], tuple[Any, ...]] = _getter(self._numbers)

    def check(self, row: Any, where: str | Callable[[int], str], *, booleans: bool = True) -> Checked:
        """A row's numbers and codes.

        Args:
            row: a list of ``columns``.
            where: its JSON path, for errors; or what gives that of a column.
            booleans: whether there may be any in the row, which would pass for numbers.

        Raises:
            HttpError: a row of another length, no finite number, or a category that training did not hold.
        """
        if type(row) is not list or len(row) != len(self.columns):
            raise field_error(
                where if isinstance(where, str) else "$", f"a list of {plural(len(self.columns), 'value')}", row
            )
        numbers = self._chosen(row)
        if self._ordinals:
            numbers = self._with_ordinals(numbers, where)
        packed = b""
        try:
            packed = self._pack(*numbers)
            fits = isfinite(sum(numbers))  # an infinity stays one in the sum
        except (struct.error, OverflowError):
            fits = False
        if self.filled and not (fits and self._sentinels.isdisjoint(numbers)):
            numbers, packed = self._with_gaps(numbers, where)
        elif not fits or (booleans and bool in map(type, numbers)):
            self._refuse(where, numbers)  # unless the sum alone is too large
        try:
            return packed, tuple([codes[row[column]] for column, codes in self._texts])
        except (KeyError, TypeError):
            return packed, self._categories(row, where)

    def features(self, rows: Sequence[Checked]) -> Rows:
        """Features of checked rows: float32, C-contiguous, (rows, features)."""
        if self._few is not None and len(rows) <= MOST:
            features = self._few.features(self._block(rows), [codes for _, codes in rows])
            if features is not None:
                return features
        packed = b"".join([self._pack_codes(*codes) for _, codes in rows])  # half the time of an array made of tuples
        codes = np.frombuffer(packed, dtype=np.int64).reshape(len(rows), len(self._texts))
        return self._encoder.assemble(self._block(rows), codes)

    def missing(self, rows: Sequence[Checked]) -> NDArray[np.bool_] | None:
        """Which values of rows were missing, (rows, columns); None where it is not known how many were in training."""
        if self.absent is None:
            return None
        missing = np.zeros((len(rows), len(self.columns)), dtype=np.bool_)
        numbers = self._block(rows)
        missing[:, self._numbers] = np.isnan(numbers)
        for place, codes in self._ordinals:
            missing[:, self._numbers[place]] = numbers[:, place] == self._without(self._numbers[place], codes)
        for place, (column, codes) in enumerate(self._texts):
            missing[:, column] = [given[place] == self._without(column, codes) for _, given in rows]
        return missing

    def _without(self, column: int, codes: dict[str, int]) -> int:
        """The code of a category that is missing: -1, where that is not one of those without a feature, too."""
        return codes.get("", _NEVER if self.columns[column] in self._encoder.gaps.bounded else -1)

    def _block(self, rows: Sequence[Checked]) -> Doubles:
        """The numbers of rows, to be overwritten."""
        packed = bytearray().join([numbers for numbers, _ in rows])
        return np.frombuffer(packed, dtype=np.float64).reshape(len(rows), len(self._numbers))

    def encode(self, rows: Sequence[Any], path: str) -> Rows:
        """Features of rows whose list is at the JSON path ``path``.

        Raises:
            HttpError: see `check`.
        """
        return self.features([self.check(row, f"{path}[{index}]") for index, row in enumerate(rows)])

    def _categories(self, row: list[Any], where: str | Callable[[int], str]) -> tuple[int, ...]:
        """Codes of texts, some of which came as numbers."""
        codes_of = []
        for column, codes in self._texts:
            codes_of.append(self._code(column, codes, row[column], where))
        return tuple(codes_of)

    def _with_ordinals(self, numbers: tuple[Any, ...], where: str | Callable[[int], str]) -> tuple[Any, ...]:
        values = list(numbers)
        for place, codes in self._ordinals:
            values[place] = self._code(self._numbers[place], codes, values[place], where)
        return tuple(values)

    def _code(self, column: int, codes: dict[str, int], value: Any, where: str | Callable[[int], str]) -> int:
        """That of a category; -1 of one that is missing, or known to training without a feature of its own."""
        code = codes.get(_text(value))
        gaps = self._encoder.gaps
        if code is None and gaps.filled:
            text = "" if value is None else gaps.category(_text(value), codes, numeric=are_numbers(codes))
            bounded = self.columns[column] in gaps.bounded and text != _NONE
            code = codes.get(text, -1 if not text or bounded else None)
        if code is None:
            raise self._unfit(where, column, "a category that training held", value)
        return code

    def _with_gaps(self, numbers: tuple[Any, ...], where: str | Callable[[int], str]) -> tuple[tuple[Any, ...], bytes]:
        """Numbers of which some are missing, as training took them, and packed."""
        values = tuple(nan if value is None else value for value in numbers)
        self._refuse(where, tuple(0.0 if value != value else value for value in values))
        values = tuple(nan if value in self._sentinels else value for value in values)
        return values, self._pack(*values)

    def _refuse(self, where: str | Callable[[int], str], numbers: Sequence[Any]) -> None:
        for column, value in zip(self._numbers, numbers, strict=True):
            if type(value) not in _NUMBERS:
                raise self._unfit(where, column, "a number", value)
        for column, value in zip(self._numbers, numbers, strict=True):
            try:
                finite = isfinite(float(value))
            except OverflowError:
                finite = False
            if not finite:
                raise self._unfit(where, column, "a finite number", str(value))

    def _unfit(self, where: str | Callable[[int], str], column: int, expected: str, value: object) -> Exception:
        path = f"{where}[{column}]" if isinstance(where, str) else where(column)
        return field_error(path, f"{expected} ({self.columns[column]})", value)


def _text(value: object) -> str:
    """A category as training saw it; a value that is none is no category of any column."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else _NONE


def _getter(columns: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: tuple(row[column] for column in columns)
