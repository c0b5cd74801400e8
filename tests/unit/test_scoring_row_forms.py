"""Rows to score are read as people's programs write them: the same rows, with the lines of the file."""

from __future__ import annotations

import io

import numpy as np
import pytest

from harness.errors import InputError
from harness.scoring.row_source import read_rows
from harness.scoring.rows import Layout

LAYOUT = Layout(("size", "rate", "kind"), {"kind": frozenset({"a", "b;c"})})
ROWS = [(f"{number / 8}", f"{-number / 4}", "b;c" if number % 3 else "a") for number in range(50)]


def _text(mark: str, point: str = ".", end: str = "\n") -> str:
    lines = [mark.join(["nr", "kind", "size", "rate"])]
    for number, (size, rate, kind) in enumerate(ROWS):
        quoted = f'"{kind}"' if mark in kind else kind
        lines.append(mark.join([str(number), quoted, size.replace(".", point), rate.replace(".", point)]))
    return end.join(lines) + end


@pytest.mark.parametrize("block_bytes", [1 << 22, 100])
@pytest.mark.parametrize(
    "content",
    [
        _text(",").encode(),
        _text(";", ",").encode(),
        b"\xef\xbb\xbf" + _text(";", ",", "\r\n").encode(),
        _text("\t").encode(),
        _text("\t", ",").encode().removesuffix(b"\n"),
        _text("|").encode(),
        b"\xff\xfe" + _text(";", ",", "\r\n").encode("utf-16-le"),
    ],
)
def test_rows_are_the_same_however_they_are_separated(content: bytes, block_bytes: int) -> None:
    blocks = list(read_rows(io.BytesIO(content), "x", LAYOUT, block_bytes))
    assert not [bad for block in blocks for bad in block.bad]
    rows = [row for block in blocks for row in block.frame.astype({"kind": str}).to_numpy().tolist()]
    assert [tuple(map(str, row)) for row in rows] == [(str(float(a)), str(float(b)), c) for a, b, c in ROWS]
    np.testing.assert_array_equal(np.concatenate([block.lines for block in blocks]), np.arange(2, 52))


def test_a_line_that_does_not_fit_keeps_its_number_and_its_reason() -> None:
    lines = _text(";", ",").split("\n")
    lines[7] = "6;a;1,5"
    lines[9] = '8;"a;1,5;2'
    lines[11] = "10;a;x;2,0"
    (block,) = read_rows(io.BytesIO("\n".join(lines).encode()), "x", LAYOUT)
    assert [bad.line for bad in block.bad] == [8, 10, 12]
    assert [bad.reason.partition(";")[0] for bad in block.bad] == [
        "has 3 comma-separated values", "is no text on one line with closed quotes",
        "column 'size' takes a finite number, not 'x'",
    ]  # fmt: skip


@pytest.mark.parametrize(("start", "kind"), [(b"PAR1", "a Parquet file"), (b"PK\x03\x04", "a ZIP archive or an Excel")])
def test_what_is_no_text_is_named(start: bytes, kind: str) -> None:
    with pytest.raises(InputError, match=f"x is {kind}.*; CSV, JSON lines or .npy were expected"):
        list(read_rows(io.BytesIO(start + b"\0" * 50), "x", LAYOUT))


def test_an_array_of_json_is_named() -> None:
    with pytest.raises(InputError, match="is a JSON array; JSON lines were expected"):
        list(read_rows(io.BytesIO(b'[{"size": 1}]'), "x", LAYOUT))
