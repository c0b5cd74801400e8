"""Rows of wide tables that are held as codes: the same features, scores and weights, without the memory of a matrix."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.datasets import coded_rows
from harness.datasets.coded_rows import BLOCK_BYTES, CodedRows
from harness.datasets.encoders import Encoder
from harness.detectors.export import prepare
from harness.detectors.registry import resolve
from harness.detectors.room import require_room
from harness.errors import InputError
from harness.evaluation.drift import DriftReference
from harness.scoring.artifacts import test_rows as saved_test_rows
from harness.scoring.artifacts import training_rows, write_rows
from harness.scoring.stream import score_of_rows
from harness.training.context import FitContext
from harness.workers import measure
from harness.workers.jobs import MeasureJob

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


def _wide(rows: int, seed: int = 3) -> tuple[CodedRows, np.ndarray, np.ndarray]:
    """Rows held as codes, the same as features, and labels."""
    rng = np.random.default_rng(seed)
    codes = rng.zipf(1.6, size=(rows, 3)) % 40
    texts = {f"c{at}": pd.Categorical.from_codes(codes[:, at], [f"v{value}" for value in range(40)]) for at in range(3)}
    label = ((codes[:, 0] == 7) | (rng.random(rows) < 0.02)).astype(np.int8)
    frame = pd.DataFrame({"x": rng.normal(size=rows) + label, **texts, "y": rng.lognormal(size=rows)})
    encoder = Encoder.fit("onehot-standard", frame)
    return encoder.coded(frame), encoder.transform(frame), label


def test_coded_rows_are_the_same_as_sparse_matrix_columns_and_arrays() -> None:
    rows, features, _ = _wide(500)
    np.testing.assert_array_equal(rows.csr().toarray(), features)
    np.testing.assert_array_equal(np.hstack(list(rows.columns())), features)
    some = np.array([40, 2, 0, 81])
    np.testing.assert_array_equal(np.hstack(list(rows.columns(some))), features[:, some])
    indicators = np.setdiff1d(np.arange(features.shape[1]), rows.layout.numeric)
    np.testing.assert_array_equal(rows.rows_with()[indicators], features[:, indicators].sum(axis=0))
    again = CodedRows.from_arrays(rows.to_arrays())
    np.testing.assert_array_equal(np.asarray(again), features)
    assert again.layout.categorical == rows.layout.categorical
    reference, dense = DriftReference.of(rows).to_arrays(), DriftReference.of(features).to_arrays()
    for name, values in dense.items():
        np.testing.assert_array_equal(reference[name], values)


_SMALL = {"epochs": 2, "batch_size": 64}
_BY_CODES: dict[str, dict[str, Any]] = {
    "isolation-forest": {"n_estimators": 20},
    "knn": {"max_samples": 300},
    "ocsvm": {"max_samples": 200},
    "gradient-boosting": {"max_iter": 10},
    "vae": {**_SMALL, "awareness_epochs": 1},
    "dsebm": {**_SMALL, "hidden": (16, 8)},
    "dagmm": _SMALL,
    "alad": _SMALL,
    "egbad": _SMALL,
    "anogan": {**_SMALL, "search_steps": 3},
    "sklearn.neighbors:LocalOutlierFactor": {},
    "sklearn.linear_model:LogisticRegression": {},
}


@pytest.mark.parametrize("trainer", ["torch", "native"])
@pytest.mark.parametrize("name", _BY_CODES)
def test_a_fit_on_codes_is_that_on_the_matrix(name: str, trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, features, label = _wide(1500)
    detectors = [resolve(name, _BY_CODES[name]) for _ in range(2)]
    if trainer == "native" and not detectors[0].trains_natively:
        pytest.skip("the native kernels do not train it")
    monkeypatch.setattr(coded_rows, "BLOCK_BYTES", 1 << 16)  # of which rows and steps take several
    for detector, given in zip(detectors, (rows, features), strict=True):
        detector.fit(given, label.astype(np.int64), context=FitContext(trainer=trainer))
    coded, dense = (
        detector.decision_function(given) for detector, given in zip(detectors, (rows, features), strict=True)
    )
    if name.startswith("sklearn"):  # whose methods take other ways with sparse matrices
        np.testing.assert_allclose(coded, dense, rtol=1e-4, atol=1e-4)
        return
    for part, value in detectors[1].state().items():
        np.testing.assert_array_equal(detectors[0].state()[part], value, err_msg=part)
    np.testing.assert_allclose(coded, dense, rtol=1e-6, atol=1e-6)  # a block of other rows is another product
    assert detectors[0].threshold_ == pytest.approx(detectors[1].threshold_, rel=1e-6)


@pytest.mark.parametrize("n_components", [0.9, 5])
def test_principal_components_of_codes_project_as_those_of_the_matrix(n_components: float) -> None:
    rows, features, label = _wide(1500)
    of_codes, of_matrix = resolve("pca", {"n_components": n_components}), resolve("pca", {"n_components": n_components})
    of_codes.fit(rows, label.astype(np.int64))
    of_matrix.fit(features, label.astype(np.int64))
    np.testing.assert_allclose(of_codes.decision_function(rows), of_matrix.decision_function(features), atol=1e-5)


def test_what_needs_a_matrix_that_does_not_fit_says_so_before_it_begins() -> None:
    rows, features, _ = _wide(1500)
    dense = resolve("xgboost", {})
    need = dense.fit_bytes(rows)
    assert need > 2 * features.nbytes
    require_room(dense, rows, free=need)
    require_room(dense, features, free=0)
    with pytest.raises(InputError) as raised:
        require_room(dense, rows, free=need // 2)
    assert f"a matrix of 1,500 rows and {features.shape[1]} features, which takes" in raised.value.message
    assert "--rows 670" in (raised.value.remedy or "")
    for name in ("isolation-forest", "mlp", "sklearn.neighbors:LocalOutlierFactor"):
        require_room(resolve(name, {}), rows, free=0)
    few = resolve("gradient-boosting", {}).fit_bytes(rows.kept(np.arange(300)))
    assert few < 9 * 300 * features.shape[1] / 2, "indicators of fewer than 20 rows part nothing"


def test_a_measuring_process_makes_features_of_the_rows_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, features, label = _wide(1500)
    detector = resolve("isolation-forest", {"n_estimators": 5}).fit(rows, label.astype(np.int64))
    prepare(detector, tmp_path)
    write_rows(tmp_path, rows, detector.decision_function(rows), rows, label)
    assert not list(tmp_path.glob("*_x.npy"))
    monkeypatch.setattr(measure, "_MEASURED_BYTES", 100 * features[0].nbytes)
    for batch, taken in ((64, 100), (512, 512)):
        job = MeasureJob(
            artifact=str(tmp_path), backend="eager", dtype="float32", scenarios=("offline",), batch_sizes=(1, batch),
            series_seconds=0.01, cpus=(0,), threads=1, seed=3, directory=str(tmp_path),
        )  # fmt: skip
        order = random.Random(3).sample(range(1500), 1500)[:taken]
        np.testing.assert_array_equal(measure._workbench(job).rows, features[order])


_FIT_OTHERS = """
import json, re, sys
from pathlib import Path
import numpy as np
from harness.datasets import pipeline
from harness.datasets.base import load
from harness.detectors.registry import resolve
from harness.evaluation.drift import DriftReference
from harness.scoring.artifacts import test_rows, write_rows
import sklearn.decomposition, sklearn.ensemble, sklearn.neighbors, scipy.sparse
pipeline._CODED_SHARE = float(sys.argv[2])
peak = lambda: int(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1]) >> 10
before = peak()
data = load(sys.argv[1], protocol="clean", directory=None, options={"label": "label"}, synthetic="never")
figures = []
for name, parameters in (("isolation-forest", {"n_estimators": 20}), ("knn", {"max_samples": 500}), ("pca", {})):
    detector = resolve(name, parameters)
    detector.fit(data.train_x, data.train_y)
    scores = detector.decision_function(data.test_x)
    figures.append([float(scores.mean()), detector.threshold_])
