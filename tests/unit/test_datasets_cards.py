"""Card transactions: streamed, windows that stay within a card, and the source document's handling."""

from __future__ import annotations

import io
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split
from support.published import load_published, published_path

from harness.datasets import cards, csvfile
from harness.datasets.base import load
from harness.errors import InputError

_HEADER = (
    "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,Merchant State,Zip,MCC,Errors?,Is Fraud?"
)


def _row(user: int, card: int, number: int, **changed: Any) -> str:
    values = {
        "user": user,
        "card": card,
        "year": 2010 + number // 300,
        "month": 1 + number // 25 % 12,
        "day": 1 + number % 25,
        "time": f"{number % 24:02d}:{number % 60:02d}",
        "amount": f"${number % 97}.50",
        "chip": "Swipe Transaction",
        "merchant": 1_000_000 + number % 11,
        "city": "La Verne",
        "state": "CA",
        "zip": "91750.0",
        "mcc": 5300 + number % 3,
        "errors": '"Bad PIN,Insufficient Balance"' if number % 40 == 0 else "",
        "fraud": "Yes" if number % 50 == 49 else "No",
    }
    return ",".join(str(value) for value in {**values, **changed}.values())


def _write(directory: Path, lines: list[str]) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "card_transaction.v1.csv"
    path.write_text("\n".join([_HEADER, *lines]) + "\n")
    return path


def _raw_user() -> pd.DataFrame:
    content = lzma.decompress(published_path("tabformer", "User0_credit_card_transactions.csv.xz").read_bytes())
    return pd.read_csv(io.BytesIO(content))


def test_the_file_of_one_user() -> None:
    data = load_published("tabformer", stride=1)
    assert data.verified is True
    assert data.train_x.ndim == 3
    assert data.train_x.shape[1] == 7
    assert sum(data.rows.values()) == 19_963 - 6 * 5, "the first six transactions of each of five cards end no window"
    labels = np.concatenate([data.train_y, data.validation_y, data.test_y])
    assert labels.sum() == 27
    assert set(data.test_class) == {"genuine", "fraud"}


def test_each_card_is_split_by_time_and_no_window_crosses_cards() -> None:
    data = load_published("tabformer", encoding="none", validation=0)
    raw = _raw_user()
    amount = raw["Amount"].str[1:].astype(float)
    place = data.feature_names.index("amount")
    for card, rows in amount.groupby(raw["Card"]):
        windows = np.lib.stride_tricks.sliding_window_view(rows.to_numpy(), 7)
        test = data.test_x[data.test_group == card][:, :, place]
        latest = round(0.2 * len(windows))
        np.testing.assert_allclose(test, windows[len(windows) - latest :], rtol=1e-6)


def test_features_look_back_only() -> None:
    data = load_published("tabformer", encoding="none", validation=0)
    raw = _raw_user()
    seen = raw.groupby(["Card", "Merchant Name"]).cumcount()
    place = data.feature_names.index("merchant_seen")
    for card in (0, 3):
        expected = seen[raw["Card"] == card].to_numpy()
        test = data.test_x[data.test_group == card][:, -1, place]
        np.testing.assert_array_equal(test, expected[len(expected) - len(test) :])
    assert not any(name in data.feature_names for name in ("fraud", "time", "user", "card"))


def test_as_published_equals_the_documents_windows_and_split() -> None:
    data = load_published("tabformer", protocol="as-published")
    raw = _raw_user().sort_values(["User", "Card"], kind="stable")
    usable = len(raw) // 7 * 7
    log_amount = np.log(raw["Amount"].str[1:].astype(float).clip(lower=1).to_numpy())
    scaled = (log_amount - log_amount.min()) / (log_amount.max() - log_amount.min())
    label = (raw["Is Fraud?"] == "Yes").to_numpy()[:usable].reshape(-1, 7)[:, -1]
    windows = scaled[:usable].reshape(-1, 7)
    train, test, train_label, _ = train_test_split(windows, label, test_size=0.2, stratify=label, random_state=42)
    inner, _ = train_test_split(train, test_size=0.2, stratify=train_label, random_state=42)
    place = data.feature_names.index("log_amount")
    np.testing.assert_allclose(data.test_x[:, :, place], test, atol=1e-6)
    np.testing.assert_allclose(data.train_x[:, :, place], inner, atol=1e-6)
    city = [place for place, name in enumerate(data.feature_names) if name.startswith("city")]
    assert len(city) == 5
    assert (data.train_x[:, :, city] == 1).all(), "digits of a city's name: a constant"
    digit = data.feature_names.index("merchant_digit_0=3")
    ends_in_three = (raw["Merchant Name"].astype(str).str[-1] == "3").to_numpy()[:usable].reshape(-1, 7)
    assert (
        data.train_x[:, :, digit].sum() + data.test_x[:, :, digit].sum() + data.validation_x[:, :, digit].sum()
        == ends_in_three.sum()
    )


