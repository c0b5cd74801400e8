"""Columns to float32 features: fitted on training rows, and stored by fitted parameters, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets.coded_rows import CodedRows, Layout
from harness.datasets.gaps import Absent, Gaps
from harness.datasets.options import Encoding, parse_encoding
from harness.decode import decode, encode

Doubles = npt.NDArray[np.float64]

_PARAMETERS = {  # fitted attributes from which scikit-learn's transformers work
    "standard": ("mean_", "scale_", "var_"),
    "minmax": ("min_", "scale_", "data_min_", "data_max_", "data_range_"),
    "quantile": ("quantiles_", "references_"),
}
PIXELS = {"unit": (np.float32(1 / 255), np.float32(0)), "signed": (np.float32(2 / 255), np.float32(-1))}
LARGEST = float(np.finfo(np.float32).max)
_QUANTILES = 1000
_QUANTILE_ROWS = 100_000  # rows the quantiles are estimated from


@dataclass(frozen=True, eq=False)
class Scaler:
    """One of scikit-learn's scalers, held by its fitted parameters."""

    kind: str  # "standard" | "minmax" | "quantile"
    parameters: Mapping[str, Doubles]

    @classmethod
    def fit(cls, kind: str, block: Doubles) -> Scaler:
        """Fit on rows of shape (n, k)."""
        transformer = _transformer(kind, len(block)).fit(block)
        return cls(kind, {name: np.asarray(getattr(transformer, name)) for name in _PARAMETERS[kind]})

    def transform(self, block: Doubles) -> Doubles:
        """Scale rows of shape (n, k), to the bit as scikit-learn does; the block is overwritten where that can be."""
        parameters = self.parameters
        match self.kind:  # without the checks of scikit-learn, which cost a served row more than its score
            case "standard":
                block -= parameters["mean_"]
                block /= parameters["scale_"]
                return block
            case "minmax":
                block *= parameters["scale_"]
                block += parameters["min_"]
                return block
        transformer = _transformer(self.kind, len(block))
        for name, value in self.parameters.items():
            setattr(transformer, name, value)
        transformer.n_features_in_ = block.shape[1]
        scaled: Doubles = transformer.transform(block)
        return scaled


