"""Lists: no name is cut, no line is longer than asked, whatever the width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting.listing import listing

HEADINGS = ("workload", "detector", "what it is")
ROWS = [
    ("cicids2017-unseen-isolation-forest", "isolation-forest", "Isolation forest, attacks of unseen kinds"),
    ("nsl-kdd-mlp", "mlp", "Classifier on NSL-KDD"),
]
WORDS = st.lists(st.text("abc-", min_size=1, max_size=12), max_size=12).map(" ".join)


def test_a_pipe_gets_one_aligned_line_per_row() -> None:
    lines = listing(HEADINGS, ROWS, None).splitlines()
    assert len(lines) == 3
    assert len({line.index(text) for line, text in zip(lines, ("what", "Isolation", "Classifier"), strict=True)}) == 1


def test_at_80_columns_only_the_prose_is_wrapped() -> None:
    lines = listing(HEADINGS, [*ROWS, ("x", "y", "word " * 30)], 100).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line.startswith(" " * 54) for line in lines[4:])


def test_where_columns_do_not_fit_the_rest_stands_below_the_name() -> None:
    lines = listing(HEADINGS, ROWS, 60).splitlines()
    assert lines[:3] == [ROWS[0][0], "    isolation-forest", "    Isolation forest, attacks of unseen kinds"]


@given(
    rows=st.lists(st.tuples(st.text("abc-", min_size=1, max_size=40), st.text("de", max_size=20), WORDS), max_size=5),
    width=st.integers(20, 200),
)
def test_nothing_is_lost_and_only_unbreakable_words_go_over_the_edge(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    text = listing(HEADINGS, rows, width)
    for name, kind, prose in rows:
        assert all(word in text.split() for word in (name, kind, *prose.split()) if word)
    assert all(len(line) <= width or len(line.split()) == 1 for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 80, None])
def test_no_rows_give_no_error(width: int | None) -> None:
    assert listing(HEADINGS, [], width) is not None
