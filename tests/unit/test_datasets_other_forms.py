"""Tables that are no plain lines of cells: read as they are, or refused by name with a command that helps."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.errors import InputError

HEADER = ("temp", "load", "kind", "label")


def _rows(count: int = 200) -> list[tuple[str, str, str, str]]:
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(size=(count, 2)), 3).tolist()
    kinds = [("pump", "fan", "a b")[each % 3] for each in range(count)]
    return [
        (f"{temp}", f"{power}", kind, "attack" if number % 10 == 0 else "normal")
        for number, ((temp, power), kind) in enumerate(zip(values, kinds, strict=True))
    ]


def _load(name: str, **options: Any) -> EncodedDataset:
    return load(name, options={"label": "label", **options}, synthetic="never")


def _plain(folder: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = HEADER) -> EncodedDataset:
    path = folder / "plain.csv"
    path.write_text("\n".join(",".join(cells) for cells in (header, *rows)) + "\n")
    return _load(f"csv:{path}")


def _aligned(rows: list[tuple[str, ...]], mark: str) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [mark.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {line} |" for line in _aligned(rows, " | ")]
    return "\n".join(["# Readings", "", lines[0], "|---:|:---|:-:|---|", *lines[1:], ""])


def _bare_markdown(rows: list[tuple[str, ...]]) -> str:
    lines = _aligned(rows, "|")
    return "\r\n".join([lines[0], "-|-|-|-", *lines[1:], ""])


def _psql(rows: list[tuple[str, ...]]) -> str:
    lines = [f" {line}" for line in _aligned(rows, " | ")]
    return "\n".join([lines[0], "-----+-----+----+------", *lines[1:], f"({len(rows) - 1} rows)", "", "Time: 3.014 ms"])


def _mysql(rows: list[tuple[str, ...]]) -> str:
    lines, rule = [f"| {line} |" for line in _aligned(rows, " | ")], "+-----+-----+----+------+"
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, f"{len(rows) - 1} rows in set (0.01 sec)", ""])


def _box(rows: list[tuple[str, ...]]) -> str:
    lines = [f"│ {line} │" for line in _aligned(rows, " │ ")]
    return "\n".join(["┌──┬──┬──┬──┐", lines[0], "├──┼──┼──┼──┤", *lines[1:], "└──┴──┴──┴──┘", ""])


def _grid(rows: list[tuple[str, ...]]) -> str:
    rule = "+--+--+--+--+"
    lines = [f"| {line} |\n{rule}" for line in _aligned(rows, " | ")]
    return "\n".join([rule, lines[0].replace("--", "=="), *lines[1:], ""])


def _column_mode(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = _aligned(rows, "  ")
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:], ""])


def _restructured(rows: list[tuple[str, ...]]) -> str:
    rule = _column_mode(rows).split("\n")[1].replace("-", "=")
    lines = _aligned(rows, "  ")
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])


def _objects(rows: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    names = rows[0]
    return [
        {name: float(cell) if name in ("temp", "load") else cell for name, cell in zip(names, row, strict=True)}
        for row in rows[1:]
    ]


def _json_lines(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(map(json.dumps, _objects(rows))) + "\n"


def _json_array(rows: list[tuple[str, ...]]) -> str:
    return json.dumps(_objects(rows), indent=1)


def _json_within(rows: list[tuple[str, ...]]) -> str:
    return json.dumps({"took": 3, "hits": _objects(rows)})


def _json_columns(rows: list[tuple[str, ...]]) -> str:
    return json.dumps({name: [row[name] for row in _objects(rows)] for name in rows[0]})


def _json_of_pandas(rows: list[tuple[str, ...]]) -> str:
    return pd.DataFrame(_objects(rows)).to_json()


def _zeek(rows: list[tuple[str, ...]]) -> str:
    named, *data = ["\t".join("-" if cell == "" else cell for cell in row) for row in rows]
    above = ["#separator \\x09", "#set_separator\t,", "#unset_field\t-", "#path\tconn"]
    below = "#types\tinterval\tcount\tstring\tstring"
    return "\n".join([*above, f"#fields\t{named}", below, *data, "#close\t2024-01-02-00-00-00", ""])


@pytest.mark.parametrize(
    "write",
    [
        _zeek, _markdown, _bare_markdown, _psql, _mysql, _box, _grid, _column_mode, _restructured, _json_lines,
        _json_array, _json_within, _json_columns, _json_of_pandas,
    ],
)  # fmt: skip
def test_a_table_of_another_make_is_that_of_the_csv_file(
    write: Callable[[list[tuple[str, ...]]], str], tmp_path: Path
) -> None:
    rows = _rows()
    path = tmp_path / "own.txt"
    path.write_text(write([HEADER, *rows]), newline="")
    data, plain = _load(f"csv:{path}"), _plain(tmp_path, rows)
    assert data.feature_names == plain.feature_names
    np.testing.assert_array_equal(data.test_x, plain.test_x)
    np.testing.assert_array_equal(data.train_y, plain.train_y)
    assert any(
        "drawn with bars" in note or "JSON" in note or "rule below" in note or "Zeek" in note for note in data.notes
    )


def test_messages_of_drawn_tables_name_the_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.md"
    path.write_text(_markdown([HEADER, *_rows()]) + "| 1 | 2 |\n")
    with pytest.raises(InputError, match="line 205: 4 values expected, 2 found"):
        _load(f"csv:{path}")
    path.write_text(_column_mode([HEADER, *_rows()]) + "0.1 0.2 pump normal and more of it\n")
    with pytest.raises(InputError, match="line 203: a value lies across the columns that line 2 draws"):
        _load(f"csv:{path}")


def test_a_missing_cell_of_a_drawn_table_is_missing(tmp_path: Path) -> None:
    rows = _rows()
    rows[7] = ("", *rows[7][1:])
    for write in (_markdown, _psql, _column_mode, _zeek):
        (tmp_path / "own.txt").write_text(write([HEADER, *rows]))
        data = _load(f"csv:{tmp_path}/own.txt")
        assert any("1 row with numbers that are missing" in note for note in data.notes)


def test_json_of_objects_within_objects_and_of_missing_values(tmp_path: Path) -> None:
    lines = [
        {"at": {"temp": number % 17, "ok": number % 3 == 0}, "tags": ["a"], "label": number % 10 == 0}
        for number in range(200)
    ]
    lines[4]["at"] = {"temp": None, "ok": True}
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    data = _load(f"csv:{path}", drop=["tags"])
    assert data.feature_names == ("at.temp", "at.ok")
    assert any("normal = false (180 rows), anomalies = true (20)" in note for note in data.notes)
    path.write_text("\n".join([*map(json.dumps, lines), '{"at": 1', ""]))
    with pytest.raises(InputError, match="line 201 is no readable JSON"):
        _load(f"csv:{path}")
    path.write_text('{"name": "x", "sizes": [1, 2], "other": ["a"]}')
    with pytest.raises(InputError, match="has no column 'label'"):
        _load(f"csv:{path}")
    path.write_text("[[1, 2], [3, 4]]")
    with pytest.raises(InputError, match="is JSON that holds no table"):
        _load(f"csv:{path}")


def test_libsvm_is_read_with_its_numbers_as_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = ["# made by hand"]
    for number in range(200):
        values = " ".join(f"{at}:{rng.normal():.3f}" for at in (1, 3, 12) if rng.random() < 0.8)
        lines.append(f"{1 if number % 10 == 0 else 0} {values} # {number}")
    path = tmp_path / "own.svm"
    path.write_text("\n".join(lines) + "\n")
    data = _load(f"csv:{path}")
    assert data.feature_names == ("1", "3", "12")
    assert any("normal = 0 (180 rows), anomalies = 1 (20)" in note for note in data.notes)
    path.write_text("\n".join([*lines, "1 4:0.5 of it"]))
    with pytest.raises(InputError, match="line 202: libsvm text"):
        _load(f"csv:{path}")


def test_text_above_a_table_is_left_out_and_said(tmp_path: Path) -> None:
    rows = _rows()
    path = tmp_path / "own.csv"
    lines = ["Readings of plant 7, unit 3", "exported;2024", "", ",".join(HEADER), *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    data, plain = _load(f"csv:{path}"), _plain(tmp_path, rows)
    np.testing.assert_array_equal(data.test_x, plain.test_x)
    assert "3 lines above the table left out." in data.notes
    path.write_text("\n".join([*lines, "1,2"]) + "\n")
    with pytest.raises(InputError, match="line 205: 4 values expected, 2 found"):
        _load(f"csv:{path}")
    path.write_text("\n".join(lines[3:]) + "\n")
    with pytest.raises(InputError, match="has no column 'attack'"):  # which is a value of the first row
        _load(f"csv:{path}", label="attack")


def test_sparse_arff_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.arff"
    path.write_text("@relation x\n@attribute a numeric\n@attribute label {normal,attack}\n@data\n% one\n{0 1.5}\n")
    with pytest.raises(InputError, match="is sparse ARFF, which is not read"):
        _load(f"csv:{path}")


def test_arrow_files_are_read_as_parquet_files_are(tmp_path: Path) -> None:
    feather = pytest.importorskip("pyarrow.feather")
    frame = pd.DataFrame(_objects([HEADER, *_rows()]))
    path = tmp_path / "own.feather"
    feather.write_feather(frame, str(path))
    np.testing.assert_array_equal(_load(f"parquet:{path}").test_x, _plain(tmp_path, _rows()).test_x)
    with pytest.raises(InputError, match=r"is an Arrow .*; a table of text was expected") as raised:
        _load(f"csv:{path}")
    assert f"parquet:{path} reads it" in (raised.value.remedy or "")


@pytest.mark.parametrize("kind", ["stata", "sas", "sqlite", "fixed width"])
def test_the_remedy_makes_a_file_that_is_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _rows()
    frame = pd.DataFrame(rows, columns=HEADER)
    path = tmp_path / f"own {kind}.dat"
    match kind:
        case "stata":
            frame.to_stata(path, write_index=False)
        case "sas":
            path.write_bytes(b"\0" * 12 + b"\xc2\xea\x81\x60" + b"\0" * 500)
        case "sqlite":
            with sqlite3.connect(path) as database:
                frame.to_sql("flows", database, index=False)
            database.close()
        case "fixed width":
            path.write_text("\n".join(_aligned([HEADER, *rows], "  ")) + "\n")
    with pytest.raises(InputError) as raised:
        _load(f"csv:{path}")
    named = {"stata": "a Stata file", "sas": "a SAS data set", "sqlite": "an SQLite database", "fixed width": "line 4"}
    assert named[kind] in raised.value.message
    command = (raised.value.remedy or "").partition("Make a CSV file of it: ")[2] or (raised.value.remedy or "")
    command = command[command.index(str(Path(sys.executable))) :]
    if kind == "sas":  # nothing here writes one
        assert "pandas.read_sas(" in command
        return
    monkeypatch.chdir(tmp_path)
    subprocess.run(shlex.split(command), check=True)
    data = _load("csv:" + str(tmp_path / f"own {kind}.csv"))
    np.testing.assert_array_equal(data.test_x, _plain(tmp_path, rows).test_x)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
        (b"ORC\0", "an ORC file"),
        (b"\x93NUMPY\x01", "a NumPy array"),
        (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        (b"MATLAB 7.3 MAT-file", "a MATLAB file of version 7.3"),
        (b"\x80\x05\x95\0", "a pickle"),
        (b"$FL2@(#)", "an SPSS file"),
        (b"RDX3\nX\n", "an R workspace"),
        (b"Obj\x01", "an Avro file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"HEADER RECORD*******LIBRARY", "a SAS transport file"),
        (b"\x73\x02\x01\0", "a Stata file"),
    ],
)
def test_what_is_no_text_is_named_with_a_way_out(start: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(start + b"\0" * 600)
    with pytest.raises(InputError, match=f"is {name}") as raised:
        _load(f"csv:{path}")
    assert raised.value.remedy
