"""Features of a stream of card transactions: what each card did before is kept in a few bytes per value that it met."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets.card_features import MET, history_columns
from harness.datasets.cards import card_keys
from harness.datasets.table import Indices


class CardNumbers:
    """Running numbers of cards, in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, frame: pd.DataFrame) -> Indices:
        """The number of each row's card; ``frame`` as in `harness.datasets.cards.Transactions`."""
        keys, inverse = np.unique(card_keys(frame), return_inverse=True)
        numbers = [self._numbers.setdefault(key, len(self._numbers)) for key in keys.tolist()]
        return np.array(numbers, dtype=np.int64)[inverse]


class CardHistory:
    """`harness.datasets.card_features.history` of a stream; the rows of a card come in time order."""

    def __init__(self) -> None:
        self.cards = CardNumbers()
        self._last = np.zeros(0)  # minute of each card's last transaction, NaN before its first
        self._met = [_Met() for _ in MET]

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Columns of the next transactions, a ``frame`` as in `harness.datasets.cards.Transactions`."""
        card = self.cards.of(frame)
        seen = [met.before(card, frame[name]) for met, name in zip(self._met, MET, strict=True)]
        return history_columns(frame, self._gaps(card, frame["minute"].to_numpy()), seen)

    def _gaps(self, card: Indices, minute: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Minutes since the transaction before, NaN for the first of a card."""
        self._last = grown(self._last, len(self.cards), np.nan)
        order = np.argsort(card, kind="stable")
        cards, minutes = card[order], minute[order].astype(np.float64)
        starts = np.diff(cards, prepend=-1) != 0
        previous = np.roll(minutes, 1)
        previous[starts] = self._last[cards[starts]]
        ends = np.roll(starts, -1)
        self._last[cards[ends]] = minutes[ends]
        gaps = np.empty(len(card))
        gaps[order] = minutes - previous
        return gaps


class _Met:
    """How often each card met each value of a column: sorted pairs and their counts, 12 bytes for each."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._pairs = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int32)

    def before(self, card: Indices, column: pd.Series[Any]) -> npt.NDArray[np.float64]:
        """How often the card of each row had met its value before."""
        pairs, inverse, counts = np.unique(card << 32 | self._values(column), return_inverse=True, return_counts=True)
        earlier = np.zeros(len(pairs), np.int64)
        places = np.asarray(np.searchsorted(self._pairs, pairs))
        known = np.isin(pairs, self._pairs, assume_unique=True)
        earlier[known] = self._counts[places[known]]
        self._counts[places[known]] += counts[known].astype(np.int32)
        self._pairs = np.insert(self._pairs, places[~known], pairs[~known])
        self._counts = np.insert(self._counts, places[~known], counts[~known])
        return (earlier[inverse] + turns(inverse)).astype(np.float64)

    def _values(self, column: pd.Series[Any]) -> Indices:
        """A number of each row's value, the same in every block."""
        texts = column.astype("category")
        codes, names = texts.cat.codes.to_numpy(), texts.cat.categories
        numbers = np.zeros(len(names) + 1, dtype=np.int64)  # the last is that of a missing value
        for code in np.unique(codes).tolist():
            text = "" if code < 0 else str(names[code])
            numbers[code] = self._numbers.setdefault(text, len(self._numbers))
        return numbers[codes]


def turns(groups: Indices) -> Indices:
    """Of each element, how many before it are in its group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    counted = np.empty(len(groups), dtype=np.int64)
    counted[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return counted


def grown(held: npt.NDArray[Any], length: int, fill: float = 0.0) -> npt.NDArray[Any]:
    """``held`` with room for ``length`` elements along its first axis."""
    if length <= len(held):
        return held
    wider = np.full((max(length, 2 * len(held)), *held.shape[1:]), fill, held.dtype)
    wider[: len(held)] = held
    return wider
