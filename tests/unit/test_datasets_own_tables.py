"""Files that people have: labels are told or refused, stray values named, and a split is what it says."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.datasets.labels import canonical
from harness.errors import InputError


def _numbers(rows: int = 200) -> list[list[str]]:
    rng = np.random.default_rng(3)
    values = np.round(rng.normal(size=(rows, 3)), 4)
    return [[*map(str, row), str(int(number % 10 == 0))] for number, row in enumerate(values.tolist())]


HEADER = ["temp", "load", "reads", "label"]


def _write(
    path: Path, rows: list[list[str]], header: list[str] | None = HEADER, mark: str = ",", end: str = "\n"
) -> str:
    lines = [mark.join(cells) for cells in ([header] if header else []) + rows]
    path.write_bytes((end.join(lines) + end).encode())
    return f"csv:{path}"


def _load(name: str, **options: Any) -> EncodedDataset:
    return load(name, options={"label": "label", **options}, synthetic="never")


def _anomalies(data: EncodedDataset) -> tuple[int, int]:
    parts = [part for part in (data.train_y, data.validation_y, data.test_y) if part is not None]
    return sum(int(part.sum()) for part in parts), sum(map(len, parts))


def _told(data: EncodedDataset, text: str) -> bool:
    return any(text in note for note in data.notes)


def _labelled(path: Path, labels: list[str]) -> str:
    rows = _numbers()
    for row, label in zip(rows, labels, strict=False):
        row[3] = label
    return _write(path, rows)


@pytest.mark.parametrize(
    ("normal", "anomaly", "line"),
    [
        ("normal", "attack", "normal = normal (180 rows), anomalies = attack (20)"),
        (" Normal ", "DoS", "normal = Normal (180 rows), anomalies = DoS (20)"),
        ("0.0", "1", "normal = 0 (180 rows), anomalies = 1 (20)"),
        ("b'normal.'", "b'smurf.'", "normal = b'normal.' (180 rows), anomalies = b'smurf.' (20)"),
        ("False", "TRUE", "normal = False (180 rows), anomalies = TRUE (20)"),
        ("no", "yes", "normal = no (180 rows), anomalies = yes (20)"),
        ("BENIGN", "Web Attack – XSS", "normal = BENIGN (180 rows), anomalies = Web Attack – XSS (20)"),
    ],
)
def test_labels_that_can_be_told_are_told_and_their_meaning_is_said(
    tmp_path: Path, normal: str, anomaly: str, line: str
) -> None:
    name = _labelled(tmp_path / "x.csv", [anomaly if row % 10 == 0 else normal for row in range(200)])
    data = _load(name)
    assert _anomalies(data) == (20, 200)
    assert _told(data, f"Labels: {line}.")


def test_a_label_that_denies_the_other_is_normal(tmp_path: Path) -> None:
    for normal, anomaly in (("Not Fraud", "Fraud"), ("non-attack", "attack"), ("no anomaly", "Anomaly")):
        name = _labelled(tmp_path / "x.csv", [anomaly if row % 10 == 0 else normal for row in range(200)])
        assert _told(_load(name), f"Labels: normal = {normal} (180 rows), anomalies = {anomaly} (20).")
    name = _labelled(tmp_path / "x.csv", ["not normal" if row % 10 == 0 else "normal" for row in range(200)])
    assert _told(_load(name), "normal = normal (180 rows), anomalies = not normal (20)")
    name = _labelled(tmp_path / "x.csv", ["DDoS" if row % 10 == 0 else "Normal traffic" for row in range(200)])
    with pytest.raises(InputError, match="holds no normal rows: ddos, normal traffic") as raised:
        _load(name)
    assert (raised.value.remedy or "").startswith("Is it 'normal traffic'? --normal VALUE")


@pytest.mark.parametrize("value", ["{:.1f}ms", "{:.1f} °C", "{:.1f}kB", "{:.2f}D+00", "{:.0f} MB/s"])
def test_numbers_with_a_unit_are_no_categories(value: str, tmp_path: Path) -> None:
    rows = _numbers()
    for row in rows:
        row[0] = value.format(float(row[0]))
    with pytest.raises(InputError, match="column 'temp' holds numbers written as"):
        _load(_write(tmp_path / "x.csv", rows))
    assert _load(_write(tmp_path / "x.csv", rows), categories=["temp"])


def test_seats_and_models_are_categories(tmp_path: Path) -> None:
    rows = _numbers()
    for number, row in enumerate(rows):
        row[0] = f"{number % 20 + 1}{'ABCDEF'[number % 6]}"
    assert any(name.startswith("temp=") for name in _load(_write(tmp_path / "x.csv", rows)).feature_names)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S,%f", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%dT%H:%M:%S GMT"])
def test_times_of_logs_are_read(form: str, tmp_path: Path) -> None:
    start, rows = datetime.datetime(2024, 3, 1), _numbers()
    for number, row in enumerate(rows):
        row[0] = f'"{(start + datetime.timedelta(minutes=7 * (number * 37 % 200))).strftime(form)}"'
    data = _load(_write(tmp_path / "x.csv", rows), time="temp")
    assert _told(data, "Column 'temp': dates were read as ISO 8601.")


def test_files_of_other_columns_are_named_with_a_remedy_that_works(tmp_path: Path) -> None:
    _write(tmp_path / "day1.csv", _numbers())
    _write(tmp_path / "day2.csv", [row[1:] for row in _numbers()], HEADER[1:])
    with pytest.raises(InputError, match=r"day2.csv lacks columns that day1.csv has: 'temp'\.") as raised:
        _load(f"csv:{tmp_path}/day*.csv")
    assert "--drop temp" in (raised.value.remedy or "")
    assert _load(f"csv:{tmp_path}/day*.csv", drop=["temp"]).feature_names == ("load", "reads")
    _write(tmp_path / "day2.csv", [["x", *row] for row in _numbers()], ["more", *HEADER])
    assert _told(_load(f"csv:{tmp_path}/day*.csv"), "day2.csv has columns that day1.csv lacks: 'more'; left out.")


def test_spellings_of_one_label_are_one_label(tmp_path: Path) -> None:
    spellings = ["normal", "normal ", " NORMAL", "b'normal.'", "normal."]
    labels = ["attack" if row % 10 == 0 else spellings[row % 5] for row in range(200)]
    data = _load(_labelled(tmp_path / "x.csv", labels))
    assert _anomalies(data) == (20, 200)
    assert len(set(data.train_class.tolist())) == 2
    forms = ["0", "0.0", " 0", "0e0", "00"]
    assert len({canonical(form) for form in forms}) == 1
    labels = ["1.0" if row % 10 == 0 else forms[row % 5] for row in range(200)]
    assert _anomalies(_load(_labelled(tmp_path / "y.csv", labels))) == (20, 200)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (["1", "0", "-1"], r"'-1' \(\d+ rows, first on line \d+\), which may stand for rows without a label"),
        ([str(digit) for digit in range(10)], "'2' .* is a number other than 0 and 1"),
        (["1", "2"], "holds no normal rows: 1, 2"),
        (["-1", "1"], "holds no normal rows: -1, 1"),
        (["normal", "attack", "?"], r"'\?' .* says neither"),
        (["normal", "attack", "unknown"], "'unknown' .* says neither"),
        (["0", "normal", "attack"], "'0' .* stands with 'normal'"),
        (["0", "1", ""], "no label in 'label'"),
        (["0", "1", "Label"], "'label' .* says neither"),
        (["0.5", "0.25", "0"], "is a number other than 0 and 1"),
    ],
)
def test_labels_that_cannot_be_told_are_refused(tmp_path: Path, values: list[str], error: str) -> None:
    name = _labelled(tmp_path / "x.csv", [values[row % len(values)] for row in range(200)])
    with pytest.raises(InputError, match=error) as caught:
        _load(name)
    assert "--" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("options", "anomalies", "rows"),
    [
        ({"unlabelled": ["-1"]}, 20, 170),
        ({"anomalies": ["-1", "1"]}, 50, 200),
        ({"normal": ["0", "-1"]}, 20, 200),
    ],
)
def test_what_minus_one_means_is_stated(tmp_path: Path, options: dict[str, Any], anomalies: int, rows: int) -> None:
    labels = ["1" if row % 10 == 0 else "-1" if row % 20 in (1, 2, 3) else "0" for row in range(200)]
    data = _load(_labelled(tmp_path / "x.csv", labels), **options)
    assert _anomalies(data) == (anomalies, rows)
    assert _told(data, "30 rows left out, unlabelled ('-1')") == ("unlabelled" in options)


def test_two_labels_of_which_one_is_named_need_no_more(tmp_path: Path) -> None:
    name = _labelled(tmp_path / "x.csv", ["-1" if row % 10 == 0 else "1" for row in range(200)])
    assert _anomalies(_load(name, normal=["1.0"])) == (20, 200)
    with pytest.raises(InputError, match="unknown label 'benine'"):
        _load(name, normal=["benine"])


def test_rows_of_commas_and_repeated_headers_are_no_rows(tmp_path: Path) -> None:
    rows = _numbers()
    rows[50:50] = [["", "", "", ""], ["", " ", "", ""], [name.upper() for name in HEADER]]
    data = _load(_write(tmp_path / "x.csv", rows))
    assert _anomalies(data) == (20, 200)
    assert data.feature_names == ("temp", "load", "reads")
    assert _told(data, "2 rows left out, every value missing (first: line 52)")
    assert _told(data, "1 row left out, the header repeated (first: line 54)")


def test_row_names_of_r_do_not_shift_the_columns(tmp_path: Path) -> None:
    rows = [[f'"{number + 1}"', *row] for number, row in enumerate(_numbers())]
    data = _load(_write(tmp_path / "x.csv", rows))
    assert _anomalies(data) == (20, 200)
    assert data.feature_names == ("temp", "load", "reads")
    assert _told(data, "is the row's name")
    trailing = _load(_write(tmp_path / "y.csv", [[*row, ""] for row in _numbers()]))
    np.testing.assert_array_equal(trailing.test_x, data.test_x)
    index = _load(
        _write(tmp_path / "z.csv", [[str(number), *row] for number, row in enumerate(_numbers())], ["", *HEADER])
    )
    np.testing.assert_array_equal(index.test_x, data.test_x)
    assert _told(index, "counts the rows")


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("?", "'?' (line 19)"),
        ("#DIV/0!", "'#DIV/0!' (line 19)"),
        ("abc", "'abc' (line 19)"),
        ("1,5", None),
        ("NA", None),
    ],
)
def test_one_stray_token_costs_one_value(tmp_path: Path, token: str, told: str | None) -> None:
    rows = _numbers()
    rows[17][0] = f'"{token}"'
    data = _load(_write(tmp_path / "x.csv", rows), encoding="none")
    assert data.feature_names == ("temp", "load", "reads")
    assert np.isfinite(data.train_x).all()
    assert told is None or _told(data, f"Column 'temp': 1 value counted as missing, no number: {told}")


def test_more_than_a_few_stray_tokens_are_refused_unless_they_are_explained(tmp_path: Path) -> None:
    rows = _numbers()
    for row in rows[:60]:
        row[0] = "?"
    name = _write(tmp_path / "x.csv", rows)
    with pytest.raises(InputError, match=r"line 2: column 'temp' holds 140 numbers, and 60 values .* '\?'"):
        _load(name)
    assert _load(name, missing=["?"]).feature_names == ("temp", "load", "reads")
    assert _load(name, drop=["temp"]).feature_names == ("load", "reads")
    assert len(_load(name, categories=["temp"]).feature_names) > 3


@pytest.mark.parametrize(
    "written", ["1,{:03d}", "1.{:03d},50", "{}.5%", "{},5", "${}", "{} %", "1'{:03d}.5", "1 {:03d}"]
)
def test_numbers_with_marks_are_neither_dropped_nor_categories(tmp_path: Path, written: str) -> None:
    rows = [[f'"{written.format(number)}"', *row[1:]] for number, row in enumerate(_numbers())]
    with pytest.raises(InputError, match="line 2: column 'temp' holds numbers written as"):
        _load(_write(tmp_path / "x.csv", rows))


def test_addresses_and_versions_are_texts(tmp_path: Path) -> None:
    rows = [[*row, f"10.0.0.{number % 4}", f"v{number % 3}.2"] for number, row in enumerate(_numbers())]
    assert len(_load(_write(tmp_path / "x.csv", rows, [*HEADER, "ip", "version"])).feature_names) == 3 + 4 + 3


def test_numbers_of_any_form_are_numbers(tmp_path: Path) -> None:
    rows = _numbers()
    rows[0][0], rows[1][0], rows[2][0], rows[3][0] = "18446744073709551617", "1e5", " 7 ", "1.7976931348623157e308"
    rows = [[*row, ("True", "false", "")[number % 3]] for number, row in enumerate(rows)]
    data = _load(_write(tmp_path / "x.csv", rows, [*HEADER, "flag"]))
    assert data.feature_names == ("temp", "load", "reads", "flag")
    assert all(np.isfinite(part).all() for part in (data.train_x, data.validation_x, data.test_x))


def test_texts_that_describe_nothing_are_left_out(tmp_path: Path) -> None:
    rows = [
        [*row, f"id-{number}", f"2024-01-{number % 28 + 1:02d} 10:00", ("tcp", "udp ", "udp")[number % 3], ""]
        for number, row in enumerate(_numbers())
    ]
    data = _load(_write(tmp_path / "x.csv", rows, [*HEADER, "id", "day", "proto", "nothing"]))
    assert data.feature_names == ("temp", "load", "reads", "proto=tcp", "proto=udp")
    assert _told(data, "Column 'id' holds 200 different texts in 200 rows")
    assert _told(data, "Column 'day' holds times")
    assert _told(data, "Column 'nothing' is empty; it is left out")


def test_a_missing_text_is_no_unseen_one(tmp_path: Path) -> None:
    rows = [[*row, "Bad PIN" if number % 8 == 0 else ""] for number, row in enumerate(_numbers())]
    data = _load(_write(tmp_path / "x.csv", rows, [*HEADER, "error"]))
    assert data.feature_names == ("temp", "load", "reads", "error=", "error=Bad PIN")
    assert not _told(data, "that training does not")
    assert (data.test_x[:, 3:].sum(axis=1) == 1).all()


def test_indicators_are_bounded(tmp_path: Path) -> None:
    count = 6_000
    kinds = np.random.default_rng(0).integers(count // 3, size=(count, 2))
    lines = [
        f"{row % 7},k{first},m{second},user-{row},{int(row % 10 == 0)}"
        for row, (first, second) in enumerate(kinds.tolist())
    ]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(["n,first,second,user,label", *lines, ""]))
    data = _load(f"csv:{path}")
    assert data.train_x.shape[1] == 1 + 2 * 255
    assert _told(data, "of the rarer values of 'first' have no indicator")


def test_files_with_a_mark_that_were_joined_have_one_header(tmp_path: Path) -> None:
    rows = "\n".join([",".join(HEADER), *(",".join(row) for row in _numbers()), ""])
    path = tmp_path / "joined.csv"
    path.write_text(f"\ufeff{rows}\ufeff{rows}", encoding="utf-8")
    data = _load(f"csv:{path}")
    assert data.feature_names == ("temp", "load", "reads")
    assert _told(data, "1 row left out, the header repeated (first: line 202)")


def test_a_column_name_that_occurs_again_is_a_warning_with_both_columns(tmp_path: Path) -> None:
    rows = [[*row[:3], "5", *row[3:]] for row in _numbers()]
    data = _load(_write(tmp_path / "x.csv", rows, ["temp", "load", " temp ", "reads", "label"]))
    assert data.feature_names == ("temp", "load", "temp.1", "reads")
    expected = "Columns of x.csv: 1 and 3 are both called 'temp' (column 3 is 'temp.1' here)."
    assert expected in data.warnings
    many = _load(_write(tmp_path / "y.csv", [row[:3] * 3 + row[3:] for row in _numbers()], [*"abcabcabc", "label"]))
    assert many.warnings[0].endswith("3 and 6 are both called 'c' (column 6 is 'c.1' here); 3 more repeat a name.")


def test_lines_longer_than_the_header_are_named_and_pandas_says_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(InputError, match="line 2: 4 values expected, 7 found"):
        _load(_write(tmp_path / "x.csv", [["1", "2", "3", *row] for row in _numbers()]))
    assert [str(each.message) for each in recwarn] == []


def test_columns_aligned_by_blanks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("".join("  ".join(f"{cell:>9}" for cell in row) + " \n" for row in [HEADER, *_numbers()]))
    np.testing.assert_array_equal(_load(f"csv:{path}").test_x, _load(_write(tmp_path / "x.csv", _numbers())).test_x)


@pytest.mark.parametrize("stray", ["Total", "---", ":--:"])
def test_a_line_that_is_no_row_makes_no_anomaly(tmp_path: Path, stray: str) -> None:
    rows = [*_numbers(), ["1", "2", "3", stray]]
    with pytest.raises(InputError, match=f"holds '{stray.casefold()}' .1 row, first on line 202., which says neither"):
        _load(_write(tmp_path / "x.csv", rows))


@pytest.mark.parametrize("form", ['="{}"', "\u2212{}"])
def test_numbers_in_the_dress_of_other_programs_are_named(tmp_path: Path, form: str) -> None:
    rows = [[form.format(abs(float(row[0]))), *row[1:]] for row in _numbers()]
    with pytest.raises(InputError, match="line 2: column 'temp' holds numbers written as"):
        _load(_write(tmp_path / "x.csv", rows))


def test_durations_are_no_categories(tmp_path: Path) -> None:
    rows = [[f"{number % 3}:{number % 45:02d}:{number % 7:02d}", *row[1:]] for number, row in enumerate(_numbers())]
    data = _load(_write(tmp_path / "x.csv", rows))
    assert data.feature_names == ("load", "reads")
    assert _told(data, "Column 'temp' holds times of day or durations (as seconds they would be a number)")
    shifts = [[f"{number % 3 * 8:02d}:00", *row[1:]] for number, row in enumerate(_numbers())]
    assert len(_load(_write(tmp_path / "y.csv", shifts)).feature_names) == 5


def test_a_file_of_a_folder_may_write_its_header_in_capitals(tmp_path: Path) -> None:
    _write(tmp_path / "a.csv", _numbers(), HEADER)
    _write(tmp_path / "b.csv", _numbers(), ["Temp", "LOAD", "reads", "Label"])
    data = _load(f"csv:{tmp_path}")
    assert data.feature_names == ("temp", "load", "reads")
    assert _told(data, "Column names of b.csv differ from those of a.csv in capitals")


@pytest.mark.parametrize(("without", "sound"), [("a.csv", "b.csv"), ("b.csv", "a.csv")])
def test_the_file_of_a_folder_that_has_no_header_is_named(tmp_path: Path, without: str, sound: str) -> None:
    (tmp_path / without).write_text("\n".join([*(",".join([*row[:3], "ok"]) for row in _numbers()), ""]))
    _write(tmp_path / sound, _numbers(), HEADER)
    with pytest.raises(InputError, match=f"{without} line 1: values where column names were expected") as caught:
        _load(f"csv:{tmp_path}")
    assert f"header of {sound}" in str(caught.value.remedy)


_PEAK = """
import re, sys
from pathlib import Path
from harness.datasets.base import load
# Not getrusage: a process begins with the peak of the one that started it.
peak = lambda: int(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1]) >> 10
before = peak()
data = load(sys.argv[1], protocol="clean", directory=None, options={"label": "label"}, synthetic="never")
print(peak() - before, len(data.feature_names), *data.notes)
"""


def test_many_wide_columns_of_texts_take_little_memory(tmp_path: Path) -> None:
    """4 MB of text: as one matrix of every value's indicator, more than 3 GiB; at 255 of each column still 0.5."""
    columns, rows, values = 12, 40_000, 2_000
    codes = np.random.default_rng(1).integers(values, size=(rows, columns))
    path = tmp_path / "wide.csv"
    lines = [",".join(f"v{code}" for code in row) + f",{int(not number % 20)}" for number, row in enumerate(codes)]
    path.write_text("\n".join([",".join([*(f"c{number}" for number in range(columns)), "label"]), *lines, ""]))
    done = subprocess.run([sys.executable, "-c", _PEAK, f"csv:{path}"], capture_output=True, text=True, check=True)
    mebibytes, features, notes = done.stdout.split(maxsplit=2)
    assert 0 < int(mebibytes) < 350
    assert int(features) == columns * (1024 // columns)
    assert notes.count("of the rarer values") == 0
    assert "values of 12 columns, 'c0' to 'c11', 22,980 in all, have no indicator: at most 85 of each" in notes


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda rows: rows[99].pop(), "line 102: 4 values expected, 3 found"),
        (lambda rows: rows[99].append("7"), "line 102: 4 values expected, 5 found"),
        (lambda rows: rows[99].__setitem__(0, '"never closed'), r"line \d+"),
        (lambda rows: rows[99].extend(["7", "8"]), "line 102: 4 values expected, 6 found"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_another_length_are_named_by_their_physical_line(
    tmp_path: Path, edit: Any, error: str, end: str
) -> None:
    rows = _numbers()
    rows[3][1] = f'"2{end}.5"'  # a line break within quotation marks
    rows[4][1] = '"x, y"'
    edit(rows)
    with pytest.raises(InputError, match=error):
        _load(_write(tmp_path / "x.csv", rows, end=end), categories=["load"])


def test_files_of_other_forms_hold_the_same(tmp_path: Path) -> None:
    rows = _numbers()
    plain = _load(_write(tmp_path / "plain.csv", rows))
    german = [[cell.replace(".", ",") for cell in row] for row in rows]
    text = (tmp_path / "plain.csv").read_text()
    (tmp_path / "utf16.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "raw16.csv").write_bytes(text.encode("utf-16-le"))
    (tmp_path / "blank.csv").write_text("\n\n" + text)
    for data in (
        _load(_write(tmp_path / "semicolon.csv", german, mark=";")),
        _load(_write(tmp_path / "tab.csv", rows, mark="\t")),
        _load(_write(tmp_path / "space.csv", rows, mark=" "), sep=" "),
        _load(_write(tmp_path / "cr.csv", rows, end="\r")),
        _load(f"csv:{tmp_path / 'utf16.csv'}"),
        _load(f"csv:{tmp_path / 'raw16.csv'}", text_encoding="utf-16-le"),
        _load(f"csv:{tmp_path / 'blank.csv'}"),
        _load(_write(tmp_path / "bare.csv", rows, None), label="3", header=False),
        _load(f"csv:{tmp_path / 'bare.csv'}", label=3, header=False),
        _load(f"csv:{tmp_path / 'bare.csv'}", label=-1, header=False),
        _load(_write(tmp_path / "r.txt", [[f'"{number}"', *row] for number, row in enumerate(rows, 1)], mark=" ")),
    ):
        np.testing.assert_array_equal(data.test_x, plain.test_x)
        np.testing.assert_array_equal(data.train_y, plain.train_y)


def test_what_a_file_is_not_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: only numbers where column names were expected") as caught:
        _load(_write(tmp_path / "bare.csv", _numbers(), None))
    assert "--no-header" in str(caught.value.remedy)
    path = tmp_path / "cp1252.csv"
    path.write_bytes("temp,kind,label\n1,a,0\n2,caf\xe9,1\n".encode("cp1252"))
    with pytest.raises(InputError, match="line 3: UTF-8 text expected, byte 0xe9 found") as caught:
        _load(f"csv:{path}")
    assert "--encoding cp1252" in str(caught.value.remedy)
    with pytest.raises(InputError, match="has no column 'lable'") as caught:
        _load(_write(tmp_path / "x.csv", _numbers()), label="lable")
    assert "Did you mean 'label'" in str(caught.value.remedy)


def _timed(path: Path, form: str, broken: str | None = None) -> str:
    moments = pd.date_range("2015-12-28 10:00", periods=200, freq="40min").strftime(form)
    rows = [[*row, str(number), moment] for number, (row, moment) in enumerate(zip(_numbers(), moments, strict=True))]
    if broken is not None:
        rows[9][5] = broken
    rng = np.random.default_rng(0)
    return _write(path, [rows[position] for position in rng.permutation(200)], [*HEADER, "order", "when"])


@pytest.mark.parametrize(
    "form", ["%d/%m/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d-%b-%y %I:%M %p"]
)
def test_a_split_by_time_is_chronological(tmp_path: Path, form: str) -> None:
    data = _load(_timed(tmp_path / "x.csv", form), time="when", encoding="none")
    order = data.feature_names.index("order")
    assert sorted(data.test_x[:, order].tolist()) == list(range(160, 200))
    assert sorted(data.validation_x[:, order].tolist()) == list(range(128, 160))


@pytest.mark.parametrize("broken", ["", "yesterday", "31/31/2015 10:00:00 AM"])
def test_one_unreadable_time_costs_one_row(tmp_path: Path, broken: str) -> None:
    data = _load(_timed(tmp_path / "x.csv", "%d/%m/%Y %I:%M:%S %p", broken), time="when", encoding="none")
    assert sum(data.rows.values()) == 199
    assert data.test_x[:, data.feature_names.index("order")].min() == 160
    assert _told(data, "1 row left out, without a readable time in 'when' (first: line ")
    name = _write(tmp_path / "y.csv", [["a", *row[1:]] for row in _numbers()])
    with pytest.raises(InputError, match="column 'temp' holds no time that can be read; so do 200 of 200 rows"):
        _load(name, time="temp")


def test_files_that_train_and_files_that_test(tmp_path: Path) -> None:
    rows = _numbers()
    folder = tmp_path / "days"
    folder.mkdir()
    (folder / "README.md").write_text("about these")
    _write(folder / "Tuesday.csv", rows[60:120])
    _write(folder / "Monday.csv", rows[:60])
    reordered = [[row[3], *row[:3]] for row in rows[120:]]
    _write(tmp_path / "test.csv", reordered, ["label", *HEADER[:3]])
    expected = np.array([[float(cell) for cell in row[:3]] for row in rows], np.float32)
    options = {"encoding": "none", "validation": 0, "test_files": str(tmp_path / "test.csv")}
    for name in (f"csv:{folder}", f"csv:{folder}/*day.csv"):
        data = _load(name, **options)
        np.testing.assert_array_equal(data.train_x, expected[:120])
        np.testing.assert_array_equal(data.test_x, expected[120:])
        assert set(data.sha256) == {"Monday.csv", "Tuesday.csv", "test.csv"}
    _write(folder / "Tuesday.csv", [*rows[60:63], ["1"], *rows[64:120]])
    with pytest.raises(InputError, match=r"Tuesday\.csv line 5: 4 values expected"):
        _load(f"csv:{folder}")


def test_equal_rows_of_a_split_at_random_stay_together_and_that_is_paid_for_openly(tmp_path: Path) -> None:
    rows = _numbers(400)
    spread = _load(_write(tmp_path / "spread.csv", [*rows, *rows[:100]]), test=0.3)
    assert spread.duplicates["test_in_train"] == 0
    assert abs(spread.rows["test"] / 500 - 0.3) < 0.02
    assert abs(spread.prevalence - 0.1) < 0.01
    attack = ["9", "9", "9", "1"]
    rates = set()
    for seed in (2, 7, 42):
        data = _load(_write(tmp_path / "skewed.csv", [*rows, *[attack] * 150]), test=0.3, seed=seed)
        rates.add(round(data.prevalence, 3))
        assert _told(data, "anomalies, 34.55 % in all")
    assert len(rates) == 1


@pytest.mark.parametrize(("anomalies", "given"), [(1, (0, 1)), (2, (1, 1)), (3, (2, 1))])
def test_few_anomalies_are_still_tested(tmp_path: Path, anomalies: int, given: tuple[int, int]) -> None:
    name = _labelled(tmp_path / "x.csv", ["1" if row < anomalies else "0" for row in range(200)])
    data = _load(name, validation=0)
    assert (int(data.train_y.sum()), int(data.test_y.sum())) == given
    assert _told(data, f"test rows hold {given[1]} anomal")


def test_a_test_split_without_anomalies_is_refused(tmp_path: Path) -> None:
    rows = [[*row, str(number)] for number, row in enumerate(_numbers())]
    for row in rows[150:]:
        row[3] = "0"
    with pytest.raises(InputError, match="no anomalies among its 40 test rows"):
        _load(_write(tmp_path / "x.csv", rows, [*HEADER, "when"]), time="when")


def test_validation_keeps_the_share_of_anomalies(tmp_path: Path) -> None:
    name = _labelled(tmp_path / "x.csv", ["1" if row % 40 == 0 else "0" for row in range(200)])
    for seed in range(4):
        assert int(_load(name, seed=seed).validation_y.sum()) == 1


def test_parquet_of_other_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rng = np.random.default_rng(1)
    label = ["attack" if row % 10 == 0 else "normal" for row in range(200)]
    amounts = [decimal.Decimal(int(value)).scaleb(-2) for value in rng.integers(-500, 500, 200)]
    columns = {
        "amount": pyarrow.array(amounts, pyarrow.decimal128(12, 2)),
        "when": pyarrow.array(pd.date_range("2024-01-01", periods=200, freq="h").to_numpy()),
        "load": pyarrow.array([None if row == 7 else float(row) for row in range(200)]),
        "flag": pyarrow.array([row % 3 == 0 for row in range(200)]),
        "kind": pyarrow.array(["a", None, "b", "a "] * 50).dictionary_encode(),
        "label": pyarrow.array([value.encode() for value in label]),
    }
    table = pyarrow.table(columns)
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path)
    data = _load(f"parquet:{path}")
    assert data.feature_names == ("amount", "load", "flag", "kind=", "kind=a", "kind=b")
    assert _anomalies(data) == (20, 200)
    by_time = _load(f"parquet:{path}", time="when", encoding="none", validation=0)
    assert by_time.test_x[:, 1].min() == 160
    parquet.write_table(pyarrow.table([columns["load"]] * 2 + [columns["label"]], names=["a", "a", "label"]), path)
    assert _load(f"parquet:{path}").feature_names == ("a", "a.1")
    nulls = pyarrow.array([None if row == 3 else value for row, value in enumerate(label)])
    parquet.write_table(pyarrow.table({"load": columns["load"], "label": nulls}), path)
    with pytest.raises(InputError, match="row 4: no label in 'label'; none in 1 of 200 rows"):
        _load(f"parquet:{path}")
    assert _anomalies(_load(f"parquet:{path}", unlabelled=[""])) == (20, 199)
    lists = pyarrow.array([[1.0]] * 200)
    parquet.write_table(pyarrow.table({"load": columns["load"], "list": lists, "label": columns["label"]}), path)
    with pytest.raises(InputError, match="column 'list' holds list"):
        _load(f"parquet:{path}")
    assert _load(f"parquet:{path}", drop=["list"]).feature_names == ("load",)


_ARFF = [
    "% made by hand", "@relation flows", "@attribute temp numeric", "@ATTRIBUTE 'load' numeric",
    '@attribute "reads" numeric', "@attribute label {normal,attack}", "@DATA",
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "mark", "note"),
    [
        (["sep=;", "temp;load;reads;label"], ";", "Its first line names the separator"),
        (["# of machine 7", "# 2024; unit 3", "temp,load,reads,label"], ",", "2 lines of comments"),
        (["# of machine 7", "# temp;load;reads;label"], ";", "1 line of comments"),
        (["#temp,load,reads,label"], ",", None),
        (["temp,load,reads,label", "[K],[A],[1/s],[-]"], ",", "1 row left out, no number where all below have one"),
        (_ARFF, ",", "The file is ARFF"),
    ],
)
def test_what_stands_before_a_table_is_no_row_of_it(
    tmp_path: Path, before: list[str], mark: str, note: str | None
) -> None:
    rows = _numbers()
    path = tmp_path / "own.csv"
    path.write_text("\n".join([*before, *(mark.join(cells) for cells in rows)]) + "\n")
    data, plain = _load(f"csv:{path}"), _load(_write(tmp_path / "plain.csv", rows))
    assert _told(data, "normal = 0 (180 rows), anomalies = 1 (20)")
    np.testing.assert_array_equal(data.test_x, plain.test_x)
    assert data.feature_names[1:] == plain.feature_names[1:] == ("load", "reads")
    assert note is None or _told(data, note)
    with path.open("a") as file:
        file.write("1.5\n")
    with pytest.raises(InputError, match=f"line {len(before) + 201}: 4 values expected, 1 found"):
        _load(f"csv:{path}")


def test_a_first_row_of_texts_is_a_row_where_texts_are_what_a_column_holds(tmp_path: Path) -> None:
    rows = [["tcp", "?", str(row % 40), "attack" if row % 7 == 0 else "normal"] for row in range(200)]
    assert _anomalies(_load(_write(tmp_path / "own.csv", rows)))[1] == 200


def test_a_table_of_few_different_rows_leaves_none_to_test(tmp_path: Path) -> None:
    rows = [["1", "2", str(row % 2), str(row % 2)] for row in range(200)]
    with pytest.raises(InputError, match="Of 200 rows only 2 differ: as equal rows stay together"):
        _load(_write(tmp_path / "own.csv", rows))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<!DOCTYPE html>\n<html>", "a web page or XML"),
        ("-[ RECORD 1 ]-----\ntemp | 1\n", "psql's expanded output"),
        ("\\begin{tabular}{ll}\n", "a LaTeX table"),
        ("INSERT INTO flows VALUES (1, 2);\n", "SQL statements"),
    ],
)
def test_text_that_is_no_table_is_named(tmp_path: Path, text: str, kind: str) -> None:
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(InputError, match=f"is {kind}; a table of text was expected"):
        _load(f"csv:{tmp_path}/own.csv")
