"""Features of card transactions given singly, without a data frame: those of `harness.datasets.card_features`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.datasets.card_features import DIGIT_COUNT, ERRORS, NS_PER_MINUTE, WEEKDAYS, CardPast, last_digits
from harness.datasets.encoders import Encoder
from harness.errors import InputError

_DAY = 24 * 60


class Transaction(NamedTuple):
    """One transaction; a text that is missing is empty."""

    minute: int  # since 1970
    amount: float  # dollars
    merchant: str
    city: str
    chip: str
    errors: str
    state: str = ""
    mcc: str = ""


Values = dict[str, "float | str"]


class CardEncoder:
    """Encodes transactions as the encoder of a data set of cards does; a category that it does not know is none.

    Args:
        encoder: of a card's history, or of the source document's columns.
        single_time: absolute time is rounded to float32, steps of 137 seconds in 2024, as the document's server does.

    Raises:
        InputError: the encoder is for other columns.
    """

    def __init__(self, encoder: Encoder, *, single_time: bool = False) -> None:
        self._encoder, self._single_time = encoder, single_time
        self.history = "minutes_since_previous" in encoder.columns
        example = self._values(Transaction(0, 1.0, "", "", "", ""), CardPast())
        if set(example) != set(encoder.columns):
            raise InputError("The encoder is not one of card transactions.", remedy="Give encoded rows.")
        self._codes = {
            name: {value: code for code, value in enumerate(values)} for name, values in encoder.vocabulary.items()
        }
        ordinal = encoder.encoding.categories not in ("onehot", "codes")
        self._texts = tuple(name for name in encoder.columns if name in self._codes and not ordinal)
        self._numbers = tuple(name for name in encoder.columns if name not in self._texts)
        self.features = len(encoder.feature_names)
        self.unseen = 0  # categories that training did not hold

    @classmethod
    def of(cls, encoder: Encoder, *, single_time: bool = False) -> CardEncoder | None:
        """None for an encoder of other columns."""
        return cls(encoder, single_time=single_time) if {"minutes_since_previous", "log_amount"} & set(
            encoder.columns
        ) else None  # fmt: skip

    def encode(self, transactions: Sequence[Transaction], pasts: Sequence[CardPast]) -> npt.NDArray[np.float32]:
        """Features (n, d) of transactions in the order they happened, each with the past of its card, which goes on."""
        rows = [self._values(*pair) for pair in zip(transactions, pasts, strict=True)]
        numbers = np.empty((len(rows), len(self._numbers)))
        codes = np.empty((len(rows), len(self._texts)), dtype=np.int64)
        for place, row in enumerate(rows):
            numbers[place] = [self._number(name, row[name]) for name in self._numbers]
            codes[place] = [self._code(name, row[name]) for name in self._texts]
        return self._encoder.assemble(numbers, codes)

    def _number(self, name: str, value: float | str) -> float:
        return float(value) if name not in self._codes else self._code(name, value)

    def _code(self, name: str, value: float | str) -> int:
        code = self._codes[name].get(str(value), -1)
        self.unseen += code < 0 and value != ""  # what is missing is no category
        return code

    def _values(self, transaction: Transaction, past: CardPast) -> Values:
        return self._of_history(transaction, past) if self.history else self._of_document(transaction)

    def _of_history(self, transaction: Transaction, past: CardPast) -> Values:
        minute = transaction.minute
        gap, merchant, city, mcc = past.next(minute, (transaction.merchant, transaction.city, transaction.mcc))
        angle = 2 * math.pi * (minute % _DAY) / _DAY
        names = transaction.errors.split(",")
        return {
            "amount": transaction.amount,
            "minutes_since_previous": gap,
            "hour_sin": float(np.sin(angle)),
            "hour_cos": float(np.cos(angle)),
            "merchant_seen": merchant,
            "city_seen": city,
            "mcc_seen": mcc,
            "weekday": WEEKDAYS[(minute // _DAY + 3) % 7],
            "chip": transaction.chip,
            "state": transaction.state,
            "mcc": transaction.mcc,
            **{f"error={error}": float(error in names) for error in ERRORS},
        }

    def _of_document(self, transaction: Transaction) -> Values:
        time = float(transaction.minute * NS_PER_MINUTE)
        values: Values = {
            "chip": transaction.chip,
            "errors": transaction.errors or "missing_value",
            "time": float(np.float32(time)) if self._single_time else time,
            "log_amount": math.log(max(1.0, transaction.amount)),
        }
        for name, text in (("merchant", transaction.merchant), ("city", transaction.city)):
            digits = f"{last_digits(text):0{DIGIT_COUNT}d}"[::-1]
            values |= {f"{name}_digit_{place}": digit for place, digit in enumerate(digits)}
        return values
