"""A row with missing values is scored as the run scored it, whatever the form of its file, to the bit."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.bundles import Saved, saved

from harness.cli.score import summed_up
from harness.datasets.base import load
from harness.detectors.opening import open_scorer, open_stream
from harness.errors import InputError
from harness.scoring.bundle import open_bundle
from harness.scoring.row_source import open_rows, read_rows
from harness.scoring.stream import Summary, score_stream
from harness.scoring.whole_rows import file_rows
from harness.serving.exchange import HttpError
from harness.serving.features import RowEncoder

COLUMNS = ("dur", "rate", "size", "proto", "state", "up", "port", "label")
HOLES = {"dur": 24, "rate": 15, "size": 10, "proto": 22, "state": 5}  # of the test rows


def _cells(rows: int, seed: int, *, training: bool) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    made = []
    for row in range(rows):
        port = 1000 + (row * 11 if training else 11 * int(rng.integers(rows))) % 301
        made.append([
            "" if row % 20 == 3 else "NA" if row % 15 == 4 else f"{rng.exponential(3):.3f}",
            "?" if row % 20 == 7 else "inf" if row % 50 == 9 else "abc" if row == 30 else f"{rng.normal():.4f}",
            "-999" if row % 20 == 11 else str(rng.integers(1000)),
            "" if row % 20 == 13 else "NA" if row % 17 == 1 else (" tcp", "udp ")[row % 2],
            "" if not training and row % 40 == 5 else ("CON", "INT")[row % 2],
            ("True", "False")[int(rng.integers(2))],
            f"{port}.0" if row % 3 else str(port),
            str(int(rng.random() < 0.3)),
        ])  # fmt: skip
    return made


def _text(rows: list[list[str]], **how: object) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", **how).writerows([COLUMNS, *rows])  # type: ignore[arg-type]
    return out.getvalue()


TEST = _cells(200, 2, training=False)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("own")
    (folder / "train.csv").write_text(_text(_cells(700, 1, training=True)))
    (folder / "test.csv").write_text(_text(TEST))
    return saved(
        folder / "bundle", dataset=f"csv:{folder / 'train.csv'}", test_files=str(folder / "test.csv"), label="label",
        missing=["-999"], categories=["port"],
    )  # fmt: skip


def _json_line(cells: list[str]) -> str:
    def value(name: str, text: str) -> object:
        plain = text.strip()
        if plain in ("", "NA") or (name, plain) == ("size", "-999"):
            return None
        if plain in ("True", "False"):
            return plain == "True"
        return plain if name in ("proto", "state", "port") or plain in ("?", "abc") else float(plain)

    return json.dumps({name: value(name, text) for name, text in zip(COLUMNS, cells, strict=True)})


def _noted(rows: list[list[str]]) -> str:
    """With a column of remarks over two lines, in quotation marks."""
    out = io.StringIO()
    csv.writer(out).writerows([(*COLUMNS, "note"), *([*cells, "one,\nother"] for cells in rows)])
    return out.getvalue()


def _drawn(rows: list[list[str]]) -> str:
    rule = "|".join("---" for _ in COLUMNS)
    return "\n".join([f"|{'|'.join(COLUMNS)}|", f"|{rule}|", *(f"| {' | '.join(cells)} |" for cells in rows)])


def _parquet(rows: list[list[str]], path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("dur", "rate", "size"):
        frame[name] = pd.to_numeric(frame[name].replace("-999", None), errors="coerce")
    for name in ("proto", "state"):
        frame[name] = frame[name].str.strip().replace({"": None, "NA": None})
    frame.assign(up=frame["up"] == "True", port=frame["port"].astype(float).astype(int)).to_parquet(path)


WRITTEN = {
    "plain.csv": _text(TEST),
    "semicolons.csv": _text(TEST, delimiter=";"),
    "lines.jsonl": "".join(f"{_json_line(cells)}\n" for cells in TEST),
    "array.json": f"[{','.join(map(_json_line, TEST))}]",
    "notes.csv": _noted(TEST),
    "headers.csv": _text([*TEST[:90], list(COLUMNS), *TEST[90:], [""] * len(COLUMNS)]),
    "mac.csv": _text(TEST).replace("\n", "\r"),
    "comments.csv": "# made by hand\n" + _text(TEST),
    "drawn.md": _drawn(TEST),
    "sep.csv": "sep=;\n" + _text(TEST, delimiter=";"),
    "table.parquet": None,
}


def _scored(own: Saved, path: Path, backend: str, **how: object) -> tuple[Summary, np.ndarray]:
    bundle = open_bundle(own.directory)
    stream, sink = open_stream(bundle, backend), io.BytesIO()
    with open_rows(path) as source:
        rows = file_rows(path, source, stream.layout)
        summary = score_stream(rows, stream.score, bundle, sink, name=path.name, layout=stream.layout, **how)
    scores = [row["score"] for row in csv.DictReader(io.StringIO(sink.getvalue().decode()))]
    return summary, np.array(scores, dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_form_of_the_test_rows_scores_as_the_run_did(own: Saved, name: str, tmp_path: Path) -> None:
    content = WRITTEN[name]
    path = tmp_path / name
    if content is None:
        _parquet(TEST, path)
    else:
        path.write_bytes(content.encode())
    summary, scores = _scored(own, path, "eager")
    np.testing.assert_array_equal(scores, own.detector.decision_function(own.data.test_x))
    assert summary.missing == HOLES
    assert summary.left_out == (2 if name == "headers.csv" else 0)
    assert sum(summary.rare.values()) == np.count_nonzero(
        ~np.asarray(own.data.test_x)[:, [n.startswith("port=") for n in own.data.feature_names]].any(axis=1)
    )


def test_portable_backends_and_the_summary(own: Saved, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(_text(TEST))
    summary, scores = _scored(own, tmp_path / "rows.csv", "onnxruntime")
    expected = open_scorer(own.directory, "onnxruntime").score(np.asarray(own.data.test_x))
    np.testing.assert_array_equal(scores, expected)
    assert "; missing values, as training took them: 24 in 'dur', 22 in 'proto', 15 in 'rate', 10 in" in summed_up(
        summary
    )


def test_what_training_would_have_refused_is_refused(own: Saved, tmp_path: Path) -> None:
    rows = [list(cells) for cells in TEST]
    rows[5][0], rows[8][3] = "12 apples", "quic"
    for name, content in (
        ("x.csv", _text(rows)),
        ("x.md", _drawn(rows)),
        ("x.jsonl", "\n".join(map(_text_line, rows))),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=r"line \d+: column 'dur' takes a finite number, not .*12 apples"):
            _scored(own, tmp_path / name, "eager")
        summary, _ = _scored(own, tmp_path / name, "eager", on_error="skip")
        assert (summary.rows, summary.skipped) == (198, 2)


def _text_line(cells: list[str]) -> str:
    return json.dumps(dict(zip(COLUMNS, cells, strict=True)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,c\n1,2,3\n", "lacks 7 of the model's 7 columns"),
        (_text(TEST).replace("dur", "d\xfcr").encode("cp1252"), "UTF-8 text expected, byte 0xfc.*iconv -f cp1252"),
    ],
)  # fmt: skip
def test_a_file_that_training_cannot_read_is_refused_by_name(
    own: Saved, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        _scored(own, tmp_path / "x.csv", "eager")
    assert re.search(message, str(error.value))


def test_rows_of_requests_have_the_same_features(own: Saved, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n".join(map(_json_line, TEST)))
    bundle = open_bundle(own.directory)
    stream = open_stream(bundle, "eager")
    with open_rows(tmp_path / "x.jsonl") as source:
        frame = pd.concat([block.frame.astype(object) for block in read_rows(source, "x", stream.layout)])
    rows = [
        [None if value != value or value == "" else value for value in row]
        for row in frame[list(bundle.encoder.columns)].to_numpy().tolist()
    ]
    requests = RowEncoder(bundle.encoder)
    expected = np.asarray(own.data.test_x)
    np.testing.assert_array_equal(requests.encode(rows, "rows"), expected)
    np.testing.assert_array_equal(np.concatenate([requests.encode([row], "rows") for row in rows]), expected)
    size = bundle.encoder.columns.index("size")
    declared = [[-999 if at == size and value is None else value for at, value in enumerate(row)] for row in rows]
    np.testing.assert_array_equal(requests.encode(declared[:12], "rows"), expected[:12])
    with pytest.raises(HttpError, match="a category that training held"):
        requests.encode([["quic" if value == "tcp" else value for value in rows[0]]], "rows")
    with pytest.raises(HttpError, match="expected a number"):
        requests.encode([["x", *rows[0][1:]]], "rows")


def test_numbers_missing_in_a_matrix_are_filled_and_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(400, 3)), (np.arange(400) % 10 == 0).astype(int)
    X[::40, 1] = np.nan
    (tmp_path / "adbench").mkdir()
    np.savez(tmp_path / "adbench" / "9_holed.npz", X=X, y=y)
    data = load("adbench:holed", directory=tmp_path, synthetic="never")
    assert "10 rows hold missing or infinite numbers; the training median takes their place." in data.notes
    assert data.encoder is not None
    fast = RowEncoder(data.encoder)
    expected = data.encoder.transform({"x0": [1.0], "x1": [np.nan], "x2": [2.0]})
    np.testing.assert_array_equal(fast.encode([[1, None, 2]], "rows"), expected)


def test_missing_values_are_counted_column_by_column_in_training_and_in_requests(own: Saved) -> None:
    encoder = open_bundle(own.directory).encoder
    fast = RowEncoder(encoder)
    assert fast.absent is not None
    train = own.data.rows["train"] + own.data.rows["validation"]
    assert fast.absent.rows.tolist() == [own.data.rows["train"], own.data.rows["train"] // 2]
    shares = dict(zip(encoder.columns, (fast.absent.counts[0] / fast.absent.rows[0]).tolist(), strict=True))
    trained = _cells(train, 1, training=True)
    for name, expected in (("dur", ("", "NA")), ("size", ("-999",)), ("proto", ("", "NA")), ("up", ())):
        column = [row[COLUMNS.index(name)] for row in trained]
        assert shares[name] == pytest.approx(sum(text in expected for text in column) / train, abs=0.03)
    rows: list[list[object]] = []
    for cells in TEST:
        given = json.loads(_json_line(cells)) | {"up": 1.0}
        rows.append(
            [None if (value := given[name]) in ("?", "abc", float("inf")) else value for name in encoder.columns]
        )
    checked = [fast.check(row, "row") for row in rows]
    missing = fast.missing(checked)
    assert missing is not None
    np.testing.assert_array_equal(missing, [[value in (None, "") for value in row] for row in rows])


def test_published_sets_without_missing_values_refuse_them(tmp_path: Path) -> None:
    made = saved(tmp_path / "kdd")
    encoder = open_bundle(made.directory).encoder
    assert not encoder.gaps.filled
    row = [encoder.vocabulary[name][0] if name in encoder.vocabulary else 0 for name in encoder.columns]
    with pytest.raises(HttpError, match="expected a number"):
        RowEncoder(encoder).encode([[None, *row[1:]]], "rows")
    line = ",".join(map(str, ["", *row[1:]]))
    layout = open_stream(open_bundle(made.directory)).layout
    (block,) = read_rows(io.BytesIO(line.encode()), "x", layout)
    assert block.bad[0].reason == "column 'duration' takes a finite number, not ''"
