"""NSL-KDD: the facts of the published files, and the source document's handling of them."""

from __future__ import annotations

import io
import lzma
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler
from support.published import load_published, published_path

from harness.datasets.base import load


def _document_frame(name: str) -> pd.DataFrame:
    """The table as the source document reads and encodes it: labels encoded per file."""
    content = lzma.decompress(published_path("nsl-kdd", f"{name}.txt.xz").read_bytes())
    frame = pd.read_csv(io.BytesIO(content), header=None)
    for column in (1, 2, 3):
        frame[column] = LabelEncoder().fit_transform(frame[column])
    return frame


def _assert_same(actual: Any, document: Any) -> None:
    # The order in which a mean is summed may move a float64 by one place, and so the rounding to float32.
    np.testing.assert_allclose(actual, document.astype(np.float32), rtol=2.4e-7, atol=1e-7)


def test_the_published_files_are_recognised_and_counted() -> None:
    data = load_published("nsl-kdd")
    assert data.origin == "real"
    assert data.verified is True
    assert data.rows == {"train": 100_778, "validation": 25_195, "test": 22_544}
    assert data.train_y.sum() + data.validation_y.sum() == 58_630
    assert data.prevalence == pytest.approx(12_833 / 22_544)
    assert data.duplicates["test_in_train"] == 664  # 2.9 % of the test rows


def test_attack_types_of_the_test_file_that_training_never_saw() -> None:
    data = load_published("nsl-kdd")
    seen = set(data.train_class) | set(data.validation_class)
    unseen = ~np.isin(data.test_class, sorted(seen))
    assert unseen.sum() == 3_750
    assert set(data.test_y[unseen]) == {1}


def test_families_are_those_of_the_literature() -> None:
    data = load_published("nsl-kdd", classes="family", validation=0)
    names, counts = np.unique(data.test_class, return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {
        "normal": 9_711, "dos": 7_460, "probe": 2_421, "r2l": 2_752, "u2r": 200,
    }  # fmt: skip


def test_as_published_equals_the_document_with_encoders_and_scaler_fitted_again_on_test() -> None:
    data = load_published("nsl-kdd", protocol="as-published")
    train, test = _document_frame("KDDTrain+"), _document_frame("KDDTest+")
    scaled = StandardScaler().fit_transform(train.iloc[:, :-2].to_numpy())
    labels = (train[41] != "normal").to_numpy()
    expected_train, expected_validation, _, expected_y = train_test_split(
        scaled, labels, test_size=0.2, random_state=42
    )
    _assert_same(data.train_x, expected_train)
    _assert_same(data.validation_x, expected_validation)
    np.testing.assert_array_equal(data.validation_y, expected_y)
    again = StandardScaler().fit_transform(test.iloc[:, :-2].to_numpy())
    _assert_same(data.test_x, again)
    assert any("leaks" in note for note in data.notes)


def test_as_published_autoencoder_keeps_the_scaler_of_the_normal_training_rows() -> None:
    data = load_published(
        "nsl-kdd", protocol="as-published",
        refit="encoders", scaler_rows="normal", train_rows="normal", validation=0,
    )  # fmt: skip
    train, test = _document_frame("KDDTrain+"), _document_frame("KDDTest+")
    normal = train[train[41] == "normal"].iloc[:, :-2].to_numpy()
    scaler = StandardScaler().fit(normal)
    assert data.train_x.shape == (67_343, 41)
    _assert_same(data.train_x, scaler.transform(normal))
    _assert_same(data.test_x, scaler.transform(test.iloc[:, :-2].to_numpy()))


def test_re_fitting_on_test_shifts_nearly_every_service_code() -> None:
    options: dict[str, Any] = {"encoding": "ordinal", "validation": 0}
    clean = load_published("nsl-kdd", **options)
    leaking = load_published("nsl-kdd", protocol="as-published", refit="encoders", **options)
    service = clean.feature_names.index("service")
    assert (clean.test_x[:, service] != leaking.test_x[:, service]).sum() == 22_471


def test_refit_is_not_honoured_under_the_clean_protocol() -> None:
    plain = load_published("nsl-kdd", encoding="ordinal-standard")
    asked = load_published("nsl-kdd", encoding="ordinal-standard", refit="encoders+scaler")
    np.testing.assert_array_equal(plain.test_x, asked.test_x)
    assert not any("leaks" in note for note in asked.notes)


def test_clean_encoding_is_fitted_without_validation_rows() -> None:
    data = load_published("nsl-kdd", encoding="standard")
    numbers = [place for place, name in enumerate(data.feature_names) if "=" not in name]
    spread = data.train_x[:, numbers].astype(np.float64)
    np.testing.assert_allclose(spread.mean(axis=0), 0, atol=1e-5)
    assert np.abs(data.validation_x[:, numbers].astype(np.float64).mean(axis=0)).max() > 1e-4


def test_the_stand_in_has_the_published_schema_and_says_what_it_is() -> None:
    data = load("nsl-kdd", synthetic="always", options={"rows": 5_000})
    assert data.origin == "synthetic"
    assert data.verified is None
    assert any("ynthetic" in note for note in data.notes)
    assert len(data.feature_names) == 38 + 3 + 70 + 11
    assert np.isfinite(data.train_x).all()
    assert set(data.test_class) - set(data.train_class), "as in the published files, some attacks are new at test time"
    again = load("nsl-kdd", synthetic="always", options={"rows": 5_000})
    np.testing.assert_array_equal(data.train_x, again.train_x)
