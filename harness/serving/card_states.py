"""What a server keeps of each card: its last transactions as features, its past, and its last answers.

The number of cards is bounded; the card that was used longest ago goes first, and one that was not used for the time to
live is forgotten. Every eviction is counted by its cause. Only the scorer's own process holds this, so that a card's
history is never split.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from harness.datasets.card_features import CardPast
from harness.serving.exchange import Rows
from harness.serving.metrics import StreamCounts

VALUES_PER_CARD = 1024  # merchants, cities and codes that are kept of a card
_CARD_BYTES = 2048  # of a card's objects and answers
_PAST_BYTES = 256 * 144  # a card of the TabFormer file has met 37 to 700 values in its years; 144 bytes each


@dataclass(slots=True)
class Answer:
    """What a transaction was answered; ``window`` is there while it is not scored."""

    have: int
    late: bool
    scores: tuple[float | None, ...] | None = None
    window: Rows | None = None


@dataclass(slots=True)
class Card:
    """One card's state."""

    slot: int  # of its window
    past: CardPast
    used: float = 0.0  # seconds since 1970
    seen: int = 0  # transactions
    latest: int | None = None  # minute of its newest transaction
    answers: dict[str, Answer] = field(default_factory=dict)  # by transaction, the last ones
    serial: int = -1  # that no other card has ever had, once it is among the states


def card_bytes(steps: int, width: int, *, history: bool, open_bytes: int) -> int:
    """Memory of a card that is used for years, about; ``history``: with what it met; ``open_bytes``: of its windows."""
    return 4 * steps * width + open_bytes + _CARD_BYTES + _PAST_BYTES * history


class CardStates:
    """Cards in the order of their last use.

    Args:
        most: cards.
        ttl_s: seconds without use after which a card is forgotten.
        steps: transactions of a window.
        width: features of a transaction.
        clock: seconds since 1970.
    """

    def __init__(self, most: int, ttl_s: float, steps: int, width: int, clock: Callable[[], float]) -> None:
        self.most, self.ttl_s, self.steps, self.width = most, ttl_s, steps, width
        self.counts = StreamCounts()
        self.cards: OrderedDict[str, Card] = OrderedDict()
        self.evicted: Callable[[str], None] | None = None  # is told of every card that is forgotten
        self.released: Callable[[int], None] | None = None  # likewise, by its serial number
        self._clock = clock
        self._windows = np.empty((most, steps, width), dtype=np.float32)  # untouched pages take no memory
        self._free: list[int] = []
        self._serials = count()
        self._fresh = 0  # slots from here on were never used

    def __len__(self) -> int:
        self.expire()
        return len(self.cards)

    def expire(self) -> None:
        """Forget the cards that were not used for too long."""
        limit = self._clock() - self.ttl_s
        while self.cards and next(iter(self.cards.values())).used <= limit:
            self._evict("ttl")

    def find(self, key: str) -> Card | None:
        """A card that is known."""
        self.expire()
        return self.cards.get(key)

    def use(self, key: str) -> Card:
        """A card, made when it is not known, used now; the card used longest ago makes room."""
        self.expire()
        card = self.cards.get(key)
        if card is None and len(self.cards) >= self.most:
            self._evict("capacity")
        return self.touch(key, self._clock())

    def touch(self, key: str, used: float) -> Card:
        """A card, made when it is not known, as used at a time."""
        card = self.cards.get(key)
        if card is None:
            if len(self.cards) >= self.most:  # there were more before
                self.drop(next(iter(self.cards)))
            card = self.cards[key] = Card(self._slot(), CardPast(VALUES_PER_CARD), serial=next(self._serials))
        card.used = used
        self.cards.move_to_end(key)
        return card

    def drop(self, key: str) -> None:
        """Forget a card, if there is one, and count nothing."""
        card = self.cards.pop(key, None)
        if card is not None:
            self._free.append(card.slot)
            if self.released is not None:
                self.released(card.serial)

    def settle(self) -> None:
        """After cards came in any order: in the order of their use, with nothing counted."""
        self.cards = OrderedDict(sorted(self.cards.items(), key=lambda item: item[1].used))
        self.counts = StreamCounts()

    def push(self, card: Card, row: NDArray[np.float32]) -> Rows | None:
        """Take a card's next transaction (width,); its window, oldest first, once it has one: a copy."""
        ring, place = self._windows[card.slot], card.seen % self.steps
        ring[place] = row
        card.seen += 1
        if card.seen < self.steps:
            return None
        return np.concatenate((ring[place + 1 :], ring[: place + 1]))

    def remember(self, card: Card, name: str, answer: Answer) -> None:
        """Keep the answer to a transaction, as many of them as a window has transactions."""
        card.answers[name] = answer
        while len(card.answers) > self.steps:
            del card.answers[next(iter(card.answers))]

    def rows(self, card: Card) -> Rows:
        """What a card's window holds, oldest first."""
        ring: Rows = self._windows[card.slot]
        if card.seen < self.steps:
            return ring[: card.seen].copy()
        place = card.seen % self.steps
        return np.concatenate((ring[place:], ring[:place]))

    def restore(self, key: str, rows: NDArray[np.float32], card: Card) -> None:
        """Take a card from a snapshot, as the one used last; its slot is found here."""
        if len(self.cards) >= self.most:
            self.drop(next(iter(self.cards)))
        card.slot, card.serial = self._slot(), next(self._serials)
        for index, row in enumerate(rows):
            self._windows[card.slot, (card.seen - len(rows) + index) % self.steps] = row
        self.cards[key] = card

    def _slot(self) -> int:
        if self._free:
            return self._free.pop()
        self._fresh += 1
        return self._fresh - 1

    def _evict(self, cause: str) -> None:
        key = next(iter(self.cards))
        self.drop(key)
        self.counts.evicted[cause] += 1
        if self.evicted is not None:
            self.evicted(key)
