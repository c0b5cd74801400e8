"""Rows of requests become the features that the bundle's encoder makes of them, bit for bit, or name what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.datasets.encoders import Encoder
from harness.serving.exchange import HttpError
from harness.serving.features import RowEncoder
from harness.serving.json_input import parse_object

ENCODINGS = (
    "onehot", "onehot-log-minmax", "onehot-standard", "ordinal-log-standard", "ordinal-minmax", "codes-log-minmax",
    "onehot-quantile", "ordinal-log", "none",
)  # fmt: skip
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "duration": RNG.exponential(100, 300),
        "protocol": pd.Categorical(RNG.choice(["tcp", "udp", "icmp"], 300)),
        "bytes": RNG.lognormal(3, 2, 300) * RNG.choice([-1, 0, 1], 300),
        "flag": pd.Categorical(RNG.choice(["1", "2"], 300)),
        "share": RNG.random(300),
    }
)
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
ROW = st.tuples(NUMBERS, st.sampled_from(["tcp", "udp", "icmp"]), NUMBERS, st.sampled_from(["1", "2"]), NUMBERS).map(
    list
)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_features_are_those_of_the_encoder(encoding: str) -> None:
    encoder = Encoder.fit(encoding, FRAME)
    fast = RowEncoder(encoder)

    @given(st.lists(ROW, min_size=1, max_size=5))
    def check(rows: list[list[object]]) -> None:
        columns = {name: [row[index] for row in rows] for index, name in enumerate(FRAME.columns)}
        np.testing.assert_array_equal(fast.encode(rows, "rows"), encoder.transform(columns), strict=True)

    check()


@pytest.mark.parametrize("encoding", ["onehot-log-minmax", "onehot-standard", "codes-log-minmax", "none", "onehot"])
@pytest.mark.parametrize("count", [1, 7, 16, 17])
def test_few_rows_have_the_bits_that_many_have(encoding: str, count: int) -> None:
    """Whole numbers alone, the largest of all, zeros of both signs, constant columns: by either arithmetic."""
    frame = FRAME.assign(same=3.0, tiny=1e-300 * RNG.random(300))
    encoder = Encoder.fit(encoding, frame)
    fast, slow = RowEncoder(encoder), RowEncoder(encoder)
    assert fast._few is not None
    slow._few = None
    numbers = [0, -0.0, 7, 1e308, -1e308, 3.4e38, 3.5e38, -5, 1e-310, 2**53, 0.1]
    rows = [
        [numbers[(3 * row + at) % len(numbers)] if at in (0, 2, 4, 5, 6) else ("tcp", "2")[at == 3] for at in range(7)]
        for row in range(count)
    ]
    for chosen in (rows, [[1, "udp", 2, "1", 3, 4, 5]] * count):
        with np.errstate(over="ignore"):
            mine, its = fast.encode(chosen, "rows"), slow.encode(chosen, "rows")
        assert mine.dtype == np.float32
        assert mine.flags.c_contiguous
        assert mine.flags.writeable
        assert mine.tobytes() == its.tobytes()


def test_pixels_are_scaled_as_the_encoder_does() -> None:
    frame = pd.DataFrame(RNG.integers(0, 256, (20, 9)).astype(float), columns=[f"pixel{i}" for i in range(9)])
    for encoding in ("unit", "signed"):
        encoder = Encoder.fit(encoding, frame)
        rows = frame.to_numpy().tolist()
        np.testing.assert_array_equal(RowEncoder(encoder).encode(rows, "rows"), encoder.transform(frame))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: "7"}, 'features[0]: expected a number (duration), not "7"'),
        ({0: True}, "features[0]: expected a number (duration), not true"),
        ({0: None}, "features[0]: expected a number (duration), not null"),
        ({2: [1]}, "features[2]: expected a number (bytes), not [1]"),
        ({2: float("inf")}, 'features[2]: expected a finite number (bytes), not "inf"'),
        ({2: 10**400}, "features[2]: expected a finite number (bytes), not"),
        ({1: "quic"}, 'features[1]: expected a category that training held (protocol), not "quic"'),
        ({1: 1}, "features[1]: expected a category that training held (protocol), not 1"),
        ({1: ["tcp"]}, "features[1]: expected a category that training held (protocol), not"),
        ({3: True}, "features[3]: expected a category that training held (flag), not true"),
    ],
)
@pytest.mark.parametrize("encoding", ["onehot-log-minmax", "ordinal-standard"])
def test_what_does_not_fit_is_named(encoding: str, change: dict[int, object], message: str) -> None:
    row: list[object] = [1, "tcp", 2.5, "1", 0.25]
    for index, value in change.items():
        row[index] = value
    with pytest.raises(HttpError) as error:
        RowEncoder(Encoder.fit(encoding, FRAME)).check(row, "features")
    assert error.value.status == 400
    assert error.value.message.startswith(message)


def test_a_category_written_as_a_number_is_that_category() -> None:
    fast = RowEncoder(Encoder.fit("onehot", FRAME))
    np.testing.assert_array_equal(
        fast.encode([[1, "tcp", 2, 1, 3]], "rows"), fast.encode([[1, "tcp", 2, "1", 3]], "rows")
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"\xff", "the body is not JSON: it is not UTF-8"),
        (b'{"a": [1, {"b c": [0, NaN]}]}', "a[1].b c[1]: expected a number, not NaN"),
        (b'{"a": "NaN", "b": -Infinity}', "b: expected a number, not -Infinity"),
        (b"NaN", "$: expected a number, not NaN"),
        (b"[1]", "$: expected an object, not [1]"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'{"a": ' + b"[" * 8 + b"]" * 8 + b"}", "the body is nested too deeply"),
        (b'{"a": "]]]]]]]]", "b": ' + b'{"a":' * 8 + b"1" + b"}" * 9, "the body is nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "the body is not JSON: a number has too many digits"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(HttpError) as error:
        parse_object(body)
    assert error.value.status == 400
    assert error.value.message.startswith(message)


def test_lists_within_lists_are_taken_to_a_bound_and_brackets_of_texts_are_none() -> None:
    deepest = {"a": [[[[[[[1]]]]]]] * 3, "b": "[[[[[[[[[[{{"}
    assert parse_object(json.dumps(deepest).encode()) == deepest
