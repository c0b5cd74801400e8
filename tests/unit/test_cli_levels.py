"""Levels of factors as the command line takes them: lists, ranges, nodes with the memory of others."""

from __future__ import annotations

import pytest

from harness.cli.levels import parse_locations, parse_whole_numbers
from harness.errors import InputError
from harness.sweeps.settings import Location


@pytest.mark.parametrize(
    ("text", "numbers"), [("1-4", (1, 2, 3, 4)), ("8,1-2", (1, 2, 8)), ("4, 1,2,4", (1, 2, 4)), ("3-3", (3,))]
)
def test_lists_and_ranges(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_whole_numbers("--cores", text) == numbers


@pytest.mark.parametrize("text", ["", "0", "0-4", "1-", "-4", "1-2-3", "1--2", "a", "1-99999999", "²", "1.5"])
def test_what_is_no_list_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="--cores") as caught:
        parse_whole_numbers("--cores", text)
    assert "1,2,4 or 1-4" in str(caught.value)


def test_nodes_take_ranges_and_the_memory_of_others() -> None:
    assert parse_locations("--nodes", "0-2,8,0:1,2:2") == (
        Location(0), Location(1), Location(2), Location(8), Location(0, 1),
    )  # fmt: skip
    for text in ("0-1:1", "0:", ":1", "0:1-2", "x"):
        with pytest.raises(InputError, match="is not a NUMA node"):
            parse_locations("--nodes", text)


def test_a_range_that_runs_backwards_is_given_forwards() -> None:
    for parse in (parse_whole_numbers, parse_locations):
        with pytest.raises(InputError, match="'4-1': the range runs backwards"):
            parse("--cores", "4-1")
