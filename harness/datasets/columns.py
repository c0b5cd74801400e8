"""From raw columns to features: numbers with their few stray tokens, categories, and what is left out, each said."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import times
from harness.datasets.gaps import BOOLEANS, MISSING, NUMBER
from harness.datasets.table import categorical, counted
from harness.errors import InputError

# Numbers as people write them and no program reads them without being told: 1,234.5, 1.234,5, 12,5, 12 %, $3, ="1.5",
# and with a minus that is none.
_FORMATTED = re.compile(
    r"[$€£]?\s?[+\-\u2212\u2013]?((\d{1,3}([,'\u2019 \u00a0\u202f]\d{3})+|\d+)([.,]\d+)?|\d{1,3}(\.\d{3})+,\d+)"
    r"\s?[%$€£]?"
    r"|=\"[+-]?\d+([.,]\d+)?\""
    r"|[+-]?(\d+\.?\d*|\.\d+)[dD][+-]\d+|\(\d+([.,]\d+)*\)"  # of Fortran, and of accountants
    r"|[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?\s?"  # with a unit; a single letter that numbers seats or flats is none
    r"([nuµm]?s|sec|min|h|hrs?|[kKMGT]i?B|bytes|[kMG]?b(ps|it/s)|[kKMGT]?i?B/s|[kMG]?Hz|[mk]?V|[mµ]A|[kM]?W|[kM]?Wh|°[CF]"
    r"|[kmhM]?Pa|m?bar|psi|rpm|[cmkµn]?m|[mk]?g|m/s|km/h|mph|dBm?|pp[mb]|ml)"
)
_DURATION = re.compile(r"\d{1,3}:\d{2}(:\d{2}([.,]\d+)?)?")
_MOST_MISSING = 0.2  # share of a column's values that may be such tokens, unless the user names them
_MOST_STRAY = 0.01  # and share that may be other texts (one of them always may)
_NUMERIC = 0.9  # share of numbers from which a column of both kinds is one of numbers
_UNIQUE = 0.5  # a column of texts of which more are distinct than this share of the rows describes nothing
_FEW = 32  # distinct texts that are always categories
_SAMPLE = 2_000  # rows that show whether a column of texts has numbers
_TIMES = 0.95  # share of a column's texts that are times, for it to be one of times
_KEPT_STRAYS = 100  # texts of a column that are remembered as missing


@dataclass(frozen=True)
class Rules:
    """What the user says of columns."""

    categories: Sequence[str] = ()
    missing: Sequence[str] = ()  # texts that stand for a missing value, at any share


@dataclass(frozen=True, eq=False)
class Features:
    """Columns to learn from.

    Attributes:
        frame: the columns.
        notes: what was done to which column.
        left_out: names of the columns that were left out.
        strays: texts that are no numbers, in columns of numbers, that were counted as missing; column -> texts.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    left_out: frozenset[str]
    strays: Mapping[str, tuple[str, ...]]


class _Made(NamedTuple):
    """A column's values, what to say of them, and texts among its numbers that were counted as missing."""

    values: Any
    note: str = ""
    strays: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Texts:
    """A column of texts: its distinct values with their numbers of rows."""

    name: str
    codes: npt.NDArray[np.int64]
    values: list[str]
    counts: npt.NDArray[np.int64]

    def first(self, chosen: npt.NDArray[np.bool_]) -> int:
        """The first row that holds one of the chosen values."""
        return int(np.append(chosen, False)[self.codes].argmax())


