"""Transactions taken into their cards' windows, by the one process that holds those cards."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.datasets.card_rows import CardEncoder, Transaction
from harness.serving.admission import Admission
from harness.serving.card_states import Answer, Card, CardStates
from harness.serving.exchange import NO_CARD, Advance, Advances, Reply, Rows, Scoring


class CardStep(NamedTuple):
    """The next transaction of a card, and what makes the reply of its answer."""

    key: str  # of the card
    given: Transaction
    identity: str | None  # what tells it from any other of its card
    finish: Callable[[Answer], Reply]


class Log(Protocol):
    """Keeps what happens to cards where it outlives this process."""

    def took(self, step: CardStep, used: float) -> None:
        """A transaction was taken, and is not answered yet."""

    def used(self, key: str, used: float) -> None:
        """A card was asked for what it took before."""


class CardKeeper:
    """The states of cards, and what a transaction does to them.

    Args:
        encoder: of raw transactions.
        states: of the cards.
        admission: refuses what would be late, before a card's window takes it.
        score: of windows, as `harness.serving.fraud_parts.Parts` gives them.
        advances: scores a transaction by what its card has open, in the same way; None where windows are scored whole.
    """

    def __init__(
        self,
        encoder: CardEncoder,
        states: CardStates,
        admission: Admission,
        score: Callable[[Rows], NDArray[np.float32]],
        advances: Advances | None = None,
    ) -> None:
        self.states = states
        self.log: Log | None = None
        self._encoder, self._admission, self._score, self._advances = encoder, admission, score, advances
        states.released = None if advances is None else advances.release

    def take(self, step: CardStep) -> Reply | Scoring:
        """The reply, or the window that is to be scored first.

        Raises:
            HttpError: it would be late; the card did not take it.
        """
        card = self.states.find(step.key)
        if card is not None and step.identity is not None and (before := card.answers.get(step.identity)) is not None:
            used = self.states.use(step.key).used
            if self.log is not None:
                self.log.used(step.key, used)
            self.states.counts.duplicates += 1
            if before.window is not None:  # under way, or it failed
                self._admission.admit(1)
            return self._answered(before, step.finish)
        if (0 if card is None else card.seen) + 1 >= self.states.steps:
            self._admission.admit(1)
        card = self.states.use(step.key)
        answer = self._taken(card, step.given, step.identity)
        if self.log is not None:
            self.log.took(step, card.used)
        return self._answered(answer, step.finish, card)

    def repeat(self, card: Card, given: Transaction, identity: str | None) -> None:
        """Take a transaction that an earlier process took, and count nothing."""
        self._taken(card, given, identity)
        self._encoder.unseen = 0

    def _taken(self, card: Card, given: Transaction, identity: str | None) -> Answer:
        """A transaction taken into its card's window."""
        late = card.latest is not None and given.minute < card.latest
        card.latest = given.minute if card.latest is None else max(card.latest, given.minute)
        counts, forgotten = self.states.counts, card.past.forgotten
        counts.out_of_order += late
        window = self.states.push(card, self._encoder.encode([given], [card.past])[0])
        counts.forgotten += card.past.forgotten - forgotten
        counts.unseen = self._encoder.unseen
        answer = Answer(min(card.seen, self.states.steps), late, window=window)
        if identity is not None:
            self.states.remember(card, identity, answer)
        return answer

    def _answered(self, answer: Answer, finish: Callable[[Answer], Reply], card: Card | None = None) -> Reply | Scoring:
        """Of a transaction that was just taken by ``card``, or before."""
        if answer.window is None:
            return finish(answer)

        def scored(scores: NDArray[np.float32]) -> Reply:
            answer.scores, answer.window = finite(scores[0, :3].tolist()), None
            return finish(answer)

        if self._advances is None:
            return Scoring(answer.window[None], scored, self._score, admitted=True)
        of, number = (NO_CARD, 0) if card is None else (card.serial, card.seen)
        advance = Advance(of, number, answer.window[:-1], self._advances)
        return Scoring(answer.window[-1:], scored, admitted=True, advance=advance)


def finite(values: list[float]) -> tuple[float | None, ...]:
    """None in place of what is no number."""
    return tuple(value if isfinite(value) else None for value in values)
