"""Windows of card transactions for training, from a file of any size.

Rows are read block by block. Of each card the last ``steps - 1`` encoded rows are kept, so that windows go on over the
borders of blocks. Windows are shuffled within a buffer of bounded size: that of a file in which the rows of a card
follow one another holds many cards at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import card_features, cards
from harness.datasets.card_history import CardHistory, CardNumbers, grown, turns
from harness.datasets.encoders import Encoder
from harness.datasets.streamed import Floats, Labels
from harness.datasets.table import Indices
from harness.errors import InputError

BUFFER_BYTES = 1 << 28  # of encoded rows whose windows are shuffled together
ANOMALY_BYTES = 1 << 27
SLICE_ROWS = 1 << 15  # rows that are encoded at once
_CATEGORIES = ("chip", "state", "mcc", "errors")


@dataclass(frozen=True)
class CardFile:
    """The training windows of every card of a file: the first of each card, by time.

    Attributes:
        windows_of: training windows of each card, by `harness.datasets.cards.card_keys`.
        features: ``history`` or ``document``.
    """

    path: Path
    windows_of: Mapping[int, int]
    steps: int
    stride: int
    features: str

    def encoded(self, encoder: Encoder, most: int | None) -> CardWindows:
        """The windows as ``encoder`` makes them, at most so many in a pass."""
        return CardWindows(self, encoder, most)

    def rows(self) -> Iterator[_Slice]:
        """Training rows in slices.

        Raises:
            InputError: the rows of a card are not in time order.
        """
        numbers, last = CardNumbers(), np.zeros(0, np.int64)
        seen, wanted = np.zeros(0, np.int64), np.zeros(0, np.int64)
        for block in cards.transactions_in(self.path):
            known = len(numbers)
            card = numbers.of(block)
            seen, last, wanted = (grown(held, len(numbers)) for held in (seen, last, wanted))
            if len(numbers) > known:
                keys, first = np.unique(card, return_index=True)
                of_card = cards.card_keys(block)[first]
                wanted[keys] = [self._rows_of(self.windows_of.get(key, 0)) for key in of_card.tolist()]
            self._require_order(block, card, last)
            place = seen[card] + turns(card)
            np.add.at(seen, card, 1)
            for start in range(0, len(block), SLICE_ROWS):
                part = slice(start, start + SLICE_ROWS)
                left = wanted[card[part]] - place[part]
                kept = left > 0
                if kept.any():
                    yield _Slice(card[part][kept], place[part][kept], left[kept] == 1, block.iloc[part][kept])

    def vocabulary(self) -> dict[str, tuple[str, ...]]:
        """The values of the columns of categories in all training rows, which a few cards do not have."""
        values: dict[str, set[str]] = {name: set() for name in _CATEGORIES}
        for part in self.rows():
            for name, held in values.items():
                held.update(map(str, part.frame[name].unique().tolist()))
        if self.features == "document":
            values["errors"] = {text or "missing_value" for text in values["errors"]}
        return {name: tuple(sorted(held)) for name, held in values.items()}

    def _rows_of(self, windows: int) -> int:
        return (windows - 1) * self.stride + self.steps if windows else 0

    def _require_order(self, block: pd.DataFrame, card: Indices, last: Indices) -> None:
        order = np.argsort(card, kind="stable")
        cards_in_order, minutes = card[order], block["minute"].to_numpy()[order]
        starts = np.diff(cards_in_order, prepend=-1) != 0
        back = np.diff(minutes, prepend=minutes[:1]) < 0
        back[starts] = minutes[starts] < last[cards_in_order[starts]]
        if back.any():
            row = block.iloc[order[int(np.argmax(back))]]
            raise InputError(
                f"{self.path}: user {row['user']}, card {row['card']}: a transaction follows a later one.",
                remedy="To train on a stream, sort the file by user, card and time, or leave out streamed.",
            )
        last[cards_in_order[np.roll(starts, -1)]] = minutes[np.roll(starts, -1)]


@dataclass(frozen=True)
class CardWindows:
    """A `harness.datasets.streamed.BatchSource` of windows (steps, features), labelled by their last transaction."""

    file: CardFile
    encoder: Encoder
    most: int | None

    @cached_property
    def rows(self) -> int:
        """Windows of a pass."""
        windows = sum(self.file.windows_of.values())
        return windows if self.most is None else min(windows, self.most)

    def batches(self, size: int, seed: int) -> Iterator[tuple[Floats, Labels]]:
        """One pass, shuffled by ``seed``; see `harness.datasets.streamed.BatchSource`."""
        draw = np.random.default_rng(seed)
        most = max(size, BUFFER_BYTES // (4 * len(self.encoder.feature_names)))
        left = self.rows
        buffer = _Buffer()
        for part in self._parts():
            buffer.add(part)
            if buffer.held >= most:
                for x, y in buffer.drawn(draw, size, whole=False):
                    yield x[:left], y[:left]
                    left -= len(y)
                    if left <= 0:
                        return
        for x, y in buffer.drawn(draw, size, whole=True):
            if left > 0:
                yield x[:left], y[:left]
            left -= len(y)

    def anomalies(self, seed: int) -> Floats:
        """Windows of frauds; see `harness.datasets.streamed.BatchSource`."""
        draw = np.random.default_rng(seed)
        width = self.file.steps * len(self.encoder.feature_names)
        most = max(1, ANOMALY_BYTES // (4 * width))
        held = np.empty((0, self.file.steps, len(self.encoder.feature_names)), np.float32)
        keys = np.empty(0)  # the smallest of random keys are a sample without replacement
        for part in self._parts():
            chosen = part.label == 1
            if not chosen.any():
                continue
            held = np.concatenate([held, part.rows[part.windows[chosen]]])
            keys = np.concatenate([keys, draw.random(int(chosen.sum()))])
            if len(keys) > most:
                kept = np.sort(np.argpartition(keys, most)[:most])
                held, keys = held[kept], keys[kept]
        return held

    def _parts(self) -> Iterator[_Part]:
        """The windows that end in each slice of the file."""
        tails = _Tails(self.file.steps, len(self.encoder.feature_names))
        features = self._features()
        for part in self.file.rows():
            before = part.place - self.file.steps + 1
            ends = (before >= 0) & (before % self.file.stride == 0)
            yield tails.windows(part, self.encoder.transform(features(part.frame)), ends)

    def _features(self) -> Callable[[pd.DataFrame], pd.DataFrame]:
        if self.file.features == "history":
            return CardHistory().features
        return lambda frame: card_features.document(cards.Transactions(frame, len(frame)))


@dataclass(frozen=True, eq=False)
class _Slice:
    """Rows (n,) of a file: the running number of each row's card, its place in the card, whether it is the last."""

    card: Indices
    place: Indices
    closes: npt.NDArray[np.bool_]
    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class _Part:
    """Encoded rows (r, features), windows of them (n, steps), and the label of each window."""

    rows: Floats
    windows: Indices
    label: Labels


