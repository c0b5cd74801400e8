"""Card transactions in the format of IBM TabFormer, read as a stream so that memory does not grow with the file.

Source: Padhi et al. 2021; 15 columns with header, amounts as "$12.34", times as "06:21", fraud as "Yes" and "No".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import csvfile
from harness.datasets.store import DigestingReader, opened
from harness.errors import InputError

NUMBERS = ("User", "Card", "Year", "Month", "Day", "MCC")
_TEXTS = (
    "Time", "Amount", "Use Chip", "Merchant Name", "Merchant City", "Merchant State", "Errors?", "Is Fraud?",
)  # fmt: skip
_LABEL = "Is Fraud?"
RAW_COLUMNS = (*NUMBERS, *(name for name in _TEXTS if name != _LABEL))
FILE_COLUMNS = (
    "User", "Card", "Year", "Month", "Day", "Time", "Amount", "Use Chip", "Merchant Name", "Merchant City",
    "Merchant State", "Zip", "MCC", "Errors?", _LABEL,
)  # fmt: skip
_SECONDS = 60


@dataclass(frozen=True)
class Transactions:
    """Rows of several cards: ``user, card, minute`` (since 1970), ``amount`` (dollars), ``mcc``, ``fraud``, and texts.

    The text columns ``chip, merchant, city, state, errors`` are categories. Rows of a card are in time order, and cards
    follow one another by user and number.
    """

    frame: pd.DataFrame
    seen: int  # rows of the file, of which these are a part
    rows_of: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))  # rows of each card of the file

    @property
    def card(self) -> npt.NDArray[np.int64]:
        """Running number of each row's card."""
        return np.asarray(self.frame.groupby(["user", "card"], sort=True).ngroup(), dtype=np.int64)


def first_rows(path: Path, most: int) -> tuple[Transactions, str]:
    """The first ``most`` rows of a file, as the source document takes them, and the sha256 of the whole file."""
    with opened(path) as reader:
        held: list[pd.DataFrame] = []
        rows = 0
        for block in _blocks(reader, path):
            held.append(block)
            rows += len(block)
            if rows >= most:
                break
        digest = reader.drain()
    frame = _ordered(_joined(held, path).iloc[:most])
    return Transactions(frame, rows), digest


def some_cards(path: Path, most: int, seed: int) -> tuple[Transactions, str]:
    """Whole cards drawn at random from the whole file, together at most ``most`` rows, and the sha256 of the file.

    One pass: each card has a random key, and cards with the largest keys are given up whenever more than twice the
    rows are held, so that at most that many and one block are in memory.
    """
    with opened(path) as reader:
        sample = _BottomCards(most, seed)
        for block in _blocks(reader, path):
            sample.add(block)
        digest = reader.drain()
    held = sample.finish()
    return Transactions(_ordered(_joined(held, path)), sample.seen, sample.rows_of), digest


