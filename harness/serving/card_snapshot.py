"""The states of cards in a file: written when a server has drained, taken over at the next start, once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness import decode
from harness.datasets.card_features import CardPast
from harness.errors import InputError
from harness.record.files import write_file
from harness.scoring import arrays
from harness.serving.card_states import VALUES_PER_CARD, Answer, Card, CardStates
from harness.serving.exchange import Rows

_FORMAT = 1
_MOST_SEEN = 1 << 48  # transactions of a card
_DISCARD = "Name another file, or remove this one: all cards then start empty."


@dataclass(frozen=True)
class StoredAnswer:
    """An `Answer` that was given."""

    transaction: str
    have: int
    late: bool
    scores: tuple[float | None, ...] | None


@dataclass(frozen=True)
class StoredCard:
    """A `Card`; its rows are in an array of their own."""

    key: str
    rows: int
    seen: int
    used: float
    latest: int | None
    minute: int | None
    met: tuple[tuple[str, str, int], ...]  # column, value, how often; the last met at the end
    answers: tuple[StoredAnswer, ...]


@dataclass(frozen=True)
class Snapshot:
    """What the file says of itself, and the cards in the order of their last use."""

    format: int
    model: str
    steps: int
    width: int
    cards: tuple[StoredCard, ...]


def model_digest(bundle: Path) -> str:
    """What tells a bundle from any other."""
    return hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()


def save(states: CardStates, path: Path, model: str) -> int:
    """Write the states; how many cards.

    Raises:
        LparbenchError: the disk or its permissions refuse; what was there before is there still.
    """
    states.expire()
    stored = tuple(stored_card(key, card, states.steps) for key, card in states.cards.items())
    rows = [states.rows(card) for card in states.cards.values()]
    _write(path, Snapshot(_FORMAT, model, states.steps, states.width, stored), rows)
    return len(stored)


def restore(states: CardStates, path: Path, model: str) -> int:
    """Take over what `save` wrote; how many cards. Of more than there is room for, those used last.

    Raises:
        InputError: it is no such file, or of another model.
    """
    snapshot, parts = read_cards(path, model)
    if (snapshot.steps, snapshot.width) != (states.steps, states.width):
        raise _of_another(path)
    for stored, part in list(zip(snapshot.cards, parts, strict=True))[-states.most :]:
        states.restore(stored.key, part, card_of(stored))
    states.expire()
    return len(states.cards)


def put_away(path: Path) -> None:
    """Rename a file whose cards are taken over, and in a log where there is one: it then ends in ``.restored``.

    Were it taken over again after a server that was killed, windows would lack what that server saw, and nobody would
    know. Until this, nothing but the file is sure to have all of its cards.
    """
    path.rename(path.with_name(path.name + ".restored"))


def divide(path: Path, parts: list[Path], model: str, owner: Callable[[str, int], int]) -> int:
    """Write a file's cards into files for their owners; how many cards.

    Raises:
        InputError: it is no such file, or of another model.
    """
    snapshot, rows = read_cards(path, model)
    owners = [owner(card.key, len(parts)) for card in snapshot.cards]
    for number, part in enumerate(parts):
        mine = [index for index, each in enumerate(owners) if each == number]
        _write(part, replace(snapshot, cards=tuple(snapshot.cards[i] for i in mine)), [rows[i] for i in mine])
    return len(owners)


def join(parts: list[Path], path: Path, model: str) -> int:
    """Write the cards of several files into one, in the order of their last use; how many.

    Raises:
        LparbenchError: the disk or its permissions refuse.
    """
    read = [read_cards(part, model) for part in parts]
    pairs = [pair for snapshot, rows in read for pair in zip(snapshot.cards, rows, strict=True)]
    pairs.sort(key=lambda pair: pair[0].used)
    _write(path, replace(read[0][0], cards=tuple(card for card, _ in pairs)), [rows for _, rows in pairs])
    return len(pairs)


def read_cards(path: Path, model: str) -> tuple[Snapshot, list[Rows]]:
    """A file's cards, and the rows of each.

    Raises:
        InputError: see `restore`.
    """
    try:
        content = arrays.read(path)
        snapshot = decode.decode(Snapshot, json.loads(content["snapshot"].tobytes()), str(path))
        rows = content["rows"]
        parts = np.split(rows, np.cumsum([card.rows for card in snapshot.cards])[:-1]) if snapshot.cards else []
        fits = rows.dtype == np.float32 and rows.shape == (sum(card.rows for card in snapshot.cards), snapshot.width)
        fits = fits and all(is_sound(card, snapshot.steps) for card in snapshot.cards)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.", remedy=_DISCARD) from error
    except Exception as error:  # zipfile, zlib, NumPy and json raise types of their own for a damaged file
        raise InputError(f"{path} holds no states of cards, or is damaged.", remedy=_DISCARD) from error
    if snapshot.format != _FORMAT or not fits:
        raise InputError(f"{path}: not states of cards that this version reads.", remedy=_DISCARD)
    if snapshot.model != model:
        raise _of_another(path)
    return snapshot, parts


def _of_another(path: Path) -> InputError:
    return InputError(f"{path}: the states of cards are of another model.", remedy=_DISCARD)


def _write(path: Path, snapshot: Snapshot, rows: list[Rows]) -> None:
    held = io.BytesIO()
    text = np.frombuffer(json.dumps(decode.encode(snapshot)).encode(), dtype=np.uint8)
    empty = np.empty((0, snapshot.width), dtype=np.float32)
    np.savez(held, snapshot=text, rows=np.concatenate([empty, *rows]))
    write_file(path, held.getvalue())


def stored_card(key: str, card: Card, steps: int) -> StoredCard:
    """A card without its rows, and without the answers that have no score yet."""
    met = tuple((column, str(value), count) for (column, value), count in card.past.seen.items())
    answers = tuple(
        StoredAnswer(name, answer.have, answer.late, answer.scores)
        for name, answer in card.answers.items()
        if answer.window is None
    )
    rows = min(card.seen, steps)
    return StoredCard(key, rows, card.seen, card.used, card.latest, card.past.minute, met, answers)


def is_sound(card: StoredCard, steps: int) -> bool:
    """Whether a card has the rows of the transactions that it has seen."""
    return 0 <= card.seen <= _MOST_SEEN and card.rows == min(card.seen, steps)


def card_of(stored: StoredCard) -> Card:
    """The card, whose rows are still to come."""
    past = CardPast(VALUES_PER_CARD)
    past.minute = stored.minute
    past.seen = {(column, value): count for column, value, count in stored.met}
    answers = {answer.transaction: Answer(answer.have, answer.late, answer.scores) for answer in stored.answers}
    return Card(-1, past, stored.used, stored.seen, stored.latest, answers)
