"""Lower precision beside float32, and learning rates trained as replicas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.records import evaluation

from harness.cli.choices import parse_dtypes, parse_learning_rates
from harness.datasets.base import load
from harness.detectors.autoencoder import Autoencoder
from harness.detectors.export import prepare
from harness.detectors.registry import resolve
from harness.errors import InputError
from harness.linalg import chain
from harness.record.accuracy import LearningRateAccuracy
from harness.reporting.sections.variants import variant_tables
from harness.runs.accuracy import _at_rate
from harness.training.context import FitContext
from harness.workers.variants import by_learning_rate, number_formats


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load("nsl-kdd", directory=tmp_path_factory.mktemp("nothing"), options={"rows": 1500})


@pytest.mark.skipif(not chain.available(), reason="the native kernels are not built")
def test_lower_precision_is_told_by_its_distance_to_float32(data, tmp_path):
    detector = Autoencoder(epochs=2).fit(data.train_x, data.train_y)
    made = prepare(detector, tmp_path)
    own = detector.decision_function(data.test_x)
    variants = number_formats(made, detector, own, data)
    assert {(variant.backend, variant.dtype) for variant in variants} == {
        ("native", "bfloat16"), ("native", "int8"), ("onnxruntime", "int8"),
    }  # fmt: skip
    for variant in variants:
        assert 0 < abs(variant.auc_roc_difference) < 0.05
    titles = [title for title, _ in variant_tables(replace(evaluation(), number_formats=variants))]
    assert titles == ["Lower precision"]


@pytest.mark.skipif(not chain.available(), reason="the native kernels are not built")
def test_a_detector_of_windows_that_was_fitted_on_rows_has_them_too(data, tmp_path):
    how = {"hidden": (16,), "heads": 2, "epochs": 1}
    detector = resolve("bilstm", how).fit(data.train_x, data.train_y, context=FitContext(trainer="native"))
    made = prepare(detector, tmp_path)
    variants = number_formats(made, detector, detector.decision_function(data.test_x), data)
    assert {variant.backend for variant in variants} == {"native", "onnxruntime"}
    assert all(abs(variant.auc_roc_difference) < 0.1 for variant in variants)


def test_a_detector_without_dense_layers_has_no_lower_precision(data, tmp_path):
    detector = resolve("isolation-forest", {"n_estimators": 5}).fit(data.train_x, data.train_y)
    made = prepare(detector, tmp_path)
    assert number_formats(made, detector, detector.decision_function(data.test_x), data) == ()


def test_every_learning_rate_is_what_it_would_be_alone(data):
    parameters = [{"epochs": 1, "random_state": seed} for seed in (0, 1)]
    trials = by_learning_rate("autoencoder", parameters, (1e-5, 1e-2), data, FitContext())
    assert [trial.learning_rate for trial in trials] == [1e-5, 1e-2]
    (alone,) = by_learning_rate("autoencoder", parameters[1:], (1e-2,), data, FitContext())
    assert trials[1].evaluations[1]["auc_roc"] == pytest.approx(alone.evaluations[0]["auc_roc"], abs=1e-3)
    recorded = tuple(_at_rate(trial) for trial in trials)
    assert recorded[0].metrics["auc_roc"].n == 2
    ((title, table),) = variant_tables(replace(evaluation(), learning_rates=recorded))
    assert title == "Learning rates"
    assert [row[0] for row in table.rows] == ["1e-05", "0.01"]


def test_a_training_that_diverged_counts_as_such(data, monkeypatch):
    monkeypatch.setattr(Autoencoder, "decision_function", lambda self, X: np.full(len(X), np.nan, np.float32))
    (trial,) = by_learning_rate("autoencoder", [{"epochs": 1, "random_state": 0}], (1e-3,), data, FitContext())
    assert _at_rate(trial) == LearningRateAccuracy(1e-3, {}, diverged=1)


def test_a_method_without_a_learning_rate_says_so(data):
    with pytest.raises(InputError):
        by_learning_rate("pca", [{"random_state": 0}], (1e-3,), data, FitContext())


def test_options_are_read_strictly():
    assert parse_dtypes("int8, float32") == ("int8", "float32")
    assert parse_dtypes(None) is None
    assert parse_learning_rates("1e-5,1e-4,1e-5") == (1e-5, 1e-4)
    for wrong in ("0", "-1e-3", "fast", "1e-3,", "inf", "nan"):
        with pytest.raises(InputError, match="--learning-rates"):
            parse_learning_rates(wrong)
    with pytest.raises(InputError, match="--dtypes"):
        parse_dtypes("float16")
