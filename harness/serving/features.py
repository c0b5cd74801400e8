"""Raw rows of requests to features, bit for bit as the bundle's encoder makes them, without a data frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.encoders import PIXELS, Encoder
from harness.serving.exchange import Rows
from harness.serving.json_input import field_error

_NUMBERS = {int, float}


class RowEncoder:
    """Encodes rows given as lists in the order of the encoder's columns."""

    def __init__(self, encoder: Encoder) -> None:
        self.columns = encoder.columns
        self._encoder = encoder
        self._features = len(encoder.feature_names)
        self._numbers: list[int] = []  # columns of the numeric block, ordinal codes among them
        self._places: list[int] = []  # their positions among the features
        self._texts: list[tuple[int, dict[str, int], int, str]] = []  # column, codes, position, use
        position = 0
        for index, name in enumerate(encoder.columns):
            values = encoder.vocabulary.get(name)
            codes = {value: code for code, value in enumerate(values)} if values is not None else {}
            use = "number" if values is None else encoder.encoding.categories
            if values is not None:
                self._texts.append((index, codes, position, use))
            if use not in ("onehot", "codes"):
                self._numbers.append(index)
                self._places.append(position)
            position += len(codes) if use == "onehot" else 1
        logged = [encoder.columns[index] not in encoder.vocabulary for index in self._numbers]
        self._logged, self._all_logged = np.array(logged, dtype=bool), all(logged)
        self._chosen: Callable[[list[Any]], tuple[Any, ...]] = _getter(self._numbers)

    def encode(self, rows: Sequence[Any], path: str) -> Rows:
        """Features of rows.

        Args:
            rows: each a list of ``columns``.
            path: JSON path of the list of rows, for errors; ``path[i]`` is a row's. Empty for a single row.

        Returns:
            float32, C-contiguous, (rows, features).

        Raises:
            HttpError: a row of another length, no finite number, or a category that training did not hold.
        """
        encoded = np.zeros((len(rows), self._features), np.float32)
        block = np.empty((len(rows), len(self._numbers)))
        for index, row in enumerate(rows):
            if type(row) is not list or len(row) != len(self.columns):
                raise field_error(_where(path, index), f"a list of {len(self.columns)} values", row)
            numbers = self._chosen(row)
            for column, codes, position, use in self._texts:
                code = codes.get(row[column], -1) if type(row[column]) is str else codes.get(_text(row[column]), -1)
                if code < 0:
                    raise self._unfit(_where(path, index), column, "a category that training held", row[column])
                if use == "onehot":
                    encoded[index, position + code] = 1.0
                elif use == "codes":
                    encoded[index, position] = code
                else:
                    numbers = (*numbers[: (at := self._numbers.index(column))], code, *numbers[at + 1 :])
            if not _NUMBERS.issuperset(map(type, numbers)):
                self._refuse(_where(path, index), numbers)
            try:
                finite = isfinite(sum(numbers))  # an infinity stays one in the sum
            except OverflowError:
                finite = False
            if not finite:  # or a sum of finite numbers overflows
                self._refuse_infinite(_where(path, index), numbers)
            block[index] = numbers
        encoded[:, self._places] = self._scaled(block)
        return encoded

    def _scaled(self, block: NDArray[np.float64]) -> NDArray[Any]:
        encoder, scaler = self._encoder, self._encoder.scaler
        if encoder.encoding.scaling in PIXELS:
            factor, offset = PIXELS[encoder.encoding.scaling]
            return block.astype(np.float32) * factor + offset
        if encoder.encoding.log:
            logs = np.copysign(np.log1p(np.abs(block)), block)
            block = logs if self._all_logged else np.where(self._logged, logs, block)
        if scaler is None:
            return block
        match scaler.kind:
            case "standard":
                block -= scaler.parameters["mean_"]
                block /= scaler.parameters["scale_"]
                return block
            case "minmax":
                block *= scaler.parameters["scale_"]
                block += scaler.parameters["min_"]
                return block
            case _:
                return scaler.transform(block)

    def _refuse(self, where: str, numbers: Sequence[Any]) -> None:
        for column, value in zip(self._numbers, numbers, strict=True):
            if type(value) not in _NUMBERS:
                raise self._unfit(where, column, "a number", value)

    def _refuse_infinite(self, where: str, chosen: Sequence[Any]) -> None:
        for column, value in zip(self._numbers, chosen, strict=True):
            try:
                finite = isfinite(float(value))
            except OverflowError:
                finite = False
            if not finite:
                raise self._unfit(where, column, "a finite number", str(value))

    def _unfit(self, where: str, column: int, expected: str, value: object) -> Exception:
        return field_error(f"{where}[{column}]", f"{expected} ({self.columns[column]})", value)


def _text(value: object) -> str:
    """A category as training saw it; a value that is none is no category of any column."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else "\0"


def _getter(columns: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: tuple(row[column] for column in columns)


def _where(path: str, index: int) -> str:
    return f"{path}[{index}]" if path else "features"
