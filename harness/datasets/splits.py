"""Ways to cut one table into training, validation and test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.datasets.recipe import Request
from harness.datasets.table import Indices, Split, Table, row_hashes
from harness.errors import InputError
from harness.wording import percentage

TEST_SHARE = 0.2
SHARE_TOLERANCE = 0.02  # by which the share of test rows may differ from what was asked for without a word
PREVALENCE_TOLERANCE = 0.1  # and, relatively, the anomalies among them


def random(table: Table, request: Request, notes: tuple[str, ...] = (), share: float = TEST_SHARE) -> Split:
    """A random split as the protocol has it: clean, no test row occurs in training; as published, equal rows may."""
    if request.published:
        return at_random(table, seed=request.seed, share=share, notes=notes)
    notes = (*notes, "Equal rows were kept on one side of the random split.")
    return replace(equal_rows_together(table, seed=request.seed, share=share, notes=notes), drawn=True)


def at_random(table: Table, *, seed: int, share: float = TEST_SHARE, notes: tuple[str, ...] = ()) -> Split:
    """A random share of the rows as test, each label keeping its share; equal rows may fall on both sides."""
    from sklearn.model_selection import train_test_split

    lone = np.bincount(table.label).min() < 2  # a label of one row has no share to keep
    train, test = train_test_split(
        np.arange(len(table)), test_size=share, stratify=None if lone else table.label, random_state=seed
    )
    return Split(table.take(train), table.take(test), notes=notes)


def equal_rows_together(table: Table, *, seed: int, share: float = TEST_SHARE, notes: tuple[str, ...] = ()) -> Split:
    """A random share of the rows of each label as test; rows that are equal stay together.

    No test row then occurs in training, and the rows of both splits together are those of the table. Rows that occur
    once are drawn to reach the share, after rows that repeat were drawn in random order as far as they fit. Where they
    leave the test rows off the share or the prevalence, a note says what they gave.

    Raises:
        InputError: every row has so many equal ones that none can test.
    """
    _, group = np.unique(row_hashes(table), return_inverse=True)
    sizes = np.stack([np.bincount(group[table.label == label], minlength=int(group.max()) + 1) for label in (0, 1)])
    rows = sizes.sum(axis=1)
    wanted = np.round(share * rows).astype(np.int64)
    if share:
        wanted = np.where(rows > 1, np.clip(wanted, 1, rows - 1), rows)  # a lone row of a label tests
    rng = np.random.default_rng(seed)
    chosen = np.zeros(sizes.shape[1], np.bool_)
    repeated = np.flatnonzero(sizes.sum(axis=0) > 1)
    open_rows = np.minimum(wanted, np.ceil(share * sizes[:, repeated].sum(axis=1)).astype(np.int64))
    for number in rng.permutation(repeated) if len(repeated) else ():
        if (sizes[:, number] <= open_rows).all():
            open_rows -= sizes[:, number]
            chosen[number] = True
    for label in (0, 1):
        lone = np.flatnonzero((sizes[label] == 1) & (sizes.sum(axis=0) == 1))
        lacking = int(np.clip(wanted[label] - sizes[label, chosen].sum(), 0, len(lone)))
        chosen[rng.choice(lone, size=lacking, replace=False)] = True
    in_test = chosen[group]
    if not in_test.any():
        raise InputError(
            f"Of {len(table):,} rows only {sizes.shape[1]:,} differ: as equal rows stay together, none can test.",
            remedy="Name files that test (--test), a time to split by (--time), or take --protocol as-published, which "
            "lets equal rows fall on both sides.",
        )
    note = _off(table.label, in_test, share)
    return Split(table.take(~in_test), table.take(in_test), notes=(*notes, *note))


def _off(label: npt.NDArray[np.int8], in_test: npt.NDArray[np.bool_], share: float) -> tuple[str, ...]:
    """What a split gave, where that is not what was asked for."""
    given, prevalence, whole = float(in_test.mean()), float(label[in_test].mean()), float(label.mean())
    anomalies = int(label.sum())
    expected = share * anomalies
    if abs(given - share) <= SHARE_TOLERANCE and abs(label[in_test].sum() - expected) <= max(
        1.0, PREVALENCE_TOLERANCE * expected
    ):
        return ()
    return (
        f"As equal rows stay together, the test rows are {percentage(given, 1)} of all ({percentage(share)} asked for) "
        f"and hold {int(label[in_test].sum()):,} of {anomalies:,} anomalies: {percentage(prevalence, 2)} anomalies, "
        f"{percentage(whole, 2)} in all.",
    )


def by_time(
    table: Table,
    order: npt.NDArray[Any],
    *,
    validation: float,
    within: npt.NDArray[Any] | None = None,
    share: float = TEST_SHARE,
    notes: tuple[str, ...] = (),
) -> Split:
    """The latest rows as test, the latest of the rest as validation.

    Args:
        table: rows in any order.
        order: time of each row.
        validation: share of the training rows set aside; 0 for none.
        within: the cut is made separately in each of these groups (a class, a card); over all rows when ``None``.
        share: share of the rows that become test.
        notes: passed on.
    """
    groups = np.zeros(len(table), np.int64) if within is None else np.unique(within, return_inverse=True)[1]
    sorted_rows = np.lexsort((order, groups))
    starts = np.flatnonzero(np.diff(groups[sorted_rows], prepend=-1))
    parts: list[list[Indices]] = [[], [], []]
    for rows in np.split(sorted_rows, starts[1:]):
        middle, last = cuts(len(rows), validation=validation, share=share)
        for part, chosen in zip(parts, (rows[:middle], rows[middle:last], rows[last:]), strict=True):
            part.append(chosen)
    train, aside, test = (table.take(np.concatenate(part)) for part in parts)
    return Split(train, test, validation=aside if validation else None, notes=notes)


def cuts(rows: int, *, validation: float, share: float = TEST_SHARE) -> tuple[int, int]:
    """Where `by_time` cuts so many rows: before these, in time order, it trains; from the second on it tests."""
    last = rows - round(share * rows)
    return last - round(validation * last), last
