"""Encoded rows of wide tables of categories, held as numbers and codes: they become features where they are taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    @property
    def numeric(self) -> Integers:
        """The feature of each numeric and ordinal column."""
        return np.array(
            [place for features, _ in self.runs for place in range(features.start, features.stop)], np.int64
        )

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

    def kept(self, chosen: npt.NDArray[np.bool_] | Integers) -> CodedRows:
        """Some of the rows, by a mask or by their places."""
        return replace(self, numbers=self.numbers[chosen], codes=self.codes[chosen])

    def blocks(self) -> Iterator[Floats]:
        """The features of all rows in order, some rows at a time."""
        step = rows_at_once(self.layout.features)
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def columns(self, chosen: Integers | None = None) -> Iterator[Floats]:
        """All rows of the ``chosen`` features, by default of all, in that order and some features at a time."""
        features = np.arange(self.layout.features) if chosen is None else chosen
        step = max(1, BLOCK_BYTES // (4 * max(1, len(self))))
        for start in range(0, len(features), step):
            yield self._columns(features[start : start + step])

    def rows_with(self) -> Integers:
        """How many rows have the indicator of each feature; all of them where it is none."""
        layout = self.layout
        counts = np.zeros(layout.features, np.int64)
        counts[layout.numeric] = len(self)
        if not layout.indicators:
            counts[layout.coded] = len(self)
            return counts
        return counts + np.bincount(self._places()[self.codes >= 0], minlength=layout.features)

    def csr(self) -> Any:
        """The features as a ``scipy.sparse.csr_matrix``, which sparse methods of scikit-learn take."""
        from scipy.sparse import csr_matrix

        numeric = np.broadcast_to(self.layout.numeric.astype(np.int32), self.numbers.shape)
        of_codes = np.ones(self.codes.shape, np.float32) if self.layout.indicators else self.codes.astype(np.float32)
        places, values = np.hstack([numeric, self._places()]), np.hstack([self.numbers, of_codes])
        there = np.hstack([self.numbers != 0, self.codes >= 0 if self.layout.indicators else self.codes != 0])
        starts = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        matrix = csr_matrix((values[there], places[there], starts), shape=self.shape)
        matrix.sort_indices()
        return matrix

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For an ``.npz`` file."""
        layout = self.layout
        runs = [(features.start, features.stop, columns.start, columns.stop) for features, columns in layout.runs]
        return {
            "numbers": self.numbers,
            "codes": self.codes,
            "features": np.array(layout.features),
            "categorical": np.array(layout.categorical, dtype=np.str_),
            "runs": np.array(runs, dtype=np.int64).reshape(-1, 4),
            "logged": layout.logged,
            "coded": layout.coded,
            "indicators": np.array(layout.indicators),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> CodedRows:
        """Back from `to_arrays`.

        Raises:
            KeyError, ValueError: the arrays are others.
        """
        runs = tuple((slice(*run[:2]), slice(*run[2:])) for run in arrays["runs"].tolist())
        features, indicators = int(arrays["features"]), bool(arrays["indicators"])
        categorical = tuple(arrays["categorical"].tolist())
        layout = Layout(features, categorical, runs, arrays["logged"], arrays["coded"], indicators)
        return cls(layout, arrays["numbers"], arrays["codes"])

    def _places(self) -> Codes:
        """The feature of each code; of one that is not there something."""
        coded = self.layout.coded.astype(np.int32)
        return coded + self.codes if self.layout.indicators else np.broadcast_to(coded, self.codes.shape)

    def _columns(self, features: Integers) -> Floats:
        layout, rows = self.layout, np.arange(len(self))
        block = np.zeros((len(self), len(features)), np.float32)
        place_of = np.full(layout.features, -1, np.int64)
        place_of[features] = np.arange(len(features))
        at = place_of[layout.numeric]
        block[:, at[at >= 0]] = self.numbers[:, at >= 0]
        for start, codes in zip(layout.coded, self.codes.T, strict=True):
            if not layout.indicators:
                if place_of[start] >= 0:
                    block[:, place_of[start]] = codes
                continue
            at = np.where(codes >= 0, place_of[start + np.maximum(codes, 0)], -1)
            block[rows[at >= 0], at[at >= 0]] = 1.0
        return block


Rows = Floats | CodedRows


def chosen_rows(rows: Rows, chosen: npt.NDArray[np.bool_] | Integers) -> Rows:
    """Some of the rows, by a mask or by their places; those held as codes stay so."""
    return rows.kept(chosen) if isinstance(rows, CodedRows) else rows[chosen]


def rows_at_once(features: int) -> int:
    """How many rows of so many features are expanded at once."""
    return max(1, BLOCK_BYTES // (4 * max(1, features)))
