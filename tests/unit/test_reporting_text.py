"""Figures in words: right to three digits, and never more exact than what was measured."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting.text import (
    and_list,
    as_given,
    clip,
    interval,
    number,
    percent,
    plus_minus,
    quantity,
    ranges,
    size,
    value_text,
)
from harness.wording import plural, signed

_FACTORS = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (4.81e6, "rows/s", "4.81 M rows/s"),
        (999_999, "rows/s", "1.00 M rows/s"),
        (999.4, "rows/s", "999 rows/s"),
        (2.1e-6, "s", "2.10 µs"),
        (0.9996, "s", "1.00 s"),
        (1234.0, "s", "1,230 s"),
        (5.5e12, "FLOP/s", "5.50 TFLOP/s"),
        (0, "s", "0 s"),
        (0.3, "", "0.300"),
    ],
)
def test_quantities(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(12.34, "+12.3"), (-0.44, "\u22120.4"), (-0.04, "0.0"), (0.0, "0.0"), (1234.5, "+1,234.5")]
)
def test_a_change_has_the_sign_that_axes_have_and_none_where_it_is_nothing(value: float, text: str) -> None:
    assert signed(value) == text


@given(st.floats(1e-9, 9.99e17), st.sampled_from(["rows/s", "B/s", "FLOP/s"]))
def test_a_quantity_read_back_is_the_value_to_three_digits(value: float, unit: str) -> None:
    match = re.fullmatch(r"([\d.,]+)\s([nµmkMGTP]?)\s?(rows/s|B/s|FLOP/s)", quantity(value, unit))
    assert match is not None
    back = float(match[1].replace(",", "")) * _FACTORS[match[2]]
    assert back == pytest.approx(value, rel=0.0051)
    assert len(match[1].replace(",", "").replace(".", "").lstrip("0")) <= 4


@given(st.floats(-1e12, 1e12).filter(lambda value: abs(value) > 1e-12))
def test_a_number_has_no_exponent_and_three_digits(value: float) -> None:
    text = number(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_intervals_share_the_prefix_of_their_value() -> None:
    assert interval(4.71e6, 4.91e6, 6) == "[4.71, 4.91]"
    assert plus_minus(100, 98, 101).replace("\u00a0", " ") == "±2.0 %"
    assert plus_minus(100, 99.6, 100.2).replace("\u00a0", " ") == "±0.4 %"


@given(st.sets(st.integers(0, 2000), max_size=80))
def test_ranges_name_every_number_once(numbers: set[int]) -> None:
    found: list[int] = []
    for part in ranges(numbers).split(",") if numbers else []:
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    assert found == sorted(numbers)


def test_control_characters_are_shown_as_such_and_cuts_are_marked() -> None:
    assert clip("a\x1b[31m\x00b", 40) == "a\ufffd[31m\ufffdb"
    assert clip("4 µs at\u00a0once", 40) == "4 µs at\u00a0once"
    assert clip("abcdef", 4) == "abc…"


def test_words() -> None:
    assert and_list(["a", "b", "c"]) == "a, b and c"
    assert plural(1, "core") == "1 core"
    assert plural(2000, "process", "processes") == "2,000 processes"
    assert size(256 << 30).replace("\u00a0", " ") == "256 GiB"
    assert size(1536).replace("\u00a0", " ") == "1.50 KiB"
    assert percent(0.3145).replace("\u00a0", " ") == "31.4 %"
    assert as_given(0.87) == "0.87"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (True, "yes"),
        ([0, 1, 2, 8], "0-2,8"),
        ([], "none"),
        (["a", None], "a, not known"),
        ({"b": 1, "a": 0.5}, "a: 0.500, b: 1"),
    ],
)
def test_any_json_value_has_a_text(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100"), (0.9968, "99.6"), (0.99999, "99.9"), (0.994, "99"), (2.5, "250")]
)
def test_only_the_whole_is_100_percent(share: float, text: str) -> None:
    assert percent(share, 2) == f"{text}\N{NO-BREAK SPACE}%"


def test_a_percentage_of_what_is_near_the_largest_number_is_said_to_be_infinite() -> None:
    assert plus_minus(1e-300, -1e308, 1e308) == "±inf\N{NO-BREAK SPACE}%"
    assert quantity(float("inf"), "s") == "inf\N{NO-BREAK SPACE}s"
