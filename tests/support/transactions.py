"""Synthetic card transactions in the format of TabFormer's file, as many as are asked for, written card by card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from harness.datasets.cards import FILE_COLUMNS

_MERCHANTS, _CITIES, _STATES, _CODES = 100_000, 13_000, 224, 109  # about as many as the published file has
_FAVOURITES = 60
_CHIPS = ("Swipe Transaction", "Chip Transaction", "Online Transaction")
_ERRORS = ("", "Insufficient Balance", "Bad PIN", "Technical Glitch", '"Bad PIN,Insufficient Balance"')


def write_transactions(path: Path, rows: int, *, seed: int = 0, mean_rows: int = 4000, bursts: float = 0.0005) -> None:
    """Write ``rows`` transactions: cards with habits and rare bursts of fraud.

    Args:
        path: of the file.
        seed: of every draw.
        mean_rows: transactions of a card on average.
        bursts: of fraud, one to four transactions each, as a share of the transactions.
    """
    draw = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(FILE_COLUMNS) + "\n")
        left, user = rows, 0
        while left > 0:
            for card in range(int(draw.integers(1, 6))):
                count = min(left, int(mean_rows * draw.uniform(0.25, 1.75)))
                _write_card(file, user, card, count, draw, bursts)
                left -= count
            user += 1


def _write_card(file: TextIO, user: int, card: int, rows: int, draw: np.random.Generator, bursts: float) -> None:
    if rows:
        file.write("\n".join(_lines(user, card, rows, draw, bursts)) + "\n")


def _lines(user: int, card: int, rows: int, draw: np.random.Generator, bursts: float) -> Iterator[str]:
    starts = np.flatnonzero(draw.random(rows) < bursts)
    fraud = np.zeros(rows, np.bool_)
    for start in starts.tolist():
        fraud[start : start + int(draw.integers(1, 5))] = True
    favourites = draw.integers(_MERCHANTS, size=_FAVOURITES)
    usual = favourites[np.minimum(draw.zipf(1.5, rows) - 1, _FAVOURITES - 1)]
    elsewhere = fraud | (draw.random(rows) < 0.05)
    merchant = np.where(elsewhere, draw.integers(_MERCHANTS, size=rows), usual)
    gap = np.where(fraud, draw.exponential(20, rows), draw.exponential(draw.uniform(600, 2500), rows)) + 1
    minute = np.cumsum(gap).astype("timedelta64[m]") + np.datetime64("2001-01-01T06:00")
    dates = np.datetime_as_string(minute, unit="m").tolist()
    amount = np.exp(draw.normal(3.3 + 0.8 * (merchant % 7 - 3) / 3, 0.6) + 0.7 * fraud)
    online = draw.random(rows) < np.where(fraud, 0.7, 0.1)
    chip = np.where(online, 2, draw.integers(2, size=rows))
    error = np.where(draw.random(rows) < 0.03, draw.integers(1, len(_ERRORS), size=rows), 0)
    columns = (array.tolist() for array in (merchant, amount, online, chip, error, fraud))
    for date, place, dollars, remote, way, problem, wrong in zip(dates, *columns, strict=True):
        where = "ONLINE,," if remote else f"City {place % _CITIES},S{place % _STATES},{10_000 + place % 80_000}.0"
        yield (
            f"{user},{card},{date[:4]},{int(date[5:7])},{int(date[8:10])},{date[11:]},${dollars:.2f},{_CHIPS[way]},"
            f"{7_919 * (1 + place) ** 2},{where},{4_000 + place % _CODES},{_ERRORS[problem]},{'Yes' if wrong else 'No'}"
        )
