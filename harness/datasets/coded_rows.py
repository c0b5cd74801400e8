"""Encoded rows of wide tables of categories, held as numbers and codes: they become features where they are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
BLOCK_BYTES = 1 << 25  # of features that are expanded at once


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the columns of a table lie among its features."""

    features: int
    categorical: tuple[str, ...]  # columns that become indicators or codes
    runs: tuple[tuple[slice, slice], ...]  # features of neighbouring numeric and ordinal columns, and those columns
    logged: Integers  # the numeric ones among them
    coded: Integers  # first feature of each of ``categorical``
    indicators: bool  # a category is an indicator of its own; else its code is the feature

    def features_of(self, numbers: npt.NDArray[Any], codes: npt.NDArray[Any]) -> Floats:
        """Features, C-contiguous (n, ``features``).

        Args:
            numbers: (n, k), the scaled numeric and ordinal columns in column order.
            codes: (n, c), of each of ``categorical`` the position in its vocabulary, -1 where it is not there.
        """
        encoded = np.zeros((len(numbers), self.features), np.float32)
        for features, columns in self.runs:
            encoded[:, features] = numbers[:, columns]
        if not codes.shape[1]:
            return encoded
        if not self.indicators:
            encoded[:, self.coded] = codes
            return encoded
        known = codes >= 0
        rows = np.arange(len(codes))[:, None]
        if known.all():
            encoded[rows, self.coded + codes] = 1.0
        else:
            encoded[np.broadcast_to(rows, codes.shape)[known], (self.coded + codes)[known]] = 1.0
        return encoded


@dataclass(frozen=True, eq=False)
class CodedRows:
    """Rows (n, d) that are a float32 array wherever one is asked for, and take the memory of their columns until then.

    ``rows[places]`` and ``np.asarray(rows)`` are features; `kept` chooses rows that stay as they are.
    """

    layout: Layout
    numbers: Floats  # (n, k)
    codes: Codes  # (n, c)

    ndim = 2
    dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self), self.layout.features

    def __getitem__(self, places: slice | Integers | npt.NDArray[np.bool_]) -> Floats:
        return self.layout.features_of(self.numbers[places], self.codes[places])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)

    def kept(self, chosen: npt.NDArray[np.bool_]) -> CodedRows:
        """Some of the rows, by a mask."""
        return replace(self, numbers=self.numbers[chosen], codes=self.codes[chosen])

    def blocks(self) -> Iterator[Floats]:
        """The features of all rows in order, some rows at a time."""
        step = rows_at_once(self.layout.features)
        for start in range(0, len(self), step):
            yield self[start : start + step]


Rows = Floats | CodedRows


def rows_at_once(features: int) -> int:
    """How many rows of so many features are expanded at once."""
    return max(1, BLOCK_BYTES // (4 * max(1, features)))
