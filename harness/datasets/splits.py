"""Ways to cut one table into training, validation and test rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from harness.datasets.recipe import Request
from harness.datasets.table import Indices, Split, Table, row_hashes

TEST_SHARE = 0.2


def random(table: Table, request: Request, notes: tuple[str, ...] = (), share: float = TEST_SHARE) -> Split:
    """A random split as the protocol has it: clean, no test row occurs in training; as published, equal rows may."""
    if request.published:
        return at_random(table, seed=request.seed, share=share, notes=notes)
    notes = (*notes, "Equal rows were kept on one side of the random split.")
    return equal_rows_together(table, seed=request.seed, share=share, notes=notes)


def at_random(table: Table, *, seed: int, share: float = TEST_SHARE, notes: tuple[str, ...] = ()) -> Split:
    """A random share of the rows as test, each label keeping its share; equal rows may fall on both sides."""
    from sklearn.model_selection import train_test_split

    lone = np.bincount(table.label).min() < 2  # a label of one row has no share to keep
    train, test = train_test_split(
        np.arange(len(table)), test_size=share, stratify=None if lone else table.label, random_state=seed
    )
    return Split(table.take(train), table.take(test), notes=notes)


def equal_rows_together(table: Table, *, seed: int, share: float = TEST_SHARE, notes: tuple[str, ...] = ()) -> Split:
    """A random share of the *distinct* rows of each label as test, with all their repetitions.

    No test row then occurs in training, and the rows of both splits together are those of the table.
    """
    hashes = row_hashes(table)
    rng = np.random.default_rng(seed)
    in_test = np.zeros(len(table), np.bool_)
    for label in np.unique(table.label):
        distinct = np.unique(hashes[table.label == label])
        chosen = rng.choice(distinct, size=round(share * len(distinct)), replace=False)
        in_test |= np.isin(hashes, chosen)
    return Split(table.take(~in_test), table.take(in_test), notes=notes)


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
        last = len(rows) - round(share * len(rows))
        middle = last - round(validation * last)
        for part, chosen in zip(parts, (rows[:middle], rows[middle:last], rows[last:]), strict=True):
            part.append(chosen)
    train, aside, test = (table.take(np.concatenate(part)) for part in parts)
    return Split(train, test, validation=aside if validation else None, notes=notes)