class _Tails:
    """The last ``steps - 1`` encoded rows of each card that is not at its end."""

    def __init__(self, steps: int, features: int) -> None:
        self._steps = steps
        self._none = np.zeros((steps - 1, features), np.float32)
        self._held: dict[int, Floats] = {}

    def windows(self, part: _Slice, rows: Floats, ends: npt.NDArray[np.bool_]) -> _Part:
        """The windows that end at the marked ones of the next rows; the rows of a card are in time order."""
        kept, steps = self._steps - 1, self._steps
        order = np.argsort(part.card, kind="stable")
        present, group = np.unique(part.card[order], return_inverse=True)
        whole = np.concatenate([*(self._held.pop(card, self._none) for card in present.tolist()), rows[order]])
        place = turns(group)
        back = np.arange(steps) - kept  # steps before the row, oldest first
        within = place[:, None] + back
        fresh = len(present) * kept + np.arange(len(rows))[:, None] + back
        earlier = group[:, None] * kept + kept + within
        windows = np.where(within >= 0, fresh, earlier)
        last = np.roll(np.diff(group, prepend=-1) != 0, -1)
        goes_on = ~part.closes[order][last]
        for card, newest in zip(present[goes_on].tolist(), windows[last][goes_on][:, 1:], strict=True):
            self._held[card] = whole[newest]
        chosen = ends[order]
        return _Part(whole, windows[chosen], part.frame["fraud"].to_numpy()[order][chosen].astype(np.int8))


class _Buffer:
    """Windows that wait to be drawn."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self.held = 0  # rows

    def add(self, part: _Part) -> None:
        if len(part.label):
            self._parts.append(part)
            self.held += len(part.rows)

    def drawn(self, draw: np.random.Generator, size: int, *, whole: bool) -> Iterator[tuple[Floats, Labels]]:
        """All windows in random order, in batches of ``size``; unless ``whole``, what makes no batch stays."""
        parts, self._parts, self.held = self._parts, [], 0
        if not parts:
            return
        steps = parts[0].windows.shape[1]
        label = np.concatenate([part.label for part in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part.label) for part in parts])
        number = np.concatenate([np.arange(len(part.label)) for part in parts])
        order = draw.permutation(len(label))
        end = len(order) if whole else len(order) // size * size
        for start in range(0, end, size):
            batch = order[start : min(start + size, end)]
            yield _gathered(parts, owner[batch], number[batch]), label[batch]
        if end < len(order):
            rest = order[end:]
            rows = _gathered(parts, owner[rest], number[rest])
            windows = np.arange(len(rest) * steps).reshape(-1, steps)
            self.add(replace(parts[0], rows=rows.reshape(-1, rows.shape[2]), windows=windows, label=label[rest]))


def _gathered(parts: list[_Part], owner: Indices, number: Indices) -> Floats:
    """The windows ``number`` of the parts ``owner``, (n, steps, features)."""
    steps, features = parts[0].windows.shape[1], parts[0].rows.shape[1]
    x = np.empty((len(owner), steps, features), np.float32)
    for index in np.unique(owner).tolist():
        chosen = owner == index
        part = parts[index]
        x[chosen] = part.rows[part.windows[number[chosen]]]
    return x
