"""Features of card transactions: those of the source document, defects included, and those of a card's own history."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets.cards import Transactions
from harness.datasets.table import categorical

_DIGITS = tuple("0123456789")
DIGIT_COUNT = 5
NS_PER_MINUTE = 60 * 1_000_000_000
MET = ("merchant", "city", "mcc")  # columns whose values a card's history counts
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ERRORS = (
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
        for place in range(DIGIT_COUNT):
            columns[f"{name}_digit_{place}"] = categorical(digits[:, place], _DIGITS)
    columns["chip"] = frame["chip"].array
    columns["errors"] = (
        frame["errors"]
        .cat.rename_categories({name: name or "missing_value" for name in frame["errors"].cat.categories})
        .array
    )
    columns["time"] = (frame["minute"].to_numpy() * NS_PER_MINUTE).astype(np.float64)
    columns["log_amount"] = np.log(np.maximum(1.0, frame["amount"].to_numpy()))
    return pd.DataFrame(columns, copy=False)


def history(transactions: Transactions) -> pd.DataFrame:
    """Columns of a transaction and of what its card did before; none looks ahead and none is an absolute time."""
    frame = transactions.frame
    card = transactions.card
    minute = frame["minute"].to_numpy()
    first = np.diff(card, prepend=-1) != 0
    gap = np.where(first, np.nan, np.diff(minute, prepend=minute[0]))
    seen = [_seen_before(card, frame[name].astype("category")) for name in MET]
    return history_columns(frame, gap, seen)


class CardPast:
    """What a card did before, as far as the features of its next transaction need it.

    Args:
        most: how many different merchants, cities and codes are kept; of more, those that were met longest ago go.
    """

    __slots__ = ("forgotten", "minute", "most", "seen")

    def __init__(self, most: int | None = None) -> None:
        self.minute: int | None = None  # of its last transaction
        self.seen: dict[tuple[str, Hashable], int] = {}  # how often it met a value of a column, the last met at the end
        self.most = most
        self.forgotten = 0

    def next(self, minute: int, values: Sequence[Hashable]) -> tuple[float, ...]:
        """Minutes since its transaction before (NaN without), and how often it had met each of `MET` before."""
        gap = math.nan if self.minute is None else float(minute - self.minute)
        self.minute = minute
        counts = []
        for key in zip(MET, values, strict=True):
            count = self.seen.pop(key, 0)
            self.seen[key] = count + 1
            counts.append(float(count))
        while self.most is not None and len(self.seen) > self.most:
            del self.seen[next(iter(self.seen))]
            self.forgotten += 1
        return gap, *counts


def history_columns(
    frame: pd.DataFrame, gap: npt.NDArray[np.float64], seen: Sequence[npt.NDArray[np.float64]]
) -> pd.DataFrame:
    """The columns of `history`.

    Args:
        frame: transactions.
        gap: minutes since the transaction of the card before each.
        seen: how often the card met each of `MET` before.
    """
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
        "weekday": categorical((minute // (24 * 60) + 3) % 7, WEEKDAYS),
        "chip": frame["chip"].array,
        "state": frame["state"].array,
        "mcc": frame["mcc"].astype("str").astype("category").array,
    }
    texts = [str(name) for name in frame["errors"].cat.categories]
    for error in ERRORS:
        has = np.array([float(error in text.split(",")) for text in texts])
        columns[f"error={error}"] = has[frame["errors"].cat.codes.to_numpy()]
    return pd.DataFrame(columns, copy=False)


def last_digits(text: str) -> int:
    """The last five decimal digits of a text as a number."""
    return int(re.sub(r"\D", "", text)[-DIGIT_COUNT:] or 0)


def _last_digits(column: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """The last decimal digits of each text, units first; other characters are left out and a text without any is 0."""
    numbers = np.array([last_digits(str(text)) for text in column.cat.categories])
    powers = 10 ** np.arange(DIGIT_COUNT)
    digits: npt.NDArray[np.int64] = (numbers[:, None] // powers % 10)[column.cat.codes.to_numpy()]
    return digits


def _seen_before(card: npt.NDArray[np.int64], column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """How often the card had met this value before."""
    pair = pd.Series(card * (len(column.cat.categories) + 1) + column.cat.codes.to_numpy())
    return np.asarray(pair.groupby(pair).cumcount(), dtype=np.float64)
