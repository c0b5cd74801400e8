"""Rows of a stream once they were read: their columns, which of them fit, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.datasets.gaps import Gaps, are_numbers
from harness.datasets.table import categorical

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Layout:
    """The columns of a row.

    Attributes:
        columns: needed, in order; others are ignored.
        vocabulary: categorical columns and the values they may have, None for any; every other column is a number.
        forms: what a value of a categorical column looks like.
        file_columns: of a file without a header, where that holds more than ``columns``.
        gaps: how values come to be missing; by default none may be.
        known: values of categorical columns that have a feature or code of their own.
    """

    columns: tuple[str, ...]
    vocabulary: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    file_columns: tuple[str, ...] = ()
    forms: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    gaps: Gaps = field(default_factory=Gaps)
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that does not fit: its line (from 1), and why."""

    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that follow one another: the good ones with their lines, and those that do not fit."""

    frame: pd.DataFrame | NDArray[np.float32]  # an array where the file is one
    lines: NDArray[np.int64]
    bad: tuple[BadRow, ...] = ()
    left_out: int = 0  # lines that are no rows: blank, or the header repeated
    place: Callable[[int], str] = "line {}".format  # what errors call a line


def as_training(frame: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Values as training read them: its categories, and numbers that stand for a missing one as NaN."""
    gaps = layout.gaps
    if not gaps.filled:
        return frame
    made: dict[str, Any] = {}
    for name in layout.columns:
        column = frame[name]
        if name in layout.vocabulary:
            known = layout.known.get(name, frozenset())
            numeric = are_numbers(known)
            texts = [gaps.category(str(text), known, numeric=numeric) for text in column.cat.categories]
            names = list(dict.fromkeys([*texts, ""]))
            place = {text: code for code, text in enumerate(names)}
            codes = np.array([*(place[text] for text in texts), place[""]])[column.cat.codes.to_numpy()]
            made[name] = categorical(codes, names)
        elif gaps.sentinels:
            values = column.to_numpy(np.float64)
            made[name] = np.where(np.isin(values, list(gaps.sentinels)), np.nan, values)
        else:
            made[name] = column
    return pd.DataFrame(made, copy=False)


def missing_in(frame: pd.DataFrame, layout: Layout) -> dict[str, int]:
    """Column -> rows in which its value is missing, infinite or beyond float32, where there are any."""
    counts: dict[str, int] = {}
    filled = layout.gaps.filled
    for name in layout.columns:
        column = frame[name]
        if name in layout.known:
            if not filled and "" in layout.known[name]:  # a value like others
                continue
            empty = np.array([*(text == "" for text in column.cat.categories), True])
            counts[name] = int(empty[column.cat.codes.to_numpy()].sum())
        elif filled and name not in layout.vocabulary:
            counts[name] = int((~(np.abs(column.to_numpy()) <= _LARGEST)).sum())
    return {name: rows for name, rows in counts.items() if rows}


def rare_in(frame: pd.DataFrame, layout: Layout) -> dict[str, int]:
    """Column -> rows with one of its rarer values, which have no feature, where there are any."""
    counts: dict[str, int] = {}
    for name in layout.gaps.bounded:
        known = layout.known.get(name, frozenset()) | {""}
        column = frame[name]
        rare = np.array([*(text not in known for text in column.cat.categories), False])
        counts[name] = int(rare[column.cat.codes.to_numpy()].sum())
    return {name: rows for name, rows in counts.items() if rows}


def sorted_out(
    frame: pd.DataFrame, lines: NDArray[np.int64], bad: list[BadRow], layout: Layout, left_out: int = 0
) -> Rows:
    """The rows without those whose numbers are not finite or whose categories are unknown."""
    wrong = np.zeros(len(frame), dtype=bool)
    reasons: dict[int, str] = {}
    for name in layout.columns:
        fits, what = _judged(frame[name], name, layout)
        for row in np.flatnonzero(~fits & ~wrong).tolist():
            reasons[row] = f"column {name!r} {what} {excerpt(str(frame[name].iloc[row]))}"
        wrong |= ~fits
    if not bad and not reasons:
        return Rows(frame, lines, (), left_out)
    bad = bad + [BadRow(int(lines[row]), reason) for row, reason in reasons.items()]
    bad.sort(key=lambda row: row.line)
    return Rows(frame[~wrong].reset_index(drop=True), lines[~wrong], tuple(bad), left_out)


def _judged(column: pd.Series[Any], name: str, layout: Layout) -> tuple[NDArray[np.bool_], str]:
    """Which values of a column may be there, and how an error describes the others."""
    if name not in layout.vocabulary:
        fits = np.ones(len(column), dtype=bool) if layout.gaps.filled else np.isfinite(column.to_numpy())
        return fits, "takes a finite number, not"
    known, form = layout.vocabulary[name], layout.forms.get(name)
    if known is None and form is None:
        return np.ones(len(column), dtype=bool), ""
    values = map(str, column.cat.categories)
    known_ones = [value in known if known is not None else bool(form and form.fullmatch(value)) for value in values]
    what = "cannot be read:" if known is None else "has a category unknown to training:"
    return np.array([*known_ones, False])[column.cat.codes.to_numpy()], what


def joined(frames: Sequence[pd.DataFrame], layout: Layout) -> pd.DataFrame:
    """Frames below each other, or the frame without rows."""
    empty = {
        name: pd.Categorical([]) if name in layout.vocabulary else np.zeros(0)
        for name in layout.columns
    }  # fmt: skip
    if not frames:
        return pd.DataFrame(empty)
    joined = pd.concat([frame.astype(object) for frame in frames], ignore_index=True)
    return joined.astype({name: "category" if name in layout.vocabulary else "float64" for name in layout.columns})


def excerpt(text: str) -> str:
    """A value as an error shows it."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
