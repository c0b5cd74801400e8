"""Features of card transactions: those of the source document, defects included, and those of a card's own history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets.cards import Transactions
from harness.datasets.table import categorical

_DIGITS = tuple("0123456789")
_DIGIT_COUNT = 5
_NS_PER_MINUTE = 60 * 1_000_000_000
_ERRORS = (
    "Bad CVV", "Bad Card Number", "Bad Expiration", "Bad PIN", "Bad Zipcode", "Insufficient Balance",
    "Technical Glitch",
)  # fmt: skip


def document(transactions: Transactions) -> pd.DataFrame:
    """The source document's columns, 80 when one-hot encoded on a million rows.

    The last five decimal digits of the merchant; the same of the city, which holds none, so that five columns are
    constant; chip, errors, absolute time, logarithm of the amount.
    """
    frame = transactions.frame
    columns: dict[str, Any] = {}
    for name in ("merchant", "city"):
        digits = _last_digits(frame[name])
        for place in range(_DIGIT_COUNT):
            columns[f"{name}_digit_{place}"] = categorical(digits[:, place], _DIGITS)
    columns["chip"] = frame["chip"].array
    columns["errors"] = (
        frame["errors"]
        .cat.rename_categories({name: name or "missing_value" for name in frame["errors"].cat.categories})
        .array
    )
    columns["time"] = (frame["minute"].to_numpy() * _NS_PER_MINUTE).astype(np.float64)
    columns["log_amount"] = np.log(np.maximum(1.0, frame["amount"].to_numpy()))
    return pd.DataFrame(columns, copy=False)


def history(transactions: Transactions) -> pd.DataFrame:
    """Columns of a transaction and of what its card did before; none looks ahead and none is an absolute time."""
    frame = transactions.frame
    card = transactions.card
    minute = frame["minute"].to_numpy()
    first = np.diff(card, prepend=-1) != 0
    gap = np.where(first, np.nan, np.diff(minute, prepend=minute[0]))
    seen = [
        _seen_before(card, column) for column in (frame["merchant"], frame["city"], frame["mcc"].astype("category"))
    ]
    return _history_columns(frame, gap, seen)


class CardHistory:
    """`history` of a stream: what each card did before is kept; the rows of a card come in time order."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], int] = {}  # card -> minute of its last transaction
        self._seen: Counter[tuple[Any, ...]] = Counter()

    def features(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Columns of the next transactions, a ``frame`` as in `Transactions`."""
        cards = list(zip(frame["user"].tolist(), frame["card"].tolist(), strict=True))
        gap = np.empty(len(frame))
        for row, (card, minute) in enumerate(zip(cards, frame["minute"].tolist(), strict=True)):
            gap[row] = minute - self._last.get(card, np.nan)
            self._last[card] = minute
        return _history_columns(frame, gap, [self._count(cards, frame, name) for name in ("merchant", "city", "mcc")])

    def _count(self, cards: list[tuple[int, int]], frame: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
        counts = np.empty(len(frame))
        for row, (card, value) in enumerate(zip(cards, frame[name].tolist(), strict=True)):
            key = (name, card, value)
            counts[row] = self._seen[key]
            self._seen[key] += 1
        return counts


def _history_columns(
    frame: pd.DataFrame, gap: npt.NDArray[np.float64], seen: Sequence[npt.NDArray[np.float64]]
) -> pd.DataFrame:
    minute = frame["minute"].to_numpy()
    angle = 2 * np.pi * (minute % (24 * 60)) / (24 * 60)
    columns: dict[str, Any] = {
        "amount": frame["amount"].to_numpy(),
        "minutes_since_previous": gap,
        "hour_sin": np.sin(angle),
        "hour_cos": np.cos(angle),
        "merchant_seen": seen[0],
        "city_seen": seen[1],
        "mcc_seen": seen[2],
        "weekday": categorical((minute // (24 * 60) + 3) % 7, ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
        "chip": frame["chip"].array,
        "state": frame["state"].array,
        "mcc": frame["mcc"].astype("str").astype("category").array,
    }
    texts = [str(name) for name in frame["errors"].cat.categories]
    for error in _ERRORS:
        has = np.array([float(error in text.split(",")) for text in texts])
        columns[f"error={error}"] = has[frame["errors"].cat.codes.to_numpy()]
    return pd.DataFrame(columns, copy=False)


def _last_digits(column: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """The last decimal digits of each text, units first; other characters are left out and a text without any is 0."""
    numbers = np.array([int(re.sub(r"\D", "", str(text))[-_DIGIT_COUNT:] or 0) for text in column.cat.categories])
    powers = 10 ** np.arange(_DIGIT_COUNT)
    digits: npt.NDArray[np.int64] = (numbers[:, None] // powers % 10)[column.cat.codes.to_numpy()]
    return digits


def _seen_before(card: npt.NDArray[np.int64], column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """How often the card had met this value before."""
    pair = pd.Series(card * (len(column.cat.categories) + 1) + column.cat.codes.to_numpy())
    return np.asarray(pair.groupby(pair).cumcount(), dtype=np.float64)
