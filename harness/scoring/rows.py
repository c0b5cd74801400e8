"""Rows of a stream once they were read: their columns, which of them fit, and what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """The columns of a row.

    Attributes:
        columns: needed, in order; others are ignored.
        vocabulary: categorical columns and the values they may have, None for any; every other column is a number.
        forms: what a value of a categorical column looks like.
        file_columns: of a file without a header, where that holds more than ``columns``.
    """

    columns: tuple[str, ...]
    vocabulary: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    file_columns: tuple[str, ...] = ()
    forms: Mapping[str, re.Pattern[str]] = field(default_factory=dict)


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


def sorted_out(frame: pd.DataFrame, lines: NDArray[np.int64], bad: list[BadRow], layout: Layout) -> Rows:
    """The rows without those whose numbers are not finite or whose categories are unknown."""
    wrong = np.zeros(len(frame), dtype=bool)
    reasons: dict[int, str] = {}
    for name in layout.columns:
        fits, what = _judged(frame[name], name, layout)
        for row in np.flatnonzero(~fits & ~wrong).tolist():
            reasons[row] = f"column {name!r} {what} {excerpt(str(frame[name].iloc[row]))}"
        wrong |= ~fits
    if not bad and not reasons:
        return Rows(frame, lines)
    bad = bad + [BadRow(int(lines[row]), reason) for row, reason in reasons.items()]
    bad.sort(key=lambda row: row.line)
    return Rows(frame[~wrong].reset_index(drop=True), lines[~wrong], tuple(bad))


def _judged(column: pd.Series[Any], name: str, layout: Layout) -> tuple[NDArray[np.bool_], str]:
    """Which values of a column may be there, and how an error describes the others."""
    if name not in layout.vocabulary:
        return np.isfinite(column.to_numpy()), "takes a finite number, not"
    known, form = layout.vocabulary[name], layout.forms.get(name)
    if known is None and form is None:
        return np.ones(len(column), dtype=bool), ""
    values = map(str, column.cat.categories)
    fits = [value in known if known is not None else bool(form and form.fullmatch(value)) for value in values]
    what = "cannot be read:" if known is None else "has a category unknown to training:"
    return np.array([*fits, False])[column.cat.codes.to_numpy()], what


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