def card_keys(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """A number of each row's card, the same in every file."""
    user, card = (frame[name].to_numpy().astype(np.int64) for name in ("user", "card"))
    return user << 32 | card & 0xFFFFFFFF


def transactions_in(path: Path) -> Iterator[pd.DataFrame]:
    """All rows of a file, block by block, in its order: columns as those of `Transactions`.

    Raises:
        InputError: a line that does not fit.
    """
    with opened(path) as reader:
        yield from _blocks(reader, path)


class _BottomCards:
    """Cards with the smallest keys; the largest key still kept only ever falls, so no kept card has lost a row."""

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._seed = np.uint64(seed)
        self._held: list[pd.DataFrame] = []
        self._limit = np.uint64(2**64 - 1)
        self.seen = 0
        self.rows_of: dict[int, int] = {}

    def add(self, block: pd.DataFrame) -> None:
        self.seen += len(block)
        for key, rows in zip(*map(np.ndarray.tolist, np.unique(card_keys(block), return_counts=True)), strict=True):
            self.rows_of[key] = self.rows_of.get(key, 0) + rows
        kept = self._keys(block) <= self._limit
        if kept.any():
            self._held.append(block if kept.all() else block[kept])
        if sum(map(len, self._held)) > 2 * self._most:
            self._prune()

    def finish(self) -> list[pd.DataFrame]:
        if sum(map(len, self._held)) > self._most:
            self._prune()
        return self._held

    def _prune(self) -> None:
        frame = csvfile.concatenate(self._held)
        keys = self._keys(frame)
        values, rows = np.unique(keys, return_counts=True)
        fitting = max(1, int(np.searchsorted(np.cumsum(rows), self._most, side="right")))
        self._limit = values[fitting - 1]
        self._held = [frame[keys <= self._limit]]

    def _keys(self, frame: pd.DataFrame) -> npt.NDArray[np.uint64]:
        number = frame["user"].to_numpy().astype(np.uint64) << np.uint64(16) | frame["card"].to_numpy().astype(
            np.uint64
        )
        # Multiplication and shift of MurmurHash3's finaliser: neighbouring cards get unrelated keys.
        mixed = (number + self._seed + np.uint64(1)) * np.uint64(0xFF51AFD7ED558CCD)
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        return mixed ^ (mixed >> np.uint64(33))


def _blocks(reader: DigestingReader, path: Path) -> Iterator[pd.DataFrame]:
    names = csvfile.header(path)
    csvfile.require_columns(path, names, (*NUMBERS, *_TEXTS))
    schema = csvfile.Schema(names, categories=frozenset(_TEXTS), keep=(*NUMBERS, *_TEXTS))
    for block in csvfile.frames(reader, path, schema, header_lines=1):
        yield transactions_of(block, path)


def transactions_of(block: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Columns of a file as those of `Transactions`; without labels every row is taken for genuine.

    Raises:
        InputError: a date, time or amount that is none.
    """
    dates = pd.to_datetime(
        pd.DataFrame({part.lower(): block[part].astype(np.int64) for part in ("Year", "Month", "Day")}), errors="coerce"
    )
    if dates.isna().any():
        row = block[dates.isna().to_numpy()].iloc[0]
        raise InputError(f"{path}: {row['Year']:g}-{row['Month']:g}-{row['Day']:g} is no date.")
    days = dates.to_numpy().astype("datetime64[D]").astype(np.int64)
    minutes = _converted(block["Time"], _minutes, "a time such as 06:21", path)
    return pd.DataFrame(
        {
            "user": block["User"].to_numpy().astype(np.int32),
            "card": block["Card"].to_numpy().astype(np.int32),
            "minute": days * (24 * 60) + minutes.astype(np.int64),
            "amount": _converted(block["Amount"], _dollars, "an amount such as $12.34", path),
            "mcc": block["MCC"].to_numpy().astype(np.int32),
            "fraud": _converted(block[_LABEL], _yes_or_no, "Yes or No", path).astype(np.int8) if _LABEL in block else 0,
            "chip": block["Use Chip"],
            "merchant": block["Merchant Name"],
            "city": block["Merchant City"],
            "state": block["Merchant State"],
            "errors": block["Errors?"],
        },
        copy=False,
    )


def _converted(
    column: pd.Series[Any], convert: Callable[[str], float], expected: str, path: Path
) -> npt.NDArray[np.float64]:
    """Each distinct text converted once."""
    values = []
    for text in map(str, column.cat.categories):
        try:
            values.append(convert(text))
        except ValueError:
            raise InputError(f"{path}: column {column.name!r} takes {expected}, not {text!r}.") from None
    return np.array(values, dtype=np.float64)[column.cat.codes.to_numpy()]


def _minutes(text: str) -> float:
    hour, minute = text.split(":")
    if not (0 <= int(hour) < 24 and 0 <= int(minute) < _SECONDS):
        raise ValueError(text)
    return int(hour) * 60 + int(minute)


def _dollars(text: str) -> float:
    return float(text.replace("$", "", 1))


def _yes_or_no(text: str) -> float:
    return ("No", "Yes").index(text)


def _joined(held: Iterable[pd.DataFrame], path: Path) -> pd.DataFrame:
    blocks = list(held)
    if not blocks:
        raise InputError(f"{path} holds a header and no transactions.")
    return csvfile.concatenate(blocks)


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    order = np.lexsort((frame["minute"], frame["card"], frame["user"]))  # stable: the file's order breaks ties
    return frame.iloc[order].reset_index(drop=True)
