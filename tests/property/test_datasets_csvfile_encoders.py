"""Reading in blocks changes nothing, and an encoder survives being stored."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.datasets import csvfile
from harness.datasets.encoders import Encoder

_ENCODINGS = [
    "-".join(part for part in (categories, log, scaling) if part)
    for categories in ("", "onehot", "ordinal")
    for log in ("", "log")
    for scaling in ("", "standard", "minmax", "quantile")
    if categories or log or scaling
] + ["none"]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4000), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_blocks_of_any_size_give_the_same_table(size: int, trailing: bool, newline: str) -> None:
    schema = csvfile.Schema(("a", "kind"), frozenset({"kind"}))
    content = newline.join(f"{number},k{number % 3}" for number in range(50)) + (newline if trailing else "")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "blocks.csv"
        path.write_bytes(("h1,h2" + newline + content).encode())
        patch.setattr(csvfile, "_BLOCK_BYTES", size)
        frame, _ = csvfile.read(path, schema, header_lines=1)
    assert frame["a"].tolist() == list(range(50))
    assert [str(value) for value in frame["kind"]] == [f"k{number % 3}" for number in range(50)]


_numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
_rows = st.lists(st.tuples(_numbers, _numbers, st.sampled_from(["a", "b", "é,=", ""])), min_size=2, max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_ENCODINGS), _rows, _rows)
def test_a_stored_encoder_encodes_the_same_finite_features(
    text: str, train: list[tuple[float, float, str]], test: list[tuple[float, float, str]]
) -> None:
    encoder = Encoder.fit(text, _frame(train))
    stored = io.BytesIO()
    np.savez(stored, **encoder.to_arrays())
    stored.seek(0)
    with np.load(stored, allow_pickle=False) as arrays:
        again = Encoder.from_arrays(arrays)
    encoded = encoder.transform(_frame(test))
    assert encoded.dtype == np.float32
    assert encoded.flags.c_contiguous
    assert encoded.shape == (len(test), len(encoder.feature_names))
    assert not np.isnan(encoded).any()
    np.testing.assert_array_equal(encoded, again.transform(_frame(test)))
    assert encoder.feature_names == again.feature_names
    as_lists = {name: list(column) for name, column in zip("xyk", zip(*test, strict=True), strict=True)}
    np.testing.assert_array_equal(encoded, again.transform(as_lists))


def _frame(rows: list[tuple[float, float, str]]) -> pd.DataFrame:
    x, y, kind = zip(*rows, strict=True)
    return pd.DataFrame({"x": np.array(x, np.float64), "y": np.array(y, np.float64), "k": pd.Categorical(kind)})
