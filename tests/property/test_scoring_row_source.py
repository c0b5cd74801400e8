"""Rows come out of a stream as they were written, however it is cut, quoted and compressed; the rest have lines."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.scoring.row_source import open_rows, read_rows
from harness.scoring.rows import Layout, Rows

COLUMNS = ("size", "kind", "rate")
LAYOUT = Layout(COLUMNS, {"kind": None}, (*COLUMNS, "label"))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=6)
ROWS = st.lists(st.tuples(NUMBERS, TEXTS, NUMBERS), min_size=1, max_size=40)
BAD = st.sampled_from(["1,a", "1,a,2,x,y", "x,a,2", ",a,2", '1,"a,2', "nan,a,2", "1,a,inf", "1e999,b,2", "1,a\rb,2"])
PACK = {"plain": bytes, "gz": gzip.compress, "xz": lzma.compress}


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._content, self._piece = io.BytesIO(content), piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._content.readinto(memoryview(buffer)[: self._piece])


def written(rows, *, ending: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> list[str]:
    text = io.StringIO()
    csv.writer(text, lineterminator=ending, quoting=quoting).writerows(rows)
    return text.getvalue().split(ending)[:-1]


def read(content: bytes, layout: Layout = LAYOUT, piece: int = 1 << 16, block: int = 1 << 22) -> list[Rows]:
    return list(read_rows(io.BufferedReader(Trickle(content, piece), 16), "rows.csv", layout, block))


def joined(blocks: list[Rows]) -> tuple[list[tuple], list[int], list[tuple[int, str]]]:
    rows = [row for block in blocks for row in block.frame.astype({"kind": object}).itertuples(index=False, name=None)]
    lines = [line for block in blocks for line in block.lines.tolist()]
    return rows, lines, [(bad.line, bad.reason) for block in blocks for bad in block.bad]


@settings(deadline=None, max_examples=150)
@given(
    rows=ROWS, header=st.booleans(), ending=st.sampled_from(["\n", "\r\n"]), last=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), pack=st.sampled_from(sorted(PACK)),
    piece=st.integers(1, 400), block=st.integers(1, 300), labelled=st.booleans(),
)  # fmt: skip
def test_rows_are_those_that_were_written(rows, header, ending, last, quoting, pack, piece, block, labelled) -> None:
    table = [(*row, "normal") if labelled else row for row in rows]
    if header:
        table = [(*COLUMNS, "label") if labelled else COLUMNS, *table]
    text = ending.join(written(table, ending=ending, quoting=quoting)) + (ending if last else "")
    got, lines, bad = joined(read(PACK[pack](text.encode()), piece=piece, block=block))
    assert bad == []
    assert lines == list(range(1 + header, 1 + header + len(rows)))
    assert got == rows


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(st.one_of(st.tuples(NUMBERS, TEXTS, NUMBERS), BAD), min_size=1, max_size=30), block=st.data())
def test_broken_rows_are_known_by_their_lines_wherever_blocks_end(rows, block) -> None:
    lines = ["size,kind,rate", *(row if isinstance(row, str) else written([row])[0] for row in rows)]
    content = "\n".join(lines).encode() + b"\n"
    got, numbers, bad = joined(read(content, block=block.draw(st.integers(1, len(content)))))
    assert [line for line, _ in bad] == [line for line, row in enumerate(rows, 2) if isinstance(row, str)]
    assert got == [row for row in rows if not isinstance(row, str)]
    assert numbers == [line for line, row in enumerate(rows, 2) if not isinstance(row, str)]


@settings(deadline=None, max_examples=80)
@given(rows=ROWS, piece=st.integers(1, 200), block=st.integers(1, 200), pack=st.sampled_from(sorted(PACK)))
def test_json_lines(rows, piece, block, pack) -> None:
    lines = [json.dumps({**dict(zip(COLUMNS, row, strict=True)), "more": [1]}) for row in rows]
    got, numbers, bad = joined(read(PACK[pack](("\n".join(lines) + "\n").encode()), piece=piece, block=block))
    assert (got, bad) == (rows, [])
    assert numbers == list(range(1, len(rows) + 1))


def test_what_is_wrong_with_a_json_line() -> None:
    good = '{"size": 1, "kind": "a", "rate": 2.5}'
    wrong = {
        "[1]": "is not a JSON object", '{"size": 1': "is not a JSON object", '{"kind": "a", "rate": 2}': "'size' takes",
        '{"size": "1", "kind": "a", "rate": 2}': "'size' takes a finite number", good.replace('"a"', "null"): "'kind'",
        good.replace("2.5", "NaN"): "'rate' takes a finite number", good.replace("2.5", "true"): "'rate' takes",
        good.replace("2.5", "1e999"): "'rate' takes", good.replace("2.5", "9" * 400): "'rate' takes",
    }  # fmt: skip
    content = "\n".join([good, "", *wrong, good]).encode()
    got, lines, bad = joined(read(content))
    assert got == [(1.0, "a", 2.5)] * 2
    assert lines == [1, 3 + len(wrong)]
    assert [line for line, _ in bad] == list(range(3, 3 + len(wrong)))
    assert all(expected in reason for (_, reason), expected in zip(bad, wrong.values(), strict=True)), bad


@pytest.mark.parametrize("size", [0, 1, 3])
def test_an_unknown_category_has_its_line_and_name(size: int) -> None:
    layout = Layout(COLUMNS, {"kind": frozenset({"tcp"})})
    content = b"1,tcp,2\n" * size + b"1,xyz,2\n1,tcp,3\n"
    got, lines, bad = joined(read(content, layout))
    assert bad == [(size + 1, "column 'kind' has a category unknown to training: 'xyz'")]
    assert len(got) == size + 1
    assert lines[-1] == size + 2


def test_columns_are_taken_by_name_in_any_order() -> None:
    content = b'\xef\xbb\xbfrate , other,"kind",size\n2.5,x,tcp,1\n'
    assert joined(read(content))[0] == [(1.0, "tcp", 2.5)]


def test_headers_that_lack_columns_or_repeat_them() -> None:
    for header in (b"size,kind\n1,a\n", b"size,kind,rate,size\n1,a,2,3\n"):
        with pytest.raises(InputError, match="line 1: 1 column missing or there twice"):
            read(header)


def test_damaged_compression_and_an_endless_line() -> None:
    for pack in (gzip.compress, lzma.compress):
        whole = pack(b"1,a,2\n" * 5000)
        with pytest.raises(InputError, match=r"rows.csv is (truncated|damaged)"):
            read(whole[:-9])
        with pytest.raises(InputError, match=r"rows.csv is (truncated|damaged)"):
            read(whole[:60] + b"\xff\xff" + whole[62:])
    with pytest.raises(InputError, match=r"rows.csv is no whole UTF-16: truncated data"):
        read("1,a,2\n".encode("utf-16")[:-1])
    with pytest.raises(InputError, match="line 1 is longer than"):
        read(b"1" * (1 << 24) + b"11")


def test_nothing_at_all() -> None:
    assert joined(read(b"")) == ([], [], [])
    assert joined(read(b"size,kind,rate\n")) == ([], [], [])
    assert joined(read(b"\n\n")) == ([], [], [])


@settings(deadline=None, max_examples=60)
@given(
    shape=st.sampled_from([(7, 3), (0, 3), (5, 2, 3)]), dtype=st.sampled_from(["<f4", "<f8", ">f4"]),
    pack=st.sampled_from(sorted(PACK)), seed=st.integers(0, 99),
)  # fmt: skip
def test_arrays(shape, dtype, pack, seed) -> None:
    array = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    stored = io.BytesIO()
    np.save(stored, array)
    blocks = read(PACK[pack](stored.getvalue()), Layout(COLUMNS))
    got = [row for block in blocks for row in block.frame]
    np.testing.assert_array_equal(np.reshape(got, shape), array.astype(np.float32))


def test_arrays_that_do_not_fit() -> None:
    def stored(array: np.ndarray) -> bytes:
        content = io.BytesIO()
        np.save(content, array)
        return content.getvalue()

    layout = Layout(COLUMNS)
    whole = stored(np.ones((4, 3), np.float32))
    for content, message in [
        (whole[:-1], "truncated"), (whole[:30], "damaged header"),
        (stored(np.ones((4, 2), np.float32)), "expected enc"), (stored(np.ones((4, 3), np.int32)), "expected float32"),
        (stored(np.asfortranarray(np.ones((4, 3)))), "C order"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            read(content, layout)
    broken = np.ones((4, 3), np.float32)
    broken[2, 1] = np.nan
    (block,) = read(stored(broken), layout)
    assert (block.bad[0].line, block.lines.tolist()) == (3, [1, 2, 4])


def test_a_pipe_that_pauses_is_answered_at_once() -> None:
    """Rows that have arrived are given before more come."""
    import os

    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        sink.write(b"1,a,2\n3,b,4\n")
        rows = read_rows(source, "-", LAYOUT)
        assert len(next(rows).frame) == 2
        sink.write(b"5,c,6\n")
        assert isinstance(next(rows).frame, pd.DataFrame)


def test_a_file_without_a_byte_is_refused_and_a_device_without_rows_is_not(tmp_path: Path) -> None:
    rows = tmp_path / "rows.npy"
    rows.touch()
    with pytest.raises(InputError, match=r"rows\.npy is empty") as caught:
        open_rows(rows)
    assert "interrupted copy" in str(caught.value.remedy)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        open_rows(tmp_path / "other.npy")
    with open_rows(Path("/dev/null")) as stream:
        assert list(read_rows(stream, "nothing", Layout(("a",)))) == []
