"""Scoring of transactions one by one as they come, with the state of every card kept between them.

A window model sees the last ``steps`` transactions of a card, from a zero state. Here every card has ``steps`` windows
open at once, each a step further than the next; a transaction advances all of them by one step, side by side in one
product, and completes the oldest. No past transaction has to be kept, and none is encoded or projected twice. The
native kernels do it, or torch.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.datasets import cards as card_files
from harness.datasets.card_history import CardHistory, turns
from harness.detectors.lstm import LSTM
from harness.detectors.lstm_net import Gates, Layers, gates_of
from harness.errors import InputError
from harness.linalg import native
from harness.scoring.open_windows import OpenWindows
from harness.scoring.rows import Layout
from harness.scoring.stream import ScoreRows
from harness.training.nets import array_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from harness.datasets.encoders import Encoder

StreamBackend = Literal["native", "eager"]
_TEXTS = ("Time", "Amount", "Merchant Name", "Merchant City", "Errors?")
_ENCODED = {"Use Chip": "chip", "Merchant State": "state", "MCC": "mcc"}  # raw categories and their features
_FORMS = {
    "Time": re.compile(r"([01]?\d|2[0-3]):[0-5]?\d", re.ASCII),
    "Amount": re.compile(r"\$?[+-]?\d+(\.\d*)?", re.ASCII),
}


class _Windows(Protocol):
    """The open windows of cards, which have a number each."""

    floats_per_stream: int

    def reserve(self, streams: int, /) -> None:
        """Have states for so many cards."""

    def score(self, streams: list[int], rows: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Take transactions in their order; their scores."""


class _Places(dict[Hashable, int]):
    """Cards and their numbers; one that is new gets the next, and there is a state for it."""

    def __init__(self, windows: _Windows) -> None:
        super().__init__()
        self._windows = windows
        self._room = 0  # cards that there are states for

    def __missing__(self, card: Hashable) -> int:
        number = len(self)
        if number == self._room:
            room = max(1, 2 * number)
            self._windows.reserve(room)
            self._room = room
        self[card] = number
        return number


