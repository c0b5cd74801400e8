"""Tables of one's own: ``csv:`` or ``parquet:`` with a file, folder or pattern, and the name of the label column."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile, labels, own_rows, splits, times
from harness.datasets.columns import Rules, as_texts, features, number
from harness.datasets.gaps import Form, own_gaps
from harness.datasets.locate import own_tables
from harness.datasets.options import character, choice, column, encoding, names, share, switch, text
from harness.datasets.own_rows import OwnRows, without_blank_rows
from harness.datasets.raw_table import RawTable
from harness.datasets.recipe import Reading, Recipe, Request
from harness.datasets.store import Found
from harness.datasets.table import Split, Table, column_name, counted
from harness.errors import InputError

_BAD_TIMES = 0.05  # share of rows that may have no readable time
_INDICATORS = 255  # of one column at most
_INDICATOR_BYTES = 1 << 30  # of all columns together, as float32
_WIDE_BYTES = 1 << 27  # from here on at most so many indicators as below: more are a matrix of zeros
_WIDE = 1024
_FEWEST_INDICATORS = 8


def _read(local: Found, request: Request) -> Reading:
    if request.options["label"] is None:
        table = _raw(local.files[0].path, request)
        raise InputError(
            f"Data set {request.dataset}: option 'label' must name its label column.",
            remedy=f"--label COLUMN names it (label in a workload file). Its columns: {_some(table.frame)}.",
        )
    train = [_raw(entry.path, request) for entry in local.files]
    test_files = request.options["test_files"]
    test = [_raw(entry.path, request) for entry in own_tables(test_files)] if test_files else []
    rows = without_blank_rows(_joined(train, test))
    if not len(rows.frame):
        raise InputError(f"{rows.path} holds no rows.")
    return Reading(_split(rows, request), rows.digests, None)


def _raw(path: Path, request: Request) -> RawTable:
    """The columns of a file but those to drop."""
    options = request.options
    unwanted = set(options["drop"] or ()) - {str(options["label"]), str(options["time"])}
    dropped: set[str] = set()

    def wanted(name: str) -> bool:
        if name in unwanted:
            dropped.add(name)
        return name not in unwanted

    columnar = request.dataset.startswith("parquet:")
    table = own_rows.read(path, _form(request), options["label"], columnar=columnar, wanted=wanted)
    return replace(table, dropped=frozenset(dropped))


def _form(request: Request) -> Form:
    options = request.options
    return Form(options["sep"], options["decimal"], options["text_encoding"], options["header"])


def _joined(train: Sequence[RawTable], test: Sequence[RawTable]) -> OwnRows:
    """Files one below the other; a column that any of them takes for texts is one of texts.

    Raises:
        InputError: a file lacks a column that the first one has.
    """
    first = train[0]
    for other in (*train[1:], *test)[:1]:
        _names_or_values(first, other)
    tables = [first, *(_named_alike(table, first) for table in (*train[1:], *test))]
    for table in tables[1:]:
        _require_same(table, first)
    notes = [note for table in tables[1:] for note in _further(table, first)]
    texts = {
        name
        for table in tables
        for name in first.frame.columns
        if isinstance(table.frame[name].dtype, pd.CategoricalDtype)
    }
    frames = [
        pd.DataFrame(
            {name: as_texts(table.frame[name]) if name in texts else table.frame[name] for name in first.frame.columns},
            copy=False,
        )
        for table in tables
    ]
    ends = list(accumulate(len(frame) for frame in frames))

    def place(row: int) -> str:
        number = bisect_right(ends, row)
        start = ends[number - 1] if number else 0
        return ("" if len(tables) == 1 else f"{tables[number].path.name} ") + tables[number].place(row - start)

    joined = frames[0] if len(frames) == 1 else csvfile.concatenate(frames)
    path = str(first.path) if len(tables) == 1 else f"{first.path} and {len(tables) - 1} more"
    notes = list(dict.fromkeys([*(note for table in tables for note in table.notes), *notes]))
    warnings = tuple(dict.fromkeys(warning for table in tables for warning in table.warnings))
    digests = {table.path.name: table.sha256 for table in tables}
    return OwnRows(joined, path, place, ends[len(train) - 1], digests, first.dropped, tuple(notes), warnings)


def _require_same(table: RawTable, first: RawTable) -> None:
    """See that a file has the columns of the first one.

    Raises:
        InputError: names those that it lacks, and what to do.
    """
    spare = [str(name) for name in table.frame.columns if name not in first.frame.columns]
    missing = [str(name) for name in first.frame.columns if name not in table.frame.columns]
    if not missing:
        return
    near = get_close_matches(missing[0], spare, n=1)
    meant = f"Is {near[0]!r} meant for {missing[0]!r}? Rename it. " if near else ""
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    raise InputError(
        f"{table.path} lacks columns that {first.path.name} has: {', '.join(map(repr, missing[:3]))}{more}.",
        remedy=f"{meant}--drop {','.join(missing[:3])} leaves them out of all files.",
    )


def _further(table: RawTable, first: RawTable) -> list[str]:
    """A note of the columns that the first file lacks."""
    more = [str(name) for name in table.frame.columns if name not in first.frame.columns]
    some = ", ".join(map(repr, more[:3])) + (" …" if len(more) > 3 else "")
    return [f"{table.path.name} has columns that {first.path.name} lacks: {some}; left out."] if more else []


def _names_or_values(table: RawTable, other: RawTable) -> None:
    """Refuse a file without a header.

    Raises:
        InputError: the first line of ``table`` holds numbers where that of ``other`` holds none.
    """
    own, names = (list(map(str, each.frame.columns)) for each in (table, other))
    if len(own) == len(names) and not {*own} & {*names} and sum(map(number, own)) > sum(map(number, names)):
        raise InputError(
            f"{table.path} line 1: values where column names were expected: {', '.join(own)[:60]}.",
            remedy=f"Give it the header of {other.path.name}, or leave the file out.",
        )


def _named_alike(table: RawTable, first: RawTable) -> RawTable:
    """The table with the column names of the first one, where they are the same but for capitals.

    Raises:
        InputError: its first line holds values and no names.
    """
    _names_or_values(table, first)
    names, own = list(map(str, first.frame.columns)), list(map(str, table.frame.columns))
    spelt = {name.casefold(): name for name in names}
    meant = {name: spelt.get(name.casefold(), name) for name in own}
    if meant == dict(zip(own, own, strict=True)) or len({*meant.values()}) < len(own):
        return table
    note = f"Column names of {table.path.name} differ from those of {first.path.name} in capitals."
    return replace(table, frame=table.frame.rename(columns=meant), notes=(*table.notes, note))


def _split(rows: OwnRows, request: Request) -> Split:
    options = request.options
    columns = list(map(str, rows.frame.columns))
    label_name = column_name(options["label"], columns)
    time_name = None if options["time"] is None else column_name(options["time"], columns)
    _require(rows, label_name, "label")
    for name in (time_name, *(options["categories"] or ())):
        if name:
            _require(rows, name, "time" if name == time_name else "categories")
    meaning = labels.Meaning(options["normal"], options["anomalies"], options["unlabelled"])
    judged = labels.judge(rows.frame[label_name], rows.path, rows.place, meaning)
    rows = replace(rows.take(np.flatnonzero(judged.kept)), notes=(*rows.notes, *judged.notes))
    label, classes = judged.label, judged.classes
    order = None
    if time_name:
        order, dated, time_notes = _times(rows, time_name)
        rows = replace(rows.take(np.flatnonzero(dated)), notes=(*rows.notes, *time_notes))
        label, classes, order = label[dated], classes[dated], order[dated]
    described = rows.frame.drop(columns=[label_name, *([time_name] if time_name else [])])
    rules = Rules(tuple(options["categories"] or ()), tuple(options["missing"] or ()))
    made = features(described, rows.path, rows.place, rules)
    kept = made.frame
    if not len(kept.columns):
        raise InputError(f"{rows.path} has no column left to learn from.", remedy=" ".join(made.notes) or None)
    table = Table(kept, label, classes)
    split = _cut(table, order, rows.train, request, (*rows.notes, *made.notes, *_broken(kept)))
    return replace(
        split,
        left_out=rows.dropped | made.left_out,
        indicators=_indicators(kept),
        warnings=rows.warnings,
        gaps=own_gaps(rules.missing, made.strays, _form(request)),
    )


def _cut(
    table: Table, order: npt.NDArray[np.int64] | None, train: int, request: Request, notes: tuple[str, ...]
) -> Split:
    """Training and test rows: as the files have them, else by time, else at random."""
    options = request.options
    validation = options["validation"]
    if train < len(table):
        rows = np.arange(len(table))
        test = table.take(rows >= train)
        if order is None:
            return Split(table.take(rows < train), test, notes=notes)
        early = splits.by_time(table.take(rows < train), order[:train], validation=validation, share=0.0, notes=notes)
        return replace(early, test=test)
    if order is None:
        return splits.random(table, request, notes, share=options["test"])
    return splits.by_time(table, order, validation=validation, share=options["test"], notes=notes)


def _times(rows: OwnRows, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], list[str]]:
    """Order of the rows in time, and which of them have a time."""
    column = rows.frame[name]
    notes = []
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy()
        parsed = times.parse([str(value) for value in column.cat.categories], codes)
        order = np.append(parsed.stamps, times.UNKNOWN)[codes]
        dated = order != times.UNKNOWN
        which = " (day and month could be exchanged)" if parsed.ambiguous else ""
        notes.append(f"Column {name!r}: dates were read as {parsed.form}{which}.")
    else:
        dated = column.notna().to_numpy()
        order = np.zeros(len(column), np.int64)
        order[dated] = np.unique(column.to_numpy()[dated], return_inverse=True)[1]
    bad = int((~dated).sum())
    if bad > max(1, _BAD_TIMES * len(dated)):
        raise InputError(
            f"{rows.path} {rows.place(int((~dated).argmax()))}: column {name!r} holds no time that can be read; so do "
            f"{bad:,} of {len(dated):,} rows.",
            remedy="Times are numbers, or dates such as 2024-01-31 23:59:59, 31/01/2024 11:59 PM.",
        )
    if bad:
        first = rows.place(int((~dated).argmax()))
        notes.append(f"{counted(bad, 'row')} left out, without a readable time in {name!r} (first: {first}).")
    return order, dated, notes


def _broken(frame: pd.DataFrame) -> list[str]:
    numbers = [name for name in frame.columns if not isinstance(frame[name].dtype, pd.CategoricalDtype)]
    broken = np.zeros(len(frame), np.bool_)
    columns = 0
    for name in numbers:
        odd = ~(np.abs(frame[name].to_numpy()) <= np.finfo(np.float32).max)
        columns += bool(odd.any())
        broken |= odd
    if not columns:
        return []
    return [
        f"{counted(int(broken.sum()), 'row')} with numbers that are missing, infinite or beyond float32, in "
        f"{counted(columns, 'column')}: "
        "the training median takes their place."
    ]


def _indicators(frame: pd.DataFrame) -> int:
    """Most indicators of a column of texts, so that those of all columns stay within a bound."""
    values = [frame[name].nunique() for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
    a_feature = 4 * max(1, len(frame))
    together = min(_INDICATOR_BYTES // a_feature, max(_WIDE, _WIDE_BYTES // a_feature))
    most = _INDICATORS
    while most > _FEWEST_INDICATORS and sum(min(count, most) for count in values) > together:
        most -= 1
    return most


def _require(rows: OwnRows, name: str, option: str) -> None:
    columns = list(map(str, rows.frame.columns))
    if name not in columns:
        folded = {column.casefold(): column for column in columns}
        near = get_close_matches(name.casefold(), folded, n=1)
        meant = f"Did you mean {folded[near[0]]!r}? " if near else ""
        raise InputError(
            f"{rows.path} has no column {name!r}, which option {option!r} names.",
            remedy=f"{meant}Its columns: {_some(rows.frame)}.",
        )


def _some(frame: pd.DataFrame) -> str:
    """The first columns of a frame and its last, where a label often is."""
    columns = list(map(str, frame.columns))
    return ", ".join(columns if len(columns) <= 20 else [*columns[:18], "…", columns[-1]])


def _synthesise(request: Request) -> Split:
    raise InputError(f"{request.dataset} is a file of your own; there is no stand-in for it.")


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("onehot-standard"),
        "label": column(help="name of the label column, or its number where there are no names; -1 is the last"),
        "normal": names(help="values of the label column that stand for normal rows"),
        "anomalies": names(help="values of the label column that stand for anomalies; all that are not normal"),
        "unlabelled": names(help='values of the label column ("" for none) of rows to leave out'),
        "categories": names(help="columns that are categories although they hold numbers"),
        "missing": names(help="texts that stand for a missing value, such as ?"),
        "time": column(help="column the rows are ordered by; the latest then test, and it is no feature"),
        "test": share(0.2, help="share of the rows that test"),
        "test_files": text(None, help="file, folder or pattern whose rows test; those of the data set then train"),
        "sep": character(help="separator of values; detected by default"),
        "decimal": character(help="decimal mark of numbers; detected by default"),
        "text_encoding": text(None, help="character encoding of the file; UTF-8 by default"),
        "header": switch(help="whether the first line has column names; without, they are 0, 1, 2, …"),
        "train_rows": choice("all", "normal", help="training rows kept; validation and test keep both kinds"),
    },
)
