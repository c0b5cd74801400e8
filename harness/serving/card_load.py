"""A load of card transactions: which cards are busy follows Zipf's law, and every answer is the window model's.

A card's transactions go over one connection, so that none overtakes another; which of them the server took is known
from its answers, so that refusals leave no doubt about the windows of what follows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.datasets.card_features import CardPast
from harness.datasets.card_rows import Transaction
from harness.errors import InputError
from harness.serving.card_states import VALUES_PER_CARD
from harness.serving.exchange import Rows, to_json
from harness.serving.fraud_parts import Parts
from harness.serving.generator import FAILED, Sent
from harness.serving.model import ServedModel
from harness.serving.transactions import transaction

_TOLERANCE = 1e-5  # of a probability
_MINUTES_PER_DAY = 24 * 60


@dataclass
class _Card:
    past: CardPast = field(default_factory=lambda: CardPast(VALUES_PER_CARD))
    rows: list[Rows] = field(default_factory=list)  # as many as a window has
    seen: int = 0
    known: bool = True  # not after a transaction of which nobody knows whether it was taken


class CardLoad:
    """Transactions of so many cards, and what the model says of them.

    Args:
        model: that is served.
        cards: how many.
        skew: the busiest card is used 2**skew times as often as the next.
        seed: of cards and transactions.
        prefix: of the users' names: cards that the server does not know.
    """

    def __init__(self, model: ServedModel, cards: int, skew: float, seed: int, prefix: str) -> None:
        if model.cards is None:
            raise InputError(f"{model.name} takes rows and has no cards.", remedy="Leave out --cards.")
        self._encoder, self._parts, self._steps = model.cards, Parts(model), model.steps or 1
        self._shares = np.cumsum(np.arange(1, cards + 1, dtype=np.float64) ** -skew)
        self._cards: dict[int, _Card] = {}
        self._rng, self._prefix = np.random.default_rng(seed), prefix
        self._minute = 0
        self._sent: list[tuple[int, Transaction]] = []
        self.scored = 0  # answers with a score, of those compared

    def draw(self, count: int) -> tuple[list[bytes], NDArray[np.int64]]:
        """Bodies of the next transactions, and the card of each."""
        ranks = np.searchsorted(self._shares, self._rng.random(count) * self._shares[-1], side="right")
        records = [self._record(int(rank)) for rank in ranks]
        self._sent = [(int(rank), transaction(each, "record")) for rank, each in zip(ranks, records, strict=True)]
        return [to_json({"record": record}) for record in records], ranks.astype(np.int64)

    def _record(self, rank: int) -> dict[str, object]:
        rng, self._minute = self._rng, self._minute + 1
        day, minute = divmod(self._minute // 8, _MINUTES_PER_DAY)
        return {
            "User": f"{self._prefix}{rank // 4}", "Card": rank % 4, "Year": 2024 + day // 336,
            "Month": 1 + day // 28 % 12, "Day": 1 + day % 28, "Time": f"{minute // 60:02d}:{minute % 60:02d}",
            "Amount": f"${rng.exponential(40):.2f}", "Merchant Name": str(rng.integers(5000)),
            "Merchant City": f"City {rng.integers(90)}", "Errors?": None, "Use Chip": "Chip Transaction",
            "MCC": 5411, "Merchant State": "S1", "TransactionID": self._minute,
        }  # fmt: skip

    def different(self, sent: Sent) -> int:
        """Answers of status 200 that are not the window model's."""
        taken: list[int] = []
        for index, (rank, _) in enumerate(self._sent):
            card = self._cards.setdefault(rank, _Card())
            if sent.statuses[index] == FAILED:
                card.known = False
            elif card.known and sent.statuses[index] == 200:
                taken.append(index)
        pasts = [self._cards[self._sent[index][0]].past for index in taken]
        rows = self._encoder.encode([self._sent[index][1] for index in taken], pasts)
        windows: list[Rows] = []
        ends: list[int] = []
        wrong = 0
        for index, row in zip(taken, rows, strict=True):
            card = self._cards[self._sent[index][0]]
            card.rows = [*card.rows[1 - self._steps :], row] if self._steps > 1 else [row]
            card.seen += 1
            if card.seen >= self._steps:
                windows.append(np.stack(card.rows))
                ends.append(index)
            else:
                wrong += not _is_buffering(sent.bodies[index], card.seen)
        scores = self._parts.score(np.stack(windows))[:, 0].tolist() if windows else []
        self.scored += len(scores)
        return wrong + sum(not _is_score(sent.bodies[end], score) for end, score in zip(ends, scores, strict=True))


def _answer(bodies: dict[bytes, int]) -> dict[str, object]:
    (body,) = bodies or (b"{}",)
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_buffering(bodies: dict[bytes, int], have: int) -> bool:
    answer = _answer(bodies)
    return (answer.get("status"), answer.get("have")) == ("buffering", have)


def _is_score(bodies: dict[bytes, int], expected: float) -> bool:
    value = _answer(bodies).get("p_ensemble")
    return isinstance(value, float | int) and abs(value - expected) <= _TOLERANCE


def room_for(server: dict[str, object] | None, cards: int) -> None:
    """See that the server keeps so many cards.

    Raises:
        InputError: it does not, or does not say so.
    """
    most = (server or {}).get("most_cards")
    if not isinstance(most, int):
        raise InputError("The server does not say that it keeps cards.", remedy="Serve a bundle of TabFormer cards.")
    if cards > most:
        raise InputError(
            f"--cards {cards}: the server keeps {most:,} at most, and scores of forgotten cards cannot be compared.",
            remedy=f"Give --cards {most} or less, or serve with --keys {cards}.",
        )
