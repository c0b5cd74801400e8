"""The HMC's ``key=value`` lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.platform.hmc import managed_system_of, parse_rows


def test_scores_as_the_console_prints_them():
    assert parse_rows("lpar_name=p9da10v1t,lpar_id=1,curr_lpar_score=100\n") == (
        {"lpar_name": "p9da10v1t", "lpar_id": "1", "curr_lpar_score": "100"},
    )
    assert parse_rows(
        "lpar_name=web,curr_lpar_score=none\nlpar_name=db,curr_lpar_score=60,predicted_lpar_score=80"
    ) == (
        {"lpar_name": "web"},
        {"lpar_name": "db", "curr_lpar_score": "60", "predicted_lpar_score": "80"},
    )


def test_lists_are_quoted_and_noise_is_passed_over():
    text = 'name=a,"modes=default,POWER9",description=\nNo results were found.\n\n,,=5,x'
    assert parse_rows(text) == ({"name": "a", "modes": "default,POWER9"},)


@given(st.text())
def test_any_answer_is_read_without_an_error(text):
    for row in parse_rows(text):
        assert all(key and value for key, value in row.items())


@pytest.mark.parametrize(
    ("model", "serial", "expected"),
    [
        ("IBM,9105-22A", "IBM,02785FABC", "9105-22A*785FABC"),
        ("IBM,9105-22A", "IBM,785FABC", "9105-22A*785FABC"),
        ("IBM,9105-22A", "", None),
        ("", "IBM,02785FABC", None),
        ("qemu", "IBM,02785FABC", None),
    ],
)
def test_the_servers_name_comes_from_type_and_serial_number(model, serial, expected):
    assert managed_system_of({"system_type": model, "serial_number": serial}) == expected