class CardStream:
    """Scores of a fitted `LSTM`, transaction by transaction; equal to those of its windows up to rounding.

    Args:
        detector: fitted on windows.
        backend: ``native``, or ``eager``, torch; by default ``native`` where the kernels are built.

    Raises:
        InputError: it is not fitted, or the kernels are not built.
    """

    def __init__(self, detector: LSTM, backend: StreamBackend | None = None) -> None:
        if not isinstance(detector.net_, Layers):
            raise InputError(f"{detector.name} is not fitted.", remedy="Call fit before scoring a stream.")
        self.steps = detector.steps_ or 1
        self.backend = backend or default_backend()
        self._features = detector.n_features_in_
        layers = [gates_of(layer) for layer in detector.net_.recurrent]
        self._windows: _Windows = (
            _native_windows(layers, detector.net_.output, self.steps)
            if self.backend == "native"
            else _EagerWindows(layers, detector.net_.output, self.steps)
        )
        self._score = self._windows.score
        self._place = _Places(self._windows).__getitem__

    @property
    def bytes_per_card(self) -> int:
        """Memory of one card's open windows, in bytes."""
        return 4 * self._windows.floats_per_stream

    def score(self, cards: Sequence[Hashable], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score of each transaction, in the order they happened; NaN until its card has had ``steps`` of them.

        Args:
            cards: whose transaction each row is, (n,).
            rows: encoded transactions, (n, features), float32.

        Raises:
            InputError: the shapes do not fit each other or the detector.
        """
        if rows.shape != (len(cards), self._features):
            raise InputError(
                f"A stream of {self._features} features got rows of shape {rows.shape} for {len(cards)} cards."
            )
        return self._score(list(map(self._place, cards)), rows)


def default_backend() -> StreamBackend:
    """What streams are scored by here."""
    return "eager" if native.missing() else "native"


def _native_windows(layers: Sequence[Gates], output: nn.Linear, steps: int) -> OpenWindows:
    weight, bias = array_of(output.weight)[0], float(array_of(output.bias)[0])
    return OpenWindows([layer.arrays() for layer in layers], weight, bias, steps)


class _EagerWindows:
    """By torch, a transaction of every card at a time."""

    def __init__(self, layers: Sequence[Gates], output: nn.Linear, steps: int) -> None:
        self._layers, self._output, self._steps = layers, output, steps
        self.floats_per_stream = sum(2 * steps * layer.width for layer in layers)
        self._seen = torch.zeros(0, dtype=torch.int64)  # transactions of each card
        self._states = [(self._zeros(0, layer.width), self._zeros(0, layer.width)) for layer in layers]

    def reserve(self, cards: int) -> None:
        more = cards - len(self._seen)
        self._seen = torch.cat([self._seen, torch.zeros(more, dtype=torch.int64)])
        self._states = [
            (torch.cat([h, self._zeros(more, h.shape[2])]), torch.cat([c, self._zeros(more, c.shape[2])]))
            for h, c in self._states
        ]

    def score(self, streams: list[int], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        cards = np.array(streams, dtype=np.int64)
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        source = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
        with torch.inference_mode():
            for chosen in _rounds(cards):
                index = torch.from_numpy(chosen)
                scores[chosen] = self._advance(torch.from_numpy(cards[chosen]), source[index]).numpy()
        return scores

    def _advance(self, cards: Tensor, x: Tensor) -> Tensor:
        """One transaction of each of ``cards``, all different; their scores."""
        seen = self._seen[cards]
        begins = (seen % self._steps).view(-1, 1)  # the window that starts with this transaction
        fresh = torch.arange(self._steps) != begins
        value = x[:, None]
        for index, layer in enumerate(self._layers):
            hidden, cell = self._states[index]
            keep = fresh[:, :, None]
            # what comes from a zero state times a weight is zero: the window that begins forgets what was there before
            h, c = hidden[cards] * keep, cell[cards] * keep
            gates = functional.linear(value, layer.input, layer.bias) + functional.linear(h, layer.recurrent)
            i, f, g, o = gates.chunk(4, dim=2)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hidden[cards], cell[cards] = h, c
            value = h
        self._seen[cards] = seen + 1
        completed = ((seen + 1) % self._steps).view(-1, 1, 1).expand(-1, 1, value.shape[2])
        logits: Tensor = self._output(value.gather(1, completed)[:, 0]).view(-1)
        return torch.where(seen + 1 >= self._steps, logits, torch.nan)

    def _zeros(self, cards: int, width: int) -> Tensor:
        return torch.zeros(cards, self._steps, width)


def card_layout(encoder: Encoder) -> Layout:
    """Columns of raw TabFormer transactions, with the values that the encoder of their histories knows."""
    known = {raw: frozenset(encoder.vocabulary[name]) for raw, name in _ENCODED.items()}
    missing = {raw: values | {""} for raw, values in known.items() if raw not in card_files.NUMBERS}
    vocabulary = {**dict.fromkeys(_TEXTS), **known, **missing}
    return Layout(card_files.RAW_COLUMNS, vocabulary, card_files.FILE_COLUMNS, _FORMS, known=known)


def score_of_cards(encoder: Encoder, stream: CardStream, name: str) -> ScoreRows:
    """Scores of raw transactions in the order they happened, each card's past kept; NaN until it has enough of them."""
    history = CardHistory()

    def score(frame: pd.DataFrame) -> NDArray[np.float32]:
        used = {text: frame[text].cat.remove_unused_categories() for text in (*_TEXTS, *_ENCODED)}
        transactions = card_files.transactions_of(frame.assign(**used), Path(name))
        pairs = list(zip(transactions["user"].tolist(), transactions["card"].tolist(), strict=True))
        return stream.score(pairs, encoder.transform(history.features(transactions)))

    return score


def _rounds(places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions in rounds: no card twice in a round, each card's positions in order over the rounds."""
    turn = turns(places)
    return [np.flatnonzero(turn == index) for index in range(int(turn.max(initial=-1)) + 1)]
