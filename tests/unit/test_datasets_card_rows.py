"""Transactions of the real TabFormer file given singly have, to the bit, the features that training gives them."""

from __future__ import annotations

import csv
import io
import lzma
from pathlib import Path

import numpy as np
import pytest

from harness.datasets import card_features, cards
from harness.datasets.card_features import CardPast
from harness.datasets.card_rows import CardEncoder
from harness.datasets.encoders import Encoder
from harness.errors import InputError
from harness.serving.transactions import transaction

ROWS = 1500


@pytest.mark.parametrize(
    ("columns", "encoding"), [("history", "onehot-log-standard"), ("document", "onehot-minmax"), ("history", "codes")]
)
def test_every_row_of_the_file_is_encoded_as_in_training(data_dir: Path, columns: str, encoding: str) -> None:
    path = data_dir / "tabformer" / "User0_credit_card_transactions.csv.xz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    table, _ = cards.first_rows(path, ROWS)
    frame = getattr(card_features, columns)(table)
    encoder = Encoder.fit(encoding, frame)
    with lzma.open(path) as file:
        records = [row for row, _ in zip(csv.DictReader(io.TextIOWrapper(file, "utf-8")), range(ROWS), strict=False)]
    given = [(int(record["Card"]), transaction(record, "record")) for record in records]
    given.sort(key=lambda pair: (pair[0], pair[1].minute))
    singly, pasts = CardEncoder(encoder), {card: CardPast(1024) for card, _ in given}
    rows = np.concatenate([singly.encode([each], [pasts[card]]) for card, each in given])
    np.testing.assert_array_equal(rows, encoder.transform(frame))
    assert singly.unseen == 0


def test_a_past_forgets_what_was_met_longest_ago() -> None:
    past = CardPast(most=4)
    met = [past.next(minute, (name, "c", "m"))[1] for minute, name in enumerate("ababxyab")]
    assert met == [0, 0, 1, 1, 0, 0, 0, 0]
    assert (len(past.seen), past.forgotten) == (4, 4)


def test_other_encoders_are_refused() -> None:
    import pandas as pd

    encoder = Encoder.fit("onehot-standard", pd.DataFrame({"x": [1.0, 2.0], "log_amount": [1.0, 2.0]}))
    with pytest.raises(InputError, match="not one of card transactions"):
        CardEncoder(encoder)
