"""A table written in an odd dialect is the table that was written: values, missing values, labels and lines."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.datasets.delimited import read
from harness.datasets.gaps import Form
from harness.datasets.labels import Meaning, canonical, judge

_number = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**30), 10**30).map(float)
)
_word = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=6).map(
    lambda text: f"k{text}".strip()
)
_rows = st.lists(
    st.tuples(_number, _word, _number, st.sampled_from(["normal", "scan", "flood"])), min_size=2, max_size=20
)
_DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t", "|"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(_rows, _DIALECTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.integers(0, 2))
def test_a_table_is_read_as_it_was_written(rows: list, dialect: dict, encoding: str, blank: int) -> None:
    names = ["first", "kind, of it", "second", "label"]
    text = io.StringIO(newline="")
    writer = csv.writer(text, **dialect)
    writer.writerow(names)
    for number, word, other, label in rows:
        writer.writerow(["" if number is None else number, word, "" if other is None else other, f" {label} "])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes((dialect["lineterminator"] * blank + text.getvalue()).encode(encoding))
        table = read(path, Form(), "label")
    assert list(table.frame.columns) == names
    for place in (0, 2):
        column = table.frame[names[place]]
        expected = np.array([np.nan if row[place] is None else row[place] for row in rows], np.float64)
        if isinstance(column.dtype, pd.CategoricalDtype):  # integers beyond 2^64 stay texts until columns are judged
            column = (
                column.astype(object)
                .where(column.notna(), None)
                .map(lambda value: None if value is None else float(value))
            )
        np.testing.assert_allclose(column.to_numpy(np.float64), expected, rtol=1e-15)
    assert [str(value) for value in table.frame["kind, of it"]] == [row[1] for row in rows]
    lines = [int(table.place(number).removeprefix("line ")) for number in range(len(rows))]
    assert lines == list(range(blank + 2, blank + 2 + len(rows)))
    kinds = [row[3] for row in rows]
    if 0 < kinds.count("normal") < len(kinds):
        judged = judge(table.frame["label"], "x.csv", table.place, Meaning())
        np.testing.assert_array_equal(judged.label, [kind != "normal" for kind in kinds])
        assert [str(name) for name in judged.classes] == kinds


@given(
    st.integers(-(10**6), 10**6), st.sampled_from(["{}", "{}.0", " {}", "{} ", "{}.", "'{}'", "b'{}'", '"{}"', "{}e0"])
)
def test_a_label_is_one_in_every_form(number: int, form: str) -> None:
    assert canonical(form.format(number)) == str(number)
