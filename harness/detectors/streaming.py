"""Scoring of transactions one by one as they come, with the state of every card kept between them.

A window model sees the last ``steps`` transactions of a card, from a zero state. Here every card has ``steps`` windows
open at once, each a step further than the next; a transaction advances all of them by one step, side by side in one
product, and completes the oldest. No past transaction has to be kept, and none is encoded or projected twice.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from harness.datasets import cards as card_files
from harness.datasets.card_history import CardHistory, turns
from harness.detectors.lstm import LSTM
from harness.detectors.lstm_net import Layers, gates_of
from harness.errors import InputError
from harness.scoring.rows import Layout
from harness.scoring.stream import ScoreRows

if TYPE_CHECKING:
    import pandas as pd

    from harness.datasets.encoders import Encoder

_TEXTS = ("Time", "Amount", "Merchant Name", "Merchant City", "Errors?")
_ENCODED = {"Use Chip": "chip", "Merchant State": "state", "MCC": "mcc"}  # raw categories and their features
_FORMS = {
    "Time": re.compile(r"([01]?\d|2[0-3]):[0-5]?\d", re.ASCII),
    "Amount": re.compile(r"\$?[+-]?\d+(\.\d*)?", re.ASCII),
}


class CardStream:
    """Scores of a fitted `LSTM`, transaction by transaction; equal to those of its windows up to rounding.

    Args:
        detector: fitted on windows.

    Raises:
        InputError: it is not fitted.
    """

    def __init__(self, detector: LSTM) -> None:
        if not isinstance(detector.net_, Layers):
            raise InputError(f"{detector.name} is not fitted.", remedy="Call fit before scoring a stream.")
        self.steps = detector.steps_ or 1
        self._features = detector.n_features_in_
        self._layers = [gates_of(layer) for layer in detector.net_.recurrent]
        self._output = detector.net_.output
        self._place: dict[Hashable, int] = {}  # card -> row of the states
        self._seen = torch.zeros(0, dtype=torch.int64)  # transactions of each card
        self._states = [(self._zeros(0, layer.width), self._zeros(0, layer.width)) for layer in self._layers]

    @property
    def bytes_per_card(self) -> int:
        """Memory of one card's open windows, in bytes."""
        return sum(4 * self.steps * (h.shape[2] + c.shape[2]) for h, c in self._states)

    def score(self, cards: Sequence[Hashable], rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score of each transaction, in the order they happened; NaN until its card has had ``steps`` of them.

        Args:
            cards: whose transaction each row is, (n,).
            rows: encoded transactions, (n, features), float32.

        Raises:
            InputError: the shapes do not fit each other or the detector.
        """
        if rows.ndim != 2 or rows.shape != (len(cards), self._features):
            raise InputError(
                f"A stream of {self._features} features got rows of shape {rows.shape} for {len(cards)} cards."
            )
        places = self._places(cards)
        scores = np.full(len(rows), np.nan, dtype=np.float32)
        source = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
        with torch.inference_mode():
            for chosen in _rounds(places):
                index = torch.from_numpy(chosen)
                advanced = self._advance(torch.from_numpy(places[chosen]), source[index])
                scores[chosen] = advanced.numpy()
        return scores

    def _advance(self, cards: Tensor, x: Tensor) -> Tensor:
        """One transaction of each of ``cards``, all different; their scores."""
        seen = self._seen[cards]
        begins = (seen % self.steps).view(-1, 1)  # the window that starts with this transaction
        fresh = torch.arange(self.steps) != begins
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
        completed = ((seen + 1) % self.steps).view(-1, 1, 1).expand(-1, 1, value.shape[2])
        logits = self._output(value.gather(1, completed)[:, 0]).view(-1)
        return torch.where(seen + 1 >= self.steps, logits, torch.nan)

    def _places(self, cards: Sequence[Hashable]) -> NDArray[np.int64]:
        """Rows of the states of ``cards``, new ones added."""
        places = np.array([self._place.setdefault(card, len(self._place)) for card in cards], dtype=np.int64)
        if len(self._place) > len(self._seen):
            more = max(len(self._place), 2 * len(self._seen)) - len(self._seen)
            self._seen = torch.cat([self._seen, torch.zeros(more, dtype=torch.int64)])
            self._states = [
                (torch.cat([h, self._zeros(more, h.shape[2])]), torch.cat([c, self._zeros(more, c.shape[2])]))
                for h, c in self._states
            ]
        return places

    def _zeros(self, cards: int, width: int) -> Tensor:
        return torch.zeros(cards, self.steps, width)


def card_layout(encoder: Encoder) -> Layout:
    """Columns of raw TabFormer transactions, with the values that the encoder of their histories knows."""
    known = {raw: frozenset(encoder.vocabulary[name]) for raw, name in _ENCODED.items()}
    vocabulary = {**dict.fromkeys(_TEXTS), **known}
    return Layout(card_files.RAW_COLUMNS, vocabulary, card_files.FILE_COLUMNS, _FORMS)


def score_of_cards(encoder: Encoder, detector: LSTM, name: str) -> ScoreRows:
    """Scores of raw transactions in the order they happened, each card's past kept; NaN until it has enough of them."""
    history, stream = CardHistory(), CardStream(detector)

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