reference = DriftReference.of(data.train_x)
write_rows(Path(sys.argv[3]), data.test_x, scores, data.train_x, data.train_y)
size = sum(path.stat().st_size for path in Path(sys.argv[3]).iterdir())
print(json.dumps([peak() - before, size >> 10, list(data.train_x.shape), figures, int(sum(map(len, reference.edges)))]))
"""


def test_forests_neighbours_and_components_take_the_memory_of_codes(tmp_path: Path) -> None:
    rows, columns, values = 30_000, 4, 120
    codes = np.random.default_rng(1).integers(values, size=(rows, columns))
    path = tmp_path / "wide.csv"
    lines = [",".join(f"v{code}" for code in row) + f",{int(not number % 20)}" for number, row in enumerate(codes)]
    path.write_text("\n".join([",".join([*(f"c{number}" for number in range(columns)), "label"]), *lines, ""]))
    outcomes = []
    for share in ("0.00001", "1000"):
        kept = tmp_path / share
        kept.mkdir()
        command = [sys.executable, "-c", _FIT_OTHERS, f"csv:{path}", share, str(kept)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        outcomes.append(json.load(io.StringIO(done.stdout)))
    (least, small, shape, coded, edges), (most, large, _, dense, same) = outcomes
    matrix_mib = 4 * shape[0] * shape[1] >> 20
    assert matrix_mib > 30
    assert least < most - 2 * matrix_mib
    assert small < large / 10
    assert edges == same
    np.testing.assert_allclose(coded, dense, rtol=1e-5)