def features(frame: pd.DataFrame, path: str, place: Callable[[int], str], rules: Rules) -> Features:
    """Features of a table.

    Args:
        frame: float64, categorical or datetime columns, without label and time.
        path: of the file, for messages.
        place: where a row stands.
        rules: what the user says.

    Raises:
        InputError: a column holds numbers and too many texts to be either.
    """
    kept: dict[str, Any] = {}
    notes: list[str] = []
    out: list[str] = []
    strays: dict[str, tuple[str, ...]] = {}
    for name in map(str, frame.columns):
        column = frame[name]
        made = _feature(column, name, path, place, rules)
        if isinstance(made, str):
            notes.append(f"Column {name!r} {made}; it is left out.")
            out.append(name)
            continue
        kept[name] = made.values
        if made.note:
            notes.append(f"Column {name!r}: {made.note}")
        if made.strays:
            strays[name] = made.strays
    return Features(pd.DataFrame(kept, index=frame.index, copy=False), tuple(notes), frozenset(out), strays)


def _feature(column: pd.Series[Any], name: str, path: str, place: Callable[[int], str], rules: Rules) -> _Made | str:
    """What is made of it, or why it is left out."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "holds times"
    if not isinstance(column.dtype, pd.CategoricalDtype):
        values = column.to_numpy(np.float64)
        sentinels = _parsed(list(rules.missing))[0]
        if np.isfinite(sentinels).any():
            values = np.where(np.isin(values, sentinels), np.nan, values)
        if np.isnan(values).all():
            return "is empty"
        return _Made(as_categories(values) if name in rules.categories else values)
    codes = column.cat.codes.to_numpy().astype(np.int64)
    texts = [str(value) for value in column.cat.categories]
    declared = {text.strip().casefold() for text in rules.missing}
    missing = np.array([text.casefold() in declared for text in texts] + [False], np.bool_)
    if missing.any():
        codes = np.where(missing[codes], -1, codes)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    if not counts.sum():
        return "is empty"
    data = _Texts(name, codes, texts, counts)
    if name not in rules.categories:
        numbers = _numbers(data, path, place)
        if numbers is not None:
            return numbers
        _refuse_formatted(data, path, place)
        reason = _no_category(data)
        if reason is not None:
            return reason
    used = np.flatnonzero(counts)
    lookup = np.full(len(texts) + 1, -1)
    lookup[used] = np.arange(len(used))
    return _Made(categorical(lookup[codes], [texts[position] for position in used]))


def _numbers(data: _Texts, path: str, place: Callable[[int], str]) -> _Made | None:
    """The column as numbers with what is none counted as missing; ``None`` where it is one of texts.

    Raises:
        InputError: it is neither.
    """
    if not _has_numbers(data):
        return None
    values, is_number = _parsed(data.values)
    of_missing = ~is_number & np.array([text.casefold() in MISSING for text in data.values], np.bool_)
    of_text = ~is_number & ~of_missing
    numbers, missing, strays = (int(data.counts[chosen].sum()) for chosen in (is_number, of_missing, of_text))
    present = numbers + missing + strays
    if not numbers or numbers < strays:
        return None
    odd = of_missing | of_text
    shown = ", ".join(repr(data.values[position]) for position in np.flatnonzero(odd & (data.counts > 0))[:3])
    at = place(data.first(odd & (data.counts > 0))) if missing + strays else ""
    if (
        strays > max(1, _MOST_STRAY * present)
        or (strays and numbers < _NUMERIC * present)
        or (missing > max(1, _MOST_MISSING * present))
    ):
        _refuse_formatted(data, path, place)
        raise InputError(
            f"{path} {at}: column {data.name!r} holds {numbers:,} numbers, and {missing + strays:,} values that are no "
            f"numbers: {shown}.",
            remedy=f"Leave it out (--drop {data.name}), or in a workload file's dataset_options: categories = "
            f'["{data.name}"], or missing = [VALUE, …] for what stands for a missing number.',
        )
    note = f"{counted(missing + strays, 'value')} counted as missing, no number: {shown} ({at})." if at else ""
    stray = tuple(data.values[position] for position in np.flatnonzero(of_text & (data.counts > 0))[:_KEPT_STRAYS])
    return _Made(np.append(values, np.nan)[data.codes], note, stray)


def _refuse_formatted(data: _Texts, path: str, place: Callable[[int], str]) -> None:
    """Numbers with marks of thousands, of money or of percent are neither texts nor, without being told, numbers.

    Raises:
        InputError: the column holds such.
    """
    some = np.flatnonzero(data.counts)[:_SAMPLE]
    formatted = np.array([_FORMATTED.fullmatch(data.values[code]) is not None for code in some], np.bool_)
    odd = formatted & np.array([NUMBER.fullmatch(data.values[code]) is None for code in some], np.bool_)
    if formatted.mean() < _NUMERIC or not odd.any():
        return
    code = int(some[odd.argmax()])
    chosen = np.arange(len(data.values)) == code
    raise InputError(
        f"{path} {place(data.first(chosen))}: column {data.name!r} holds numbers written as {data.values[code]!r}.",
        remedy=f"Write them plainly, as 1234.5, without unit; leave the column out (--drop {data.name}), or take it "
        f'for categories (categories = ["{data.name}"] in a workload file); --decimal , reads 12,5.',
    )


def _has_numbers(data: _Texts) -> bool:
    """Whether any of some rows holds a number; where none does, not every text need be looked at."""
    codes = np.unique(data.codes[:: max(1, len(data.codes) // _SAMPLE)])
    return bool(_parsed([data.values[code] for code in codes if code >= 0])[1].any())


def _parsed(texts: Sequence[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Numbers of the texts, and which are numbers; true and false are where nothing else occurs."""
    if texts and {text.casefold() for text in texts} <= BOOLEANS.keys():
        return np.array([BOOLEANS[text.casefold()] for text in texts]), np.ones(len(texts), np.bool_)
    is_number = np.array([NUMBER.fullmatch(text) is not None for text in texts], np.bool_)
    values = [float(text) if number else np.nan for text, number in zip(texts, is_number, strict=True)]
    return np.array(values, np.float64), is_number


