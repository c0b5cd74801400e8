"""IBM TabFormer card transactions as windows of a card's consecutive transactions, labelled by the last one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.datasets import card_features, cards, splits
from harness.datasets.card_windows import CardFile
from harness.datasets.cards import Transactions
from harness.datasets.options import choice, count, encoding, switch
from harness.datasets.recipe import Reading, Recipe, Request, reading
from harness.datasets.store import Found
from harness.datasets.table import Indices, Split, Table, categorical, categorical_of
from harness.errors import InputError

_CLASSES = ("genuine", "fraud")
_SYNTHETIC_CARDS, _SYNTHETIC_ROWS = 120, 400
_CHIPS = ("Swipe Transaction", "Chip Transaction", "Online Transaction")
_WHOLE = ("train_classes", "train_rows", "deduplicate")  # options that choose among training rows
_GLITCHES = ("", "Insufficient Balance", "Bad PIN", "Technical Glitch", "Bad CVV")


def _read(local: Found, request: Request) -> Reading:
    entry = local.files[0]
    most = request.options["transactions"]
    if request.published:
        transactions, digest = cards.first_rows(entry.path, most)
        notes: tuple[str, ...] = ()
    else:
        transactions, digest = cards.some_cards(entry.path, most, request.seed)
        held = len(transactions.frame)
        drawn = f"{held:,} of {transactions.seen:,} transactions: whole cards, drawn at random."
        notes = (drawn,) if held < transactions.seen else ()
    if request.options["streamed"] and request.published:
        notes = (*notes, "As published nothing is streamed: the file's first transactions are trained on.")
    split = _split(transactions, request, notes)
    if request.options["streamed"] and not request.published:
        split = _streamed(split, entry.path, transactions, request)
    return reading(local, {entry.name: digest}, split)


def _streamed(split: Split, path: Path, transactions: Transactions, request: Request) -> Split:
    """Trained on every card of the file, by a stream; the cards of ``split`` validate and test.

    Raises:
        InputError: another option asks for what a stream does not have.
    """
    options = request.options
    for name in _WHOLE:
        if options[name] not in (None, "all", "none"):
            raise InputError(
                f"Data set {request.dataset}: streamed takes all training rows, and {name} chooses among them.",
                remedy=f"Leave out streamed or {name}.",
            )
    steps, stride = options["steps"], options["stride"]
    windows = {key: len(range(0, rows - steps + 1, stride)) for key, rows in transactions.rows_of.items()}
    train = {key: splits.cuts(count, validation=options["validation"])[0] for key, count in windows.items()}
    file = CardFile(path, train, steps, stride, options["features"])
    note = (
        f"Training reads {sum(train.values()):,} windows of {len(train):,} cards from the file in every pass, shuffled "
        "within a bounded buffer; numbers are scaled as those of the cards drawn, which alone validate and test."
    )
    return replace(split, streamed=file, vocabulary=file.vocabulary(), notes=(*split.notes, note))


def _split(transactions: Transactions, request: Request, notes: tuple[str, ...]) -> Split:
    steps, stride = request.options["steps"], request.options["stride"]
    label = transactions.frame["fraud"].to_numpy()
    if request.options["features"] == "document":
        features = card_features.document(transactions)
    else:
        features = card_features.history(transactions)
    card = transactions.card
    windows = _across_cards(len(card), steps, stride) if request.published else _within_cards(card, steps, stride)
    if len(windows) < 10:
        raise InputError(
            f"Data set {request.dataset}: {len(card):,} transactions make {len(windows)} windows of {steps}."
        )
    last = windows[:, -1]
    table = Table(features, label[last], categorical(label[last].astype(np.int64), _CLASSES), windows, card[last])
    if not request.published:
        return splits.by_time(
            table, last, validation=request.options["validation"], within=card[last],
            notes=(*notes, "Each card is split by time; windows do not cross cards."),
        )  # fmt: skip
    everything = Table(features, label)
    leaks = "As published: windows cross cards, the split is random, and features are fitted on all rows, which leaks."
    split = splits.at_random(table, seed=request.seed, notes=(*notes, leaks))
    if not request.options["validation"]:
        return replace(split, fit=everything)
    inner = splits.at_random(split.train, seed=request.seed, share=request.options["validation"])
    return replace(split, train=inner.train, validation=inner.test, fit=everything)


def _across_cards(rows: int, steps: int, stride: int) -> Indices:
    starts = np.arange(0, rows - steps + 1, stride)
    return starts[:, None] + np.arange(steps)


def _within_cards(card: Indices, steps: int, stride: int) -> Indices:
    """Windows of consecutive rows of one card, the first ``steps`` rows of each card making its first window."""
    windows = _across_cards(len(card), steps, 1)
    windows = windows[card[windows[:, 0]] == card[windows[:, -1]]]
    first_row = np.searchsorted(card, card)  # rows of a card follow one another
    return np.asarray(windows[(windows[:, 0] - first_row[windows[:, 0]]) % stride == 0], dtype=np.int64)


def _synthesise(request: Request) -> Split:
    """Cards with favourite merchants, habits of hour and amount, and rare bursts of fraud elsewhere.

    Each card visits 25 favourites of 600 merchants with Zipf shares; gaps are exponential, hours normal about the
    card's own, amounts log-normal about the merchant's. A burst of one to four frauds starts with probability 0.0006
    before a transaction: other merchants, mostly online, minutes apart, amounts twice as large and twice as spread.
    """
    rng = np.random.default_rng(request.seed)
    merchant_mcc = rng.choice(np.array([5411, 5499, 5541, 5812, 5814, 5912, 4829, 4900, 5300, 7832]), 600)
    merchant_log_amount = rng.normal(3.3, 0.8, 600)
    parts = [_card(number, rng, merchant_mcc, merchant_log_amount) for number in range(_SYNTHETIC_CARDS)]
    frame = pd.concat(parts, ignore_index=True)
    for name in ("chip", "merchant", "city", "state", "errors"):
        frame[name] = categorical_of(frame[name].tolist())
    notes = ["Synthetic: cards with habits and rare bursts of fraud; see harness/datasets/tabformer.py."]
    if request.options["streamed"]:
        notes.append("The stand-in is held in memory: nothing is streamed.")
    return _split(Transactions(frame, len(frame)), request, tuple(notes))


def _card(
    number: int, rng: np.random.Generator, mcc: npt.NDArray[np.int64], log_amount: npt.NDArray[np.float64]
) -> pd.DataFrame:
    rows = _SYNTHETIC_ROWS
    burst = np.zeros(rows, np.bool_)
    for start in np.flatnonzero(rng.random(rows) < 0.0006):
        burst[start : start + rng.integers(1, 5)] = True
    favourites = rng.choice(len(mcc), 25, replace=False)
    zipf = 1 / np.arange(1, 26)
    merchant = np.where(burst, rng.integers(len(mcc), size=rows), rng.choice(favourites, rows, p=zipf / zipf.sum()))
    gap = np.where(burst, rng.exponential(20, rows), rng.exponential(rng.uniform(600, 4000), rows)) + 1
    hour_of_day = np.clip(rng.normal(rng.uniform(9, 19), 3, rows), 0, 23.9)
    minute = np.cumsum(gap).astype(np.int64) + 20_000_000
    minute = np.where(burst, minute, minute // 1440 * 1440 + (hour_of_day * 60).astype(np.int64))
    amount = np.exp(log_amount[merchant] + np.where(burst, 0.7, 0.0) + rng.normal(0, np.where(burst, 1.0, 0.5)))
    online = rng.random(rows) < np.where(burst, 0.7, 0.08)
    chip = np.where(online, _CHIPS[2], np.where(rng.random(rows) < 0.5, _CHIPS[1], _CHIPS[0]))
    frame = pd.DataFrame(
        {
            "user": np.int32(number // 2), "card": np.int32(number % 2), "minute": minute,
            "amount": np.round(amount, 2), "mcc": mcc[merchant].astype(np.int32), "fraud": burst.astype(np.int8),
            "chip": chip,
            "merchant": [str(7_919 * (1 + name) ** 3) for name in merchant.tolist()],
            "city": np.where(online, "ONLINE", np.char.add("City ", (merchant % 90).astype(np.str_))),
            "state": np.where(online, "", np.char.add("S", (merchant % 30).astype(np.str_))),
            "errors": rng.choice(np.array(_GLITCHES), rows, p=(0.97, 0.02, 0.004, 0.004, 0.002)),
        }
    )  # fmt: skip
    return frame.sort_values("minute", kind="stable", ignore_index=True)


RECIPE = Recipe(
    read=_read,
    synthesise=_synthesise,
    options={
        "encoding": encoding("onehot-log-standard"),
        "features": choice("history", "document", help="columns of a card's history, or those of the source document"),
        "steps": count(7, help="transactions of a window"),
        "stride": count(1, help="transactions from one window to the next"),
        "streamed": switch(False, help="train on every card of the file, in memory that does not grow with it"),
        "transactions": count(100_000, help="at most this many: whole cards at random; as published, the file's first"),
    },
    published={"encoding": "onehot-minmax", "features": "document", "stride": 7, "transactions": 1_000_000},
)
