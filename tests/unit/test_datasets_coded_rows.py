"""Rows of wide tables that are held as codes: the same features, scores and weights, without the memory of a matrix."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.datasets.coded_rows import BLOCK_BYTES
from harness.datasets.encoders import Encoder
from harness.scoring.artifacts import test_rows as saved_test_rows
from harness.scoring.artifacts import training_rows, write_rows
from harness.scoring.stream import score_of_rows

_COLUMNS, _ROWS, _VALUES = 12, 10_000, 400


def _frame(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 6, size=(rows, 2))  # -1 is missing
    texts = [pd.Categorical.from_codes(codes[:, each], list("abcdef")) for each in (0, 1)]
    return pd.DataFrame({"size": rng.lognormal(size=rows), "first": texts[0], "rate": rng.random(rows), "b": texts[1]})


@pytest.mark.parametrize("encoding", ["onehot-log-standard", "onehot-quantile", "codes-minmax"])
def test_coded_rows_are_the_features_of_the_encoder(encoding: str, tmp_path: Path) -> None:
    seen = _frame(300, 0)
    encoder = Encoder.fit(encoding, seen[(seen["first"] != "f").to_numpy() & seen["b"].notna().to_numpy()])
    frame = _frame(200, 1)
    features, rows = encoder.transform(frame), encoder.coded(frame)
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (features.shape, features.dtype, 2, 200)
    places = np.random.default_rng(2).integers(200, size=70)
    even = np.arange(200) % 2 == 0
    for chosen in (slice(3, 90), places, even):
        np.testing.assert_array_equal(rows[chosen], features[chosen])
    np.testing.assert_array_equal(np.asarray(rows), features)
    np.testing.assert_array_equal(np.asarray(rows.kept(even)), features[even])
    write_rows(tmp_path, rows, np.zeros(200, np.float32), rows.kept(even), np.zeros(100, np.int8))
    np.testing.assert_array_equal(saved_test_rows(tmp_path), features)
    np.testing.assert_array_equal(training_rows(tmp_path)[0], features[even])


def test_blocks_of_coded_rows_are_bounded() -> None:
    texts = pd.Categorical.from_codes(np.arange(60_000) % 4_000, [f"v{number}" for number in range(4_000)])
    frame = pd.DataFrame({"text": texts})
    rows = Encoder.fit("onehot", frame).coded(frame)
    tracemalloc.start()
    try:
        ones = sum(int(block.sum()) for block in rows.blocks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ones == 60_000
    assert peak < 3 * BLOCK_BYTES  # the whole is 960 MB


def test_scoring_a_block_of_short_rows_takes_little_memory() -> None:
    """A block of 4 MiB of text holds many rows where these are short, each with thousands of features."""
    texts = pd.Categorical.from_codes(np.arange(60_000) % 4_000, [f"v{number}" for number in range(4_000)])
    frame = pd.DataFrame({"text": texts})
    encoder = Encoder.fit("onehot", frame)
    bundle: Any = SimpleNamespace(encoder=encoder, manifest=SimpleNamespace(features=encoder.feature_names))
    weights = np.arange(4_000, dtype=np.float32)
    score = score_of_rows(bundle, lambda features: features @ weights, encoded=False)
    tracemalloc.start()
    try:
        scores = score(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    place_of = np.argsort(np.argsort([f"v{number}" for number in range(4_000)]))  # values are sorted as texts
    np.testing.assert_array_equal(scores, weights[place_of[np.arange(60_000) % 4_000]])
    assert len(score(frame[:0])) == 0
    assert peak < 3 * BLOCK_BYTES


_FIT = """
import hashlib, json, re, sys
from pathlib import Path
import numpy as np
from harness.datasets import pipeline
from harness.datasets.base import load
from harness.datasets.coded_rows import CodedRows
from harness.detectors.registry import resolve
from harness.training.context import FitContext
pipeline._CODED_SHARE = float(sys.argv[2])
resolve("mlp", {}).libraries and __import__("torch")
import harness.training.loop, harness.training.native_loop, sklearn.metrics
# Not getrusage: a process begins with the peak of the one that started it.
peak = lambda: int(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1]) >> 10
before = peak()
data = load(sys.argv[1], protocol="clean", directory=None, options={"label": "label"}, synthetic="never")
digests = []
for name, trainer in (("mlp", "torch"), ("autoencoder", "native")):
    detector = resolve(name, {"epochs": 1, "batch_size": 512})
    validation = FitContext(data.validation_x, data.validation_y.astype(np.int64), trainer=trainer)
    detector.fit(data.train_x, data.train_y, context=validation)
    scores = detector.decision_function(data.test_x)
    digests.append([hashlib.sha256(scores.tobytes()).hexdigest(), detector.threshold_, detector.history_[0].validation])
print(json.dumps([isinstance(data.train_x, CodedRows), peak() - before, len(data.feature_names), digests]))
"""


def test_a_wide_file_is_fitted_and_scored_in_the_memory_of_its_codes(tmp_path: Path) -> None:
    codes = np.random.default_rng(1).integers(_VALUES, size=(_ROWS, _COLUMNS))
    path = tmp_path / "wide.csv"
    names = [*(f"c{number}" for number in range(_COLUMNS)), "label"]
    lines = [",".join(f"v{code}" for code in row) + f",{int(not number % 20)}" for number, row in enumerate(codes)]
    path.write_text("\n".join([",".join(names), *lines, ""]))
    outcomes = []
    for share in ("0.0001", "1000"):
        command = [sys.executable, "-c", _FIT, f"csv:{path}", share]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        outcomes.append(json.load(io.StringIO(done.stdout)))
    (coded, least, width, scores), (dense, most, _, reference) = outcomes
    assert (coded, dense) == (True, False)
    assert scores == reference
    matrix_mib = 4 * width * _ROWS >> 20
    assert matrix_mib > 30
    assert least < most - matrix_mib // 2
