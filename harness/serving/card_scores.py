"""Scores of cards' transactions from the windows that each card has open: one native call for those of a turn.

What a card has open follows from the rows that are kept of it. Where it is not at hand (at a card's first whole window,
after a start, after a call that failed) it is made of those rows in the same call. So a snapshot or a log of cards has
rows alone, whatever scores them, and a card without a whole window takes no memory here.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np

from harness.scoring.open_windows import OpenWindows
from harness.serving.exchange import NO_CARD, Advance, Rows, Scores

_SPARE = 0  # place of what is scored without being a card


class CardScores:
    """A `harness.serving.exchange.Advances`.

    Args:
        windows: of the LSTM.
        cards: how many there are at most.
        answer: of logits (n,) and the rows (n, d) that they are of, what the handlers take.
    """

    def __init__(self, windows: OpenWindows, cards: int, answer: Callable[[Scores, Rows], Scores]) -> None:
        windows.reserve(cards + 1)
        self._windows, self._answer = windows, answer
        self._places: dict[int, int] = {}  # of cards
        self._free: list[int] = []
        self._fresh = _SPARE + 1  # places from here on were never used
        self._numbers = array("q", [0]) * (cards + 1)  # by place, of the last row in it

    def release(self, card: int) -> None:
        """Of `harness.serving.exchange.Advances`."""
        place = self._places.pop(card, None)
        if place is not None:
            self._free.append(place)

    def score(self, rows: Rows, advances: Sequence[Advance]) -> Scores:
        """Of `harness.serving.exchange.Advances`."""
        logits = np.empty(len(rows), dtype=np.float32)
        begin, places, made = 0, list[int](), set[int]()  # of this call: places, and rows whose windows are made
        used: set[int] = set()
        try:
            for index, each in enumerate(advances):
                place = self._places.get(each.card, _SPARE)
                if place == _SPARE or self._numbers[place] != each.number - 1:
                    if place == _SPARE and each.card != NO_CARD:
                        place = self._place_for(each.card)
                    if place in used:  # by what was there before
                        self._run(rows, advances, range(begin, index), places, made, logits)
                        begin, places, made, used = index, [], set(), set()
                    made.add(index)
                self._numbers[place] = each.number
                places.append(place)
                used.add(place)
            self._run(rows, advances, range(begin, len(rows)), places, made, logits)
        except BaseException:
            for each in advances:
                self.release(each.card)
            raise
        return self._answer(logits, rows)

    def _place_for(self, card: int) -> int:
        """A free place; that of the card whose windows were made longest ago where there is none."""
        if self._free:
            place = self._free.pop()
        elif self._fresh < len(self._numbers):
            place = self._fresh
            self._fresh += 1
        else:
            place = self._places.pop(next(iter(self._places)))
        self._places[card] = place
        return place

    def _run(
        self, rows: Rows, advances: Sequence[Advance], part: range, places: list[int], made: set[int], logits: Scores
    ) -> None:
        """One call for a part of the rows, no place of which is begun anew after it was used."""
        if not made:
            logits[part.start : part.stop] = self._windows.score(places, rows[part.start : part.stop])
            return
        blocks: list[Rows] = []
        ends: list[int] = []
        all_places: list[int] = []
        for index, place in zip(part, places, strict=True):
            if index in made:
                self._windows.restart(place)
                blocks.append(advances[index].before)
                all_places += [place] * len(advances[index].before)
            ends.append(len(all_places))
            blocks.append(rows[index : index + 1])
            all_places.append(place)
        scores = self._windows.score(all_places, np.concatenate(blocks))
        logits[part.start : part.stop] = scores[ends]