@dataclass(frozen=True, eq=False)
class Encoder:
    """Turns named columns into a float32 matrix; the same for training, test and serving.

    A category that training did not hold becomes an all-zero indicator group, or the code -1. A missing category is one
    of its own, written as an empty text, where training has rows without one. A number that is missing, infinite or
    beyond float32 becomes the median of the other training values of its column.
    """

    encoding: Encoding
    columns: tuple[str, ...]
    vocabulary: Mapping[str, tuple[str, ...]]  # categorical column -> its values, in order of their codes
    fill: Doubles  # one median per numeric or ordinal column, in column order
    scaler: Scaler | None
    gaps: Gaps = field(default_factory=Gaps)  # how values come to be missing
    absent: Absent | None = None  # how many were, of ``columns``; None in bundles of before

    @classmethod
    def fit(
        cls,
        text: str,
        frame: pd.DataFrame,
        *,
        scaler_rows: npt.NDArray[np.bool_] | None = None,
        vocabulary: Mapping[str, tuple[str, ...]] | None = None,
        indicators: int | None = None,
    ) -> Encoder:
        """Fit on the rows of ``frame``.

        Args:
            text: see ``harness.datasets.options.parse_encoding``.
            frame: float columns and categorical columns.
            scaler_rows: rows on which the scaler is fitted; all when ``None``.
            vocabulary: values of categorical columns that the data set's published schema fixes.
            indicators: of each other categorical column at most so many, for its most frequent values.

        Raises:
            ValueError: ``text`` is no encoding.
        """
        encoding = parse_encoding(text)
        if encoding is None:
            raise ValueError(f"unknown encoding {text!r}")
        fixed = vocabulary or {}
        most = indicators if encoding.categories == "onehot" else None
        words = {
            str(name): fixed.get(str(name)) or _values(frame[name], most)
            for name in frame.columns
            if isinstance(frame[name].dtype, pd.CategoricalDtype)
        }
        absent = Absent.of((_is_absent(frame[name]) for name in frame.columns), len(frame))
        unscaled = cls(encoding, tuple(map(str, frame.columns)), words, np.zeros(0), None, absent=absent)
        if encoding.scaling in PIXELS:
            return unscaled
        block = unscaled._logarithms(unscaled._numbers(frame))
        unscaled = replace(unscaled, fill=_medians(block))
        if encoding.scaling not in _PARAMETERS or not block.shape[1]:
            return unscaled
        chosen = block if scaler_rows is None else block[scaler_rows]
        return replace(unscaled, scaler=Scaler.fit(encoding.scaling, unscaled._prepared(chosen)))

    def refit_vocabulary(self, frame: pd.DataFrame) -> Encoder:
        """The same encoder with its categories taken from ``frame`` instead: the leak of some published protocols."""
        return replace(self, vocabulary={name: _values(frame[name]) for name in self.vocabulary})

    @property
    def indicator_columns(self) -> tuple[str, ...]:
        """The columns whose values are features of their own."""
        return tuple(name for name in self.columns if self._is_indicator(name))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the output columns; an indicator is ``column=value``."""
        return tuple(
            feature
            for name in self.columns
            for feature in (
                (f"{name}={value}" for value in self.vocabulary[name]) if self._is_indicator(name) else (name,)
            )
        )

    def transform(self, frame: pd.DataFrame | Mapping[str, Sequence[Any]]) -> npt.NDArray[np.float32]:
        """Encode rows given as named columns.

        Returns:
            C-contiguous float32 of shape (rows, ``len(feature_names)``).

        Raises:
            KeyError: a column is missing.
        """
        columns = frame if isinstance(frame, pd.DataFrame) else _typed(frame, self.columns, self.vocabulary)
        if self.encoding.scaling in PIXELS:
            pixels = columns[list(self.columns)].to_numpy(np.float32)
            return self.assemble(pixels, np.empty((len(columns), 0), dtype=np.int64))
        return self.assemble(self._numbers(columns), self._places(columns))

    def coded(self, frame: pd.DataFrame) -> CodedRows:
        """The rows that `transform` gives, to the bit, in the memory of their columns; see `CodedRows`."""
        codes = self._places(frame).astype(np.int32)
        return CodedRows(self._layout, self._scaled(self._numbers(frame)).astype(np.float32), codes)

    def assemble(self, numbers: npt.NDArray[Any], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Features of rows that are numbers already.

        Args:
            numbers: (n, k), the numeric and ordinal columns in column order; it may be overwritten.
            codes: (n, c), of each categorical column that is encoded by indicators or codes the position in its
                vocabulary, -1 where it is not there.

        Returns:
            As `transform`.
        """
        if self.encoding.scaling in PIXELS:
            factor, offset = PIXELS[self.encoding.scaling]
            return np.ascontiguousarray(numbers.astype(np.float32, copy=False) * factor + offset)
        return self._layout.features_of(self._scaled(numbers), codes)

    @cached_property
    def _layout(self) -> Layout:
        numbers: list[int] = []
        logged: list[int] = []
        coded: list[int] = []
        categorical: list[str] = []
        position = 0
        for name in self.columns:
            if self._is_indicator(name) or self._is_code(name):
                coded.append(position)
                categorical.append(name)
            else:
                if name not in self.vocabulary:
                    logged.append(len(numbers))
                numbers.append(position)
            position += len(self.vocabulary[name]) if self._is_indicator(name) else 1
        return Layout(
            position, tuple(categorical), _runs(numbers), np.array(logged, dtype=np.int64),
            np.array(coded, dtype=np.int64), self.encoding.categories == "onehot",
        )  # fmt: skip

    def unseen(self, frame: pd.DataFrame) -> dict[str, int]:
        """Categorical column -> rows whose value training did not hold; columns without any are left out.

        Rows without a value do not count.
        """
        counts = {
            name: int(((_codes(frame[name], values) < 0) & frame[name].notna().to_numpy()).sum())
            for name, values in self.vocabulary.items()
        }
        return {name: rows for name, rows in counts.items() if rows}

    def without_indicator(self, frame: pd.DataFrame) -> dict[str, int]:
        """Categorical column -> how many of the values in ``frame``, that of training, have no indicator."""
        counts = {name: len(_values(frame[name])) - len(words) for name, words in self.vocabulary.items()}
        return {name: values for name, values in counts.items() if values > 0 and self._is_indicator(name)}

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that is fitted, as arrays for ``numpy.savez``; read back with ``allow_pickle=False``."""
        described = {
            "encoding": [self.encoding.categories, self.encoding.log, self.encoding.scaling],
            "columns": self.columns,
            "vocabulary": {name: list(values) for name, values in self.vocabulary.items()},
            "gaps": encode(self.gaps),
        }
        arrays: dict[str, npt.NDArray[Any]] = {"encoder": np.array(json.dumps(described)), "fill": self.fill}
        if self.scaler is not None:
            arrays |= {f"scaler.{name}": value for name, value in self.scaler.parameters.items()}
        if self.absent is not None:
            arrays |= {"absent.rows": self.absent.rows, "absent.counts": self.absent.counts}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Encoder:
        """Rebuild from what ``to_arrays`` gave.

        Raises:
            KeyError, ValueError: the arrays are not those of an encoder.
        """
        described = json.loads(str(arrays["encoder"]))
        categories, log, scaling = described["encoding"]
        scaler = None
        if scaling in _PARAMETERS and any(name.startswith("scaler.") for name in arrays):
            scaler = Scaler(scaling, {name: np.asarray(arrays[f"scaler.{name}"]) for name in _PARAMETERS[scaling]})
        absent = Absent(arrays["absent.rows"], arrays["absent.counts"]) if "absent.rows" in arrays else None
        return cls(
            Encoding(categories, log, scaling),
            tuple(described["columns"]),
            {name: tuple(values) for name, values in described["vocabulary"].items()},
            np.asarray(arrays["fill"]),
            scaler,
            decode(Gaps, described["gaps"], "encoder.npz: gaps")
            if "gaps" in described
            else Gaps(),  # older bundles have none
            absent,
        )

    def _is_indicator(self, name: str) -> bool:
        return self.encoding.categories == "onehot" and name in self.vocabulary

    def _is_code(self, name: str) -> bool:
        return self.encoding.categories == "codes" and name in self.vocabulary

    def _scaled(self, numbers: npt.NDArray[Any]) -> Doubles:
        """The block as features: its logarithms, without gaps, scaled, within float32; it may be overwritten."""
        block = self._prepared(self._logarithms(numbers))
        if self.scaler is not None:
            block = self.scaler.transform(block)
        np.minimum(block, LARGEST, out=block)
        np.maximum(block, -LARGEST, out=block)
        return block

    def _places(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Of each column of indicators or codes the positions in its vocabulary, (n, c)."""
        codes = np.empty((len(frame), len(self._layout.categorical)), dtype=np.int64)
        for position, name in enumerate(self._layout.categorical):
            codes[:, position] = _codes(frame[name], self.vocabulary[name])
        return codes

    def _numbers(self, frame: pd.DataFrame) -> Doubles:
        """Numeric and ordinal columns as one block."""
        chosen = [name for name in self.columns if not self._is_indicator(name) and not self._is_code(name)]
        block = np.empty((len(frame), len(chosen)))
        for position, name in enumerate(chosen):
            known = self.vocabulary.get(name)
            block[:, position] = frame[name].to_numpy(np.float64) if known is None else _codes(frame[name], known)
        return block

    def _logarithms(self, block: Doubles) -> Doubles:
        """The block with the logarithms of its numeric columns, where the encoding takes them."""
        logged = self._layout.logged
        if not self.encoding.log or not len(logged):
            return block
        if len(logged) == block.shape[1]:
            return signed_log(block)
        block[:, logged] = signed_log(block[:, logged])
        return block

    def _prepared(self, block: Doubles) -> Doubles:
        sound = np.abs(block) <= LARGEST
        return block if sound.all() else np.where(sound, block, self.fill)


