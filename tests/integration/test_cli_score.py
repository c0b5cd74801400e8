"""``lparbench score``: a bundle scores raw rows as its detector does, from files and pipes, in bounded memory."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.bundles import Saved, saved

from harness.datasets import card_features, cards
from harness.datasets.nsl_kdd import RECIPE
from harness.datasets.options import COMMON, resolve
from harness.datasets.recipe import Request
from harness.detectors.opening import open_scorer, open_stream
from harness.errors import InputError
from harness.linalg import chain
from harness.scoring.agreement import agreement
from harness.scoring.bundle import Bundle, open_bundle
from harness.scoring.row_source import read_rows
from harness.scoring.stream import Summary, score_stream

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved(tmp_path_factory.mktemp("bundle") / "mlp", validation=0.2)


@pytest.fixture(scope="module")
def raw(mlp: Saved) -> pd.DataFrame:
    """Raw rows of which the encoder knows every category, with two decimals."""
    options = resolve("nsl-kdd", {"seed": 3}, {**COMMON, **RECIPE.options}, {})
    frame = RECIPE.synthesise(Request("nsl-kdd", "clean", options)).test.features.head(3000).round(2)
    known = [frame[name].astype(str).isin(values) for name, values in mlp.data.encoder.vocabulary.items()]
    return frame[np.logical_and.reduce(known)].reset_index(drop=True)


def text_of(frame: pd.DataFrame, *, header: bool = False) -> bytes:
    return frame.assign(label="normal", difficulty=20).to_csv(index=False, header=header).encode()


def scored(bundle: Bundle, content: bytes, *, backend: str | None = None, encoded: bool = False, **how: Any) -> tuple[
    Summary, str
]:  # fmt: skip
    stream, sink = open_stream(bundle, backend, encoded=encoded), io.BytesIO()
    rows = read_rows(io.BytesIO(content), "rows", stream.layout, how.pop("block_bytes", 1 << 16))
    summary = score_stream(rows, stream.score, bundle, sink, name="rows", **how)
    return summary, sink.getvalue().decode()


def scores_of(text: str) -> np.ndarray:
    return np.array([float(row["score"]) for row in csv.DictReader(io.StringIO(text))]).astype(np.float32)


@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "native"])
@pytest.mark.parametrize("header", [True, False])
def test_raw_rows_score_as_by_the_detector(mlp: Saved, raw: pd.DataFrame, backend: str, header: bool) -> None:
    if backend == "native" and not chain.available():
        pytest.skip("the native kernels are not built here")
    bundle = open_bundle(mlp.directory)
    summary, text = scored(bundle, text_of(raw, header=header), backend=backend)
    encoded = mlp.data.encoder.transform(raw)
    expected = mlp.detector.decision_function(encoded)
    assert agreement(expected, scores_of(text)).within
    if backend != "eager":  # torch's products round by the size of a batch
        np.testing.assert_array_equal(scores_of(text), open_scorer(mlp.directory, backend).score(encoded))
    rows = list(csv.DictReader(io.StringIO(text)))
    given = scores_of(text)
    assert [int(row["label"]) for row in rows] == (given > np.float32(mlp.detector.threshold_)).astype(int).tolist()
    assert [int(row["level"]) for row in rows] == bundle.levels(given).tolist()
    assert summary.rows == len(raw) == sum(summary.by_level)
    assert summary.flagged == sum(int(row["label"]) for row in rows)


def test_formats_and_encodings_give_the_same_scores(mlp: Saved, raw: pd.DataFrame) -> None:
    bundle = open_bundle(mlp.directory)
    expected = scores_of(scored(bundle, text_of(raw), backend="onnxruntime")[1])
    lines = raw.astype(dict.fromkeys(bundle.encoder.vocabulary, str)).to_json(orient="records", lines=True).encode()
    array = io.BytesIO()
    encoded = mlp.data.encoder.transform(raw)
    np.save(array, encoded)
    table = pd.DataFrame(encoded, columns=bundle.manifest.features).to_csv(index=False, float_format="%.9g").encode()
    for content, is_encoded in ((lines, False), (array.getvalue(), True), (table, True)):
        _, text = scored(bundle, content, backend="onnxruntime", encoded=is_encoded)
        np.testing.assert_allclose(scores_of(text), expected, rtol=1e-5, atol=1e-6)
    _, as_json = scored(bundle, array.getvalue(), backend="onnxruntime", encoded=True, form="jsonl")
    _, as_csv = scored(bundle, array.getvalue(), backend="onnxruntime", encoded=True)
    parsed = [json.loads(line) for line in as_json.splitlines()]
    assert [{name: str(row[name]) for name in ("label", "level")} for row in parsed] == [
        {name: row[name] for name in ("label", "level")} for row in csv.DictReader(io.StringIO(as_csv))
    ]
    np.testing.assert_array_equal(np.array([row["score"] for row in parsed], dtype=np.float32), scores_of(as_csv))


def broken(raw: pd.DataFrame) -> bytes:
    """Ten good rows, of which the fourth has an unknown service and the seventh a text for a number."""
    lines = text_of(raw.head(10)).splitlines()
    lines[3] = lines[3].replace(f",{raw['service'].iloc[3]},".encode(), b",gopher9,", 1)
    lines[6] = b"x" + lines[6]
    return b"\n".join(lines) + b"\n"


def test_a_broken_row_stops_after_the_rows_before_it(mlp: Saved, raw: pd.DataFrame) -> None:
    bundle = open_bundle(mlp.directory)
    stream, sink = open_stream(bundle), io.BytesIO()
    rows = read_rows(io.BytesIO(broken(raw)), "rows", stream.layout)
    with pytest.raises(InputError, match="rows line 4: column 'service' has a category unknown to training: 'gopher9'"):
        score_stream(rows, stream.score, bundle, sink, name="rows")
    assert len(sink.getvalue().splitlines()) == 1 + 3


def test_broken_rows_are_skipped_and_counted(mlp: Saved, raw: pd.DataFrame) -> None:
    bundle = open_bundle(mlp.directory)
    summary, text = scored(bundle, broken(raw), on_error="skip")
    assert (summary.rows, summary.skipped) == (8, 2)
    assert summary.first_skipped.startswith("line 4: column 'service'")
    kept = raw.head(10).drop(index=[3, 6])
    np.testing.assert_array_equal(scores_of(text), scores_of(scored(bundle, text_of(kept))[1]))


def test_memory_does_not_grow_with_the_stream(mlp: Saved) -> None:
    bundle = open_bundle(mlp.directory)
    features = len(bundle.manifest.features)

    class Zeros(io.RawIOBase):
        """An array of so many rows, of which no more than is asked for is ever in memory."""

        def __init__(self, rows: int) -> None:
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                head, {"descr": "<f4", "fortran_order": False, "shape": (rows, features)}
            )
            self.head, self.left = head.getvalue(), 4 * rows * features

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            content, self.head = self.head[: len(buffer)], self.head[len(buffer) :]
            count = len(content) or min(len(buffer), self.left)
            buffer[:count] = content or bytes(count)
            self.left -= 0 if content else count
            return count

    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            return len(content)

    def peak(rows: int) -> int:
        stream = open_stream(bundle, "onnxruntime", encoded=True)
        tracemalloc.start()
        source = read_rows(io.BufferedReader(Zeros(rows)), "rows", stream.layout)
        assert score_stream(source, stream.score, bundle, Nowhere(), name="rows").rows == rows
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    small = peak(150_000)
    assert peak(900_000) < 1.1 * small + (1 << 20)


def test_text_is_read_as_it_is_asked_for(mlp: Saved, raw: pd.DataFrame) -> None:
    taken = 0

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            nonlocal taken
            content = (text_of(raw) * 2)[: len(buffer)]
            content = content[: content.rfind(b"\n") + 1] or text_of(raw)[: len(buffer)]
            buffer[: len(content)] = content
            taken += len(content)
            return len(content)

    stream = open_stream(open_bundle(mlp.directory))
    rows: Iterator[Any] = read_rows(io.BufferedReader(Endless()), "rows", stream.layout, 1 << 16)
    for _ in range(5):
        next(rows)
    assert taken < 20 * (1 << 16)


def lparbench(*arguments: str, stdin: bytes = b"", shell: str | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "harness", "score", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LPARBENCH_DATA": "", "COLUMNS": "100"}
    if shell is not None:
        command = ["bash", "-o", "pipefail", "-c", f'"$0" "$@" {shell}', *command]
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, timeout=300, check=False)


def test_the_command_reads_a_pipe_and_sums_up(mlp: Saved, raw: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    done = lparbench(str(mlp.directory), "-", "--on-error", "skip", "-o", str(out), "--json", stdin=broken(raw))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["skipped"], len(out.read_text().splitlines())) == (8, 2, 9)
    assert [level["value"] for level in summary["levels"]] == sorted(level["value"] for level in summary["levels"])


def test_a_closed_standard_input_is_wrong_use(mlp: Saved) -> None:
    done = lparbench(str(mlp.directory), "-", shell="<&-")
    assert done.returncode == 4
    assert done.stderr.startswith(b"lparbench: error: Standard input is closed.")


def test_the_command_stops_with_code_4_and_counts_what_it_skips(mlp: Saved, raw: pd.DataFrame) -> None:
    stopped = lparbench(str(mlp.directory), "-", stdin=broken(raw))
    assert stopped.returncode == 4
    assert stopped.stdout.startswith(b"score,label,level\n")
    assert stopped.stderr.startswith(b"lparbench: error: standard input line 4: column 'service'")
    skipped = lparbench(str(mlp.directory), "-", "--on-error", "skip", stdin=broken(raw))
    assert skipped.returncode == 0
    assert b"8 rows scored" in skipped.stderr
    assert b"2 skipped, the first at line 4" in skipped.stderr


def test_nothing_is_written_before_the_columns_are_accepted(mlp: Saved, raw: pd.DataFrame) -> None:
    lacking = text_of(raw.head(3).drop(columns="service"), header=True)
    for shape in ({}, {"form": "jsonl"}):
        bundle = open_bundle(mlp.directory)
        stream, sink = open_stream(bundle, None, encoded=False), io.BytesIO()
        rows = read_rows(io.BytesIO(lacking), "rows", stream.layout)
        with pytest.raises(InputError, match="service"):
            score_stream(rows, stream.score, bundle, sink, name="rows", **shape)
        assert sink.getvalue() == b""
    assert scored(open_bundle(mlp.directory), text_of(raw.head(0), header=True))[1] == "score,label,level\n"


def test_an_endless_stream_ends_with_its_reader(mlp: Saved, raw: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "row").write_bytes(text_of(raw.head(1)))
    endless = f'< <(yes "$(cat {tmp_path}/row)") | head -n 1'
    done = lparbench(str(mlp.directory), "-", shell=endless)
    assert done.returncode == 0
    assert done.stdout.startswith(b"score,")
    assert done.stderr == b""


def test_a_reader_that_goes_away_is_no_error(mlp: Saved, raw: pd.DataFrame, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_bytes(text_of(raw) * 30)
    done = lparbench(str(mlp.directory), str(rows), shell="| head -n 3")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "-"], b"nowhere: no such file or directory"),
        (["BUNDLE", "nowhere.csv"], b"nowhere.csv cannot be read"),
        (["BUNDLE", "-", "--json"], b"--json needs --output"),
        (["BUNDLE", "-", "--backend", "compile"], b"It runs on: native, onnxruntime, eager"),
    ],
)
def test_wrong_use(mlp: Saved, arguments: list[str], words: bytes) -> None:
    done = lparbench(*(str(mlp.directory) if word == "BUNDLE" else word for word in arguments))
    assert done.returncode == 4
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


WITHOUT_TORCH = """
import json, sys
from harness.cli.main import main
try:
    main(["score", sys.argv[1], sys.argv[2], "--backend", sys.argv[3], "--output", "/dev/null"])