def test_the_published_number_of_columns() -> None:
    assert len(load_published("tabformer", protocol="as-published").feature_names) == 50 + 5 + 3 + 9 + 2


def _lines(users: int) -> list[str]:
    return [_row(user, card, number) for user in range(users) for card in range(2) for number in range(100)]


def _peak_memory(path: Path) -> int:
    tracemalloc.start()
    try:
        cards.some_cards(path, 2_000, seed=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfile, "_BLOCK_BYTES", 1 << 18)
    small, large = _write(tmp_path / "small", _lines(60)), _write(tmp_path / "large", _lines(240))
    assert large.stat().st_size > 3.9 * small.stat().st_size
    assert _peak_memory(large) < 1.2 * _peak_memory(small)


def test_whole_cards_are_drawn_from_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfile, "_BLOCK_BYTES", 1 << 18)
    path = _write(tmp_path / "tabformer", _lines(100))
    transactions, _ = cards.some_cards(path, 2_000, seed=0)
    frame = transactions.frame
    assert transactions.seen == 20_000
    assert len(frame) == 2_000
    assert set(frame.groupby(["user", "card"]).size()) == {100}, "no card is cut"
    assert 20 < frame["user"].drop_duplicates().mean() < 80
    other, _ = cards.some_cards(path, 2_000, seed=1)
    assert set(other.frame["user"]) != set(frame["user"])
    data = load("tabformer", directory=tmp_path, synthetic="never", options={"transactions": 2_000})
    assert any("2,000 of 20,000 transactions: whole cards" in note for note in data.notes)


def test_the_first_rows_as_the_document_takes_them(tmp_path: Path) -> None:
    _write(tmp_path / "tabformer", [_row(user, 0, number) for user in range(3) for number in range(200)])
    data = load(
        "tabformer", directory=tmp_path, protocol="as-published", synthetic="never", options={"transactions": 300}
    )
    assert sum(data.rows.values()) == 300 // 7
    whole = load("tabformer", directory=tmp_path, protocol="as-published", synthetic="never", options={"validation": 0})
    assert sum(whole.rows.values()) == 600 // 7
    assert data.sha256 == whole.sha256, "the digest is that of the whole file"


def test_windows_may_step_further(tmp_path: Path) -> None:
    _write(tmp_path / "tabformer", [_row(0, card, number) for card in range(2) for number in range(103)])
    data = load(
        "tabformer", directory=tmp_path, synthetic="never", options={"steps": 10, "stride": 5, "encoding": "none"}
    )
    assert data.train_x.shape[1] == 10
    assert sum(data.rows.values()) == 2 * len(range(0, 103 - 10 + 1, 5))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"time": "24:00"}, "column 'Time' takes a time such as 06:21, not '24:00'"),
        ({"time": "noon"}, "not 'noon'"),
        ({"amount": "$12,50"}, r"line 8: 15 comma-separated values expected, 16 found"),
        ({"amount": "twelve"}, "column 'Amount' takes an amount such as .12.34, not 'twelve'"),
        ({"fraud": "maybe"}, "column 'Is Fraud.' takes Yes or No, not 'maybe'"),
        ({"month": 13}, "2010-13-7 is no date"),
        ({"mcc": "x"}, r"line 8: column 'MCC' takes a number, not 'x'"),
    ],
)
def test_broken_rows(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    lines = [_row(0, 0, number, errors="") for number in range(20)]
    lines[6] = _row(0, 0, 6, errors="", **changed)
    _write(tmp_path / "tabformer", lines)
    with pytest.raises(InputError, match=told):
        load("tabformer", directory=tmp_path, synthetic="never")


def test_too_few_transactions_for_a_window(tmp_path: Path) -> None:
    path = _write(tmp_path / "tabformer", [_row(0, 0, number) for number in range(5)])
    with pytest.raises(InputError, match="5 transactions make 0 windows of 7"):
        load("tabformer", directory=tmp_path, synthetic="never")
    path.write_text(_HEADER + "\n")
    with pytest.raises(InputError, match="holds a header and no transactions"):
        load("tabformer", directory=tmp_path, synthetic="never")


def test_the_stand_in_has_rare_fraud_and_the_same_columns() -> None:
    data = load("tabformer", synthetic="always")
    assert data.origin == "synthetic"
    labels = np.concatenate([data.train_y, data.validation_y, data.test_y])
    assert 0.0005 < labels.mean() < 0.005
    shared = {"amount", "minutes_since_previous", "merchant_seen", "weekday=Mon", "error=Bad PIN"}
    assert shared <= set(data.feature_names)