def _transformer(kind: str, rows: int) -> Any:
    from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler

    match kind:
        case "standard":
            return StandardScaler(copy=False)
        case "minmax":
            return MinMaxScaler(copy=False)
        case _:
            return QuantileTransformer(
                n_quantiles=min(_QUANTILES, max(rows, 1)), subsample=_QUANTILE_ROWS, random_state=0, copy=False
            )


def _values(column: pd.Series[Any], most: int | None = None) -> tuple[str, ...]:
    """The values that occur, sorted as text, as scikit-learn's encoders order them; of many the ``most`` frequent.

    Rows without a value make an empty text one of them.
    """
    codes = column.cat.codes.to_numpy()
    counts = np.bincount(codes[codes >= 0], minlength=len(column.cat.categories))
    rows = {str(value): int(count) for value, count in zip(column.cat.categories, counts, strict=True) if count}
    if (codes < 0).any():
        rows[""] = rows.get("", 0) + int((codes < 0).sum())
    frequent = sorted(rows, key=lambda value: (-rows[value], value))[:most]
    return tuple(sorted(frequent))


def _codes(column: pd.Series[Any], vocabulary: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Position of each value in the vocabulary, -1 where it is not there; a missing value is an empty text."""
    place = {value: position for position, value in enumerate(vocabulary)}
    by_category = [place.get(str(value), -1) for value in column.cat.categories]
    return np.array([*by_category, place.get("", -1)], dtype=np.int64)[column.cat.codes.to_numpy()]


def _is_absent(column: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Which rows have no value: no category, or no number within float32."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.isna() | (column == ""), dtype=np.bool_)
    return np.asarray(~(np.abs(column.to_numpy(np.float64)) <= LARGEST), dtype=np.bool_)


def _runs(places: list[int]) -> tuple[tuple[slice, slice], ...]:
    """Neighbouring places together: each with the indexes that they have in the list."""
    starts = [index for index, place in enumerate(places) if not index or place != places[index - 1] + 1]
    return tuple(
        (slice(places[start], places[start] + stop - start), slice(start, stop))
        for start, stop in pairwise([*starts, len(places)])
    )


def signed_log(block: Doubles) -> Doubles:
    """The logarithm of one more than the size of each number, with its sign."""
    logs: Doubles = np.abs(block)
    np.log1p(logs, out=logs)
    return np.copysign(logs, block, out=logs)


def _medians(block: Doubles) -> Doubles:
    medians = np.zeros(block.shape[1])
    for position in range(block.shape[1]):
        finite = block[:, position][np.abs(block[:, position]) <= LARGEST]
        if len(finite):
            medians[position] = np.median(finite)
    return medians


def _typed(
    rows: Mapping[str, Sequence[Any]], columns: tuple[str, ...], vocabulary: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: pd.Categorical([None if value is None or value != value else str(value) for value in rows[name]])
            if name in vocabulary
            else np.asarray(rows[name], dtype=np.float64)
            for name in columns
        }
    )
