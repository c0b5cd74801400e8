"""KDD Cup 99 with the DAGMM/EGBAD protocol: known counts, and model-free scores that others measured on it."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import MinMaxScaler
from support.published import load_published, published_path

from harness.datasets.base import load
from harness.datasets.encoded import EncodedDataset
from harness.errors import InputError


def _as_published() -> EncodedDataset:
    return load_published("kddcup99", protocol="as-published")


def test_the_counts_of_the_protocol() -> None:
    data = _as_published()
    assert data.verified is True
    assert data.train_x.shape == (198_361, 121)
    assert data.test_x.shape == (247_011, 121)
    assert round(data.prevalence, 5) == 0.19687
    assert set(data.train_y) == {0}
    assert set(data.test_class[data.test_y == 1]) == {"normal"}
    assert data.validation_x is None


def test_most_rows_are_repetitions() -> None:
    data = _as_published()
    assert round(data.duplicates["train"] / len(data.train_x), 2) == 0.82
    inliers = int((data.test_y == 0).sum())
    assert round(data.duplicates["test_in_train"] / inliers, 3) == 0.869, "no normal row equals an attack row here"


def test_published_features_are_raw_and_their_halves_are_those_of_pandas() -> None:
    data = _as_published()
    raw = pd.read_csv(
        io.BytesIO(gzip.decompress(published_path("kddcup99", "kddcup.data_10_percent.gz").read_bytes())),
        header=None, usecols=[4, 41],
    )  # fmt: skip
    half = raw.sample(frac=0.5, random_state=42).sort_index()
    expected = half[half[41] != "normal."][4].to_numpy(np.float32)
    np.testing.assert_array_equal(data.train_x[:, data.feature_names.index("src_bytes")], expected)
    assert sum("=" in name for name in data.feature_names) == 87


def test_a_score_without_a_model_gives_its_known_figures() -> None:
    data = _as_published()
    scaler = MinMaxScaler().fit(data.train_x)
    score = -np.abs(scaler.transform(data.test_x)).sum(axis=1)
    flagged = score >= np.percentile(score, 80)
    hits = int((flagged & (data.test_y == 1)).sum())
    precision, recall = hits / flagged.sum(), hits / data.test_y.sum()
    assert round(2 * precision * recall / (precision + recall), 4) == 0.9361
    assert (round(precision, 4), round(recall, 4)) == (0.9287, 0.9435)
    assert round(float(roc_auc_score(data.test_y, score)), 4) == 0.9497


def test_clean_validation_rows_hold_both_kinds_and_come_from_the_training_half() -> None:
    data = load("kddcup99", synthetic="always")
    assert set(data.train_y) == {0}
    assert set(data.validation_y) == {0, 1}
    assert len(data.feature_names) == 121
    assert data.prevalence <= 0.2


def test_attacks_may_be_the_anomaly_instead() -> None:
    data = load("kddcup99", synthetic="always", options={"anomaly": "attack"})
    assert set(data.test_class[data.test_y == 0]) == {"normal"}
    assert data.prevalence == pytest.approx(0.2, abs=1e-4), "anomalies beyond a fifth of the test rows are left out"


def test_a_file_of_nsl_kdd_in_its_place_is_refused(tmp_path: Path) -> None:
    line = "0,tcp,http,SF," + ",".join(["0"] * 37) + ",normal\n"
    (tmp_path / "kddcup.data_10_percent").write_text(line * 10)
    with pytest.raises(InputError, match="column 42 holds 'normal', where an attack type with a dot"):
        load("kddcup99", directory=tmp_path, synthetic="never")