except SystemExit as stop:
    print(json.dumps([stop.code, "torch" in sys.modules]))
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "native"])
def test_the_command_needs_no_torch(mlp: Saved, raw: pd.DataFrame, tmp_path: Path, backend: str) -> None:
    if backend == "native" and not chain.available():
        pytest.skip("the native kernels are not built here")
    (tmp_path / "rows.csv").write_bytes(text_of(raw))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(mlp.directory), str(tmp_path / "rows.csv"), backend],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout) == [0, False], done.stderr


def card_rows(cards: int = 6, each: int = 40) -> pd.DataFrame:
    """Raw transactions of several cards in the order of time, as a file of TabFormer has them."""
    random = np.random.default_rng(4)
    minutes = np.sort(random.integers(0, 60 * 24 * 27, cards * each))
    count = cards * each
    return pd.DataFrame(
        {
            "User": random.integers(0, cards // 2, count), "Card": random.integers(0, 2, count), "Year": 2015,
            "Month": 3, "Day": 1 + minutes // (60 * 24), "Time": [f"{m // 60 % 24:02d}:{m % 60:02d}" for m in minutes],
            "Amount": [f"${amount:.2f}" for amount in random.uniform(1, 400, count)],
            "Use Chip": random.choice(["Swipe Transaction", "Online Transaction"], count),
            "Merchant Name": random.choice(["7919", "63352", "213813"], count),
            "Merchant City": random.choice(["City 1", "ONLINE"], count),
            "Merchant State": random.choice(["S1", ""], count),
            "Zip": "", "MCC": random.choice([5411, 5812], count),
            "Errors?": random.choice(["", "Bad PIN", "Bad PIN,Technical Glitch"], count),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    how = {"epochs": 1, "hidden": (8, 4), "dropout": (0.0, 0.0)}
    return saved(tmp_path_factory.mktemp("bundle") / "lstm", "lstm", how, "tabformer", steps=5)


@pytest.mark.parametrize("block_bytes", [700, 1 << 20])
def test_raw_transactions_score_as_the_windows_of_their_cards(lstm: Saved, block_bytes: int) -> None:
    frame = card_rows()
    summary, text = scored(open_bundle(lstm.directory), frame.to_csv(index=False).encode(), block_bytes=block_bytes)
    values = [row["score"] for row in csv.DictReader(io.StringIO(text))]
    # all transactions at once, sorted by card, and windows of them: how the data set makes its examples
    raw_frame = frame.astype(
        {name: "category" for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
    ).assign(Zip=0.0)
    table = cards.transactions_of(raw_frame, Path("rows"))
    order = np.lexsort((np.arange(len(table)), table["card"], table["user"]))
    transactions = cards.Transactions(table.iloc[order].reset_index(drop=True), len(table))
    encoded = lstm.data.encoder.transform(card_features.history(transactions))
    card = transactions.card
    expected = np.full(len(table), np.nan, np.float32)
    for end in range(4, len(card)):
        if card[end - 4] == card[end]:
            expected[order[end]] = lstm.detector.decision_function(encoded[None, end - 4 : end + 1])[0]
    assert [value == "" for value in values] == np.isnan(expected).tolist()
    decided = ~np.isnan(expected)
    given = np.array([float(value) for value in values if value], dtype=np.float32)
    assert agreement(expected[decided], given).within
    assert (summary.rows, summary.undecided) == (len(frame), int((~decided).sum()))


def test_a_transaction_that_does_not_fit_has_its_line(lstm: Saved) -> None:
    bundle = open_bundle(lstm.directory)
    lines = card_rows().to_csv(index=False).splitlines()
    for column, wrong, reason in (
        ("Time", "25:10", "cannot be read: '25:10'"),
        ("Amount", "$x", "cannot be read: '$x'"),
        ("Use Chip", "Mind", "has a category unknown to training: 'Mind'"),
        ("Month", "March", "takes a finite number"),
    ):
        frame = card_rows().astype(str)
        frame.loc[7, column] = wrong
        with pytest.raises(InputError, match=re.escape(reason)) as raised:
            scored(bundle, frame.to_csv(index=False).encode())
        assert f"rows line 9: column {column!r}" in raised.value.message
    summary, _ = scored(bundle, "\n".join([*lines, lines[-1].replace("2015", "x")]).encode(), on_error="skip")
    assert summary.skipped == 1
    with pytest.raises(InputError, match="Give --encoded with windows"):
        open_stream(bundle, "onnxruntime")