def _no_category(data: _Texts) -> str | None:
    """Why a column of texts is no category, or ``None``."""
    present = int(data.counts.sum())
    distinct = int((data.counts > 0).sum())
    start = [text for text, count in zip(data.values[:50], data.counts[:50], strict=True) if count]
    if start and (times.parse(start).stamps != times.UNKNOWN).mean() >= _TIMES / 2:
        known = times.parse(data.values).stamps != times.UNKNOWN
        if data.counts[known].sum() >= _TIMES * present:
            return "holds times (option 'time' orders the rows by one)"
    if distinct > _FEW and start and _DURATION.fullmatch(start[0]):
        lasting = np.array([_DURATION.fullmatch(text) is not None for text in data.values], np.bool_)
        if data.counts[lasting].sum() >= _TIMES * present:
            return "holds times of day or durations (as seconds they would be a number)"
    if distinct > max(_FEW, _UNIQUE * present):
        return f"holds {distinct:,} different texts in {present:,} rows, as names and numbers of things do"
    return None


def number(text: str) -> bool:
    """Whether a text is a number as programs write it."""
    return NUMBER.fullmatch(text) is not None


def is_number_below(column: pd.Series[Any]) -> bool:
    """Whether a column of texts holds numbers alone, but for its first row, whose text is in no other row."""
    codes = column.cat.codes.to_numpy()
    if codes[0] < 0 or (codes[1:] == codes[0]).any():
        return False
    used = np.unique(codes[1:])
    texts = [str(column.cat.categories[code]) for code in used if code >= 0]
    return bool(texts) and not number(str(column.iloc[0])) and all(number(text) for text in texts)


def as_categories(values: npt.NDArray[np.float64]) -> pd.Categorical:
    """Numbers as categories named as they are written: 22, not 22.0."""
    codes, numbers = pd.factorize(values, sort=True)
    return categorical(
        codes, [str(int(number)) if float(number).is_integer() else repr(float(number)) for number in numbers]
    )


def as_texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of numbers as categories; others as they are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    return pd.Series(as_categories(column.to_numpy(np.float64)), index=column.index)
