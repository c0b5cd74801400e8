"""Rows of tables of one's own as their files hold them, before a label or a split: of training, and of scoring."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile, delimited, parquet
from harness.datasets.columns import is_number_below, number
from harness.datasets.gaps import Form
from harness.datasets.raw_table import RawTable
from harness.datasets.store import digest
from harness.datasets.table import counted

_INDEX = "__index_level_"  # columns that pandas adds to Parquet files to restore its row numbers
_UNITS = "no number where all below have one, as of units"


@dataclass(frozen=True, eq=False)
class OwnRows:
    """The rows of all files, one below the other."""

    frame: pd.DataFrame
    path: str  # for messages
    place: Callable[[int], str]
    train: int  # rows of the training files; the others test
    digests: dict[str, str]
    dropped: frozenset[str]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> OwnRows:
        """Some of the rows, in their order."""
        return replace(
            self,
            frame=self.frame.iloc[rows].reset_index(drop=True),
            place=lambda row: self.place(int(rows[row])),
            train=int((rows < self.train).sum()),
        )


def read(
    path: Path,
    form: Form,
    label: str | int | None,
    *,
    columnar: bool,
    texts: Collection[str] = (),
    wanted: Callable[[str], bool] = lambda _: True,
) -> RawTable:
    """A file's columns.

    Args:
        path: of the file.
        form: what is known of one of text.
        label: a column that must be there, which is read as texts.
        columnar: it is a Parquet or Arrow file.
        texts: other columns to read as texts; one of digits would else be one of numbers.
        wanted: which columns are kept.

    Raises:
        InputError: it cannot be read.
    """
    if not columnar:
        table = delimited.read(path, form, label, texts)
        return replace(table, frame=table.frame[[name for name in table.frame.columns if wanted(str(name))]])
    blocks = list(parquet.frames(path, lambda name: wanted(name) and not name.startswith(_INDEX)))
    frame = csvfile.concatenate(blocks) if blocks else pd.DataFrame()
    return RawTable(path, frame, digest(path), lambda row: f"row {row + 1}")


def without_blank_rows(rows: OwnRows) -> OwnRows:
    """The rows without those in which every value is missing, and without repetitions of the header."""
    blank = np.ones(len(rows.frame), np.bool_)
    header = np.ones(len(rows.frame), np.bool_)
    units = _units(rows.frame)
    for name in rows.frame.columns:
        column = rows.frame[name]
        if blank.any():
            blank &= column.isna().to_numpy()
        if header.any():
            header &= _holds(column, str(name))
        if not blank.any() and not header.any() and not units.any():
            return rows
    notes = list(rows.notes)
    for chosen, what in ((blank, "every value missing"), (header, "the header repeated"), (units, _UNITS)):
        if chosen.any():
            first = rows.place(int(chosen.argmax()))
            notes.append(f"{counted(int(chosen.sum()), 'row')} left out, {what} (first: {first}).")
    return replace(rows.take(np.flatnonzero(~blank & ~header & ~units)), notes=tuple(notes))


def _units(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """The first row where all of its values are texts and at least two columns hold nothing but numbers below it."""
    units = np.zeros(len(frame), np.bool_)
    if len(frame) < 2 or not all(isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes):
        return units
    columns = [frame[name] for name in frame.columns]
    alone = [column for column in columns if is_number_below(column)]
    units[0] = len(alone) > 1 and not any(number(str(column.iloc[0])) for column in columns)
    return units


def _holds(column: pd.Series[Any], name: str) -> npt.NDArray[np.bool_]:
    """The rows of a column that hold its own name, in capitals or not."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return np.zeros(len(column), np.bool_)
    same = [str(text).casefold() == name.casefold() for text in column.cat.categories]
    return np.array([*same, False], np.bool_)[column.cat.codes.to_numpy()]
