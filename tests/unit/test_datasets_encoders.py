"""Encoders against scikit-learn's own pipelines, fitted on training rows only."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)

from harness.datasets.encoders import Encoder
from harness.datasets.options import parse_encoding

_SCALERS = {
    "standard": StandardScaler(),
    "minmax": MinMaxScaler(),
    "quantile": QuantileTransformer(n_quantiles=400, random_state=0),
}


def _table(rows: int, seed: int, kinds: str = "abc") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": np.floor(np.exp(rng.normal(3, 2, rows))),
            "kind": pd.Categorical(rng.choice(list(kinds), rows)),
            "rate": rng.random(rows),
        }
    )


@pytest.mark.parametrize("scaling", list(_SCALERS))
def test_one_hot_leaves_indicators_alone_and_scales_numbers(scaling: str) -> None:
    train, test = _table(400, 0), _table(100, 1)
    encoder = Encoder.fit(f"onehot-{scaling}", train)
    reference = ColumnTransformer(
        [
            ("kind", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["kind"]),
            ("numbers", _SCALERS[scaling], ["size", "rate"]),
        ]
    ).fit(train)
    assert encoder.feature_names == ("size", "kind=a", "kind=b", "kind=c", "rate")
    ours = encoder.transform(test)[:, [1, 2, 3, 0, 4]]
    np.testing.assert_allclose(ours, reference.transform(test), rtol=1e-6, atol=1e-6)


def test_ordinal_codes_are_scaled_like_numbers() -> None:
    train, test = _table(400, 0), _table(100, 1)
    codes = OrdinalEncoder().fit(train[["kind"]].astype(str))

    def block(frame: pd.DataFrame) -> np.ndarray:
        return np.column_stack([frame["size"], codes.transform(frame[["kind"]].astype(str)), frame["rate"]])

    expected = StandardScaler().fit(block(train)).transform(block(test))
    np.testing.assert_allclose(Encoder.fit("ordinal-standard", train).transform(test), expected, rtol=1e-6, atol=1e-6)


def test_codes_stay_whole_numbers_beside_scaled_ones() -> None:
    train, test = _table(400, 0), _table(100, 1)
    encoder = Encoder.fit("codes-standard", train)
    encoded = encoder.transform(test)
    codes = OrdinalEncoder().fit(train[["kind"]].astype(str)).transform(test[["kind"]].astype(str))
    numbers = StandardScaler().fit(train[["size", "rate"]]).transform(test[["size", "rate"]])
    assert encoder.feature_names == ("size", "kind", "rate")
    np.testing.assert_array_equal(encoded[:, 1], codes[:, 0])
    np.testing.assert_allclose(encoded[:, [0, 2]], numbers, rtol=1e-5, atol=1e-6)
    again = Encoder.from_arrays(encoder.to_arrays())
    np.testing.assert_array_equal(again.transform(test), encoded)


def test_the_logarithm_keeps_the_sign() -> None:
    frame = pd.DataFrame({"x": [-9.0, 0.0, 9.0]})
    np.testing.assert_allclose(Encoder.fit("log", frame).transform(frame)[:, 0], [-np.log(10), 0, np.log(10)])


def test_a_value_training_did_not_hold() -> None:
    train, test = _table(50, 0, "ab"), _table(50, 1, "abz")
    unseen = (test["kind"] == "z").to_numpy()
    onehot, ordinal, codes = (Encoder.fit(text, train) for text in ("onehot", "ordinal", "codes-standard"))
    assert (codes.transform(test)[unseen, 1] == -1).all()
    assert (onehot.transform(test)[unseen, 1:3] == 0).all()
    assert (onehot.transform(test)[~unseen, 1:3].sum(axis=1) == 1).all()
    assert (ordinal.transform(test)[unseen, 1] == -1).all()
    assert onehot.unseen(test) == {"kind": int(unseen.sum())}
    assert onehot.unseen(train) == {}


def test_missing_and_infinite_numbers_become_the_training_median() -> None:
    train = pd.DataFrame({"x": [1.0, 2.0, 9.0, np.nan, np.inf]})
    test = pd.DataFrame({"x": [np.nan, -np.inf, 5.0]})
    assert Encoder.fit("none", train).transform(test)[:, 0].tolist() == [2.0, 2.0, 5.0]


def test_scaling_may_be_fitted_on_a_part_of_the_rows() -> None:
    train = _table(400, 0)
    part = np.arange(400) < 100
    encoder = Encoder.fit("ordinal-standard", train, scaler_rows=part)
    np.testing.assert_allclose(encoder.transform(train)[part].astype(np.float64).mean(axis=0), 0, atol=1e-6)
    assert abs(float(encoder.transform(train)[:, 0].mean())) > 1e-3


def test_a_fixed_vocabulary_gives_its_columns_whatever_the_rows_hold() -> None:
    encoder = Encoder.fit("onehot", _table(50, 0, "ab"), vocabulary={"kind": ("a", "b", "c", "d")})
    assert encoder.feature_names == ("size", "kind=a", "kind=b", "kind=c", "kind=d", "rate")
    assert encoder.transform(_table(50, 1, "d"))[:, 4].sum() == 50


@pytest.mark.parametrize("text", ["", "onehot-onehot", "minmax-log", "standard-minmax", "log-none", "one-hot"])
def test_what_is_no_encoding(text: str) -> None:
    assert parse_encoding(text) is None
    with pytest.raises(ValueError, match="unknown encoding"):
        Encoder.fit(text, _table(5, 0))


def test_indicators_are_bounded_before_memory_is_taken() -> None:
    texts = pd.Categorical.from_codes(np.arange(20_000), [f"user-{number}" for number in range(20_000)])
    frame = pd.DataFrame({"user": texts, "kind": pd.Categorical(["b", "a", None, "b"] * 5_000)})
    tracemalloc.start()
    try:
        encoder = Encoder.fit("onehot", frame, indicators=8)
        encoded = encoder.transform(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert encoded.shape == (20_000, 8 + 3)
    assert encoder.vocabulary["kind"] == ("", "a", "b")
    assert encoder.without_indicator(frame) == {"user": 20_000 - 8}
    assert peak < 50e6  # an indicator for each text would take 1.6 GB


def test_a_missing_category_is_not_an_unseen_one() -> None:
    train = pd.DataFrame({"k": pd.Categorical(["a", "b", None])})
    test = pd.DataFrame({"k": pd.Categorical([None, "z", "a"])})
    encoder = Encoder.fit("onehot", train)
    assert encoder.feature_names == ("k=", "k=a", "k=b")
    assert encoder.transform(test).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert encoder.transform({"k": [None, float("nan"), ""]}).tolist() == [[1, 0, 0]] * 3
    assert encoder.unseen(test) == {"k": 1}


def test_numbers_beyond_float32_become_the_training_median() -> None:
    train = pd.DataFrame({"x": [1.0, 2.0, 3.0, 1.7976931348623157e308]})
    test = pd.DataFrame({"x": [-1e300, 2.5]})
    for text in ("none", "standard", "minmax", "quantile"):
        encoder = Encoder.fit(text, train)
        assert np.isfinite(encoder.transform(train)).all()
        assert np.isfinite(encoder.transform(test)).all()
    assert Encoder.fit("none", train).transform(test)[:, 0].tolist() == [2.0, 2.5]
