"""Every built-in detector keeps the contract: learning, deterministic float32 scores, save and load, clear errors."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from harness.detectors import registry
from harness.detectors.base import Detector
from harness.errors import InputError
from harness.training.context import FitContext

GAN = {"learning_rate": 2e-3, "ema_decay": 0.9, "latent": 4, "batch_size": 200}
FAST = {
    "mlp": {"epochs": 3, "learning_rate": 1e-2},
    "autoencoder": {"epochs": 12},
    "egbad": {**GAN, "epochs": 20},
    "alad": {**GAN, "epochs": 20, "score_by": "l1"},
    "anogan": {**GAN, "epochs": 20, "search_steps": 20, "search_rate": 0.2},
    "dagmm": {"epochs": 60, "learning_rate": 2e-3, "batch_size": 200, "encoder": (10, 6), "code": 4},
    "dsebm": {"epochs": 20, "learning_rate": 2e-3, "hidden": (16, 32)},
    "ocsvm": {"max_samples": 500},
    "bilstm": {"hidden": (16, 8, 8), "heads": 2, "epochs": 6, "batch_size": 64, "learning_rate": 5e-3},
    "cnn": {"epochs": 6, "batch_size": 64, "learning_rate": 2e-3, "channels": 8},
    "autoencoder-classifier": {"epochs": 6, "pretraining_epochs": 2, "batch_size": 64, "learning_rate": 5e-3},
    "ft-transformer": {"epochs": 1, "pretraining_epochs": 0, "learning_rate": 1e-3, "batch_size": 64},
    "lstm": {"epochs": 4, "hidden": (16, 8), "learning_rate": 1e-2, "batch_size": 64},
    "xgboost": {"n_estimators": 40},
    "fraud-ensemble": {"epochs": 4, "hidden": (16, 8), "learning_rate": 1e-2, "batch_size": 64, "n_estimators": 40},
    "vae": {"epochs": 20, "awareness_epochs": 10, "hidden": (16,), "latent": 4, "batch_size": 64, "ramp_epochs": 3},
    "isolation-forest": {"n_estimators": 50},
    "knn": {"max_samples": 500},
    "pca": {},
    "gradient-boosting": {"max_iter": 20},
}
FLOORS = {
    "isolation-forest": 0.75,  # it cuts along axes; these anomalies leave a subspace
    "ft-transformer": 0.8,  # one epoch
    "dagmm": 0.75,  # a few epochs do not shape its mixture
}
OF_IMAGES = {"egbad-images"}  # twelve features are no square image; it has a test of its own
UNSEEDED = {"pca", "gradient-boosting"}  # their fit draws no random number on data of this size


@lru_cache(maxsize=1)
def data() -> tuple[np.ndarray, np.ndarray]:
    """Correlated normal rows and anomalies shifted off their subspace; 12 features."""
    generator = np.random.default_rng(7)
    labels = (generator.random(3000) < 0.3).astype(np.int8)
    basis = generator.normal(size=(4, 12))
    X = generator.normal(size=(3000, 4)) @ basis + 0.1 * generator.normal(size=(3000, 12))
    X[labels == 1] += 2.0 * generator.normal(size=(int(labels.sum()), 12))
    return X.astype(np.float32), labels


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    return data()


def make(name: str, seed: int = 3) -> Detector:
    return registry.resolve(name, {**FAST[name], "random_state": seed})


@cache
def fitted(name: str, rows: int = 2000) -> Detector:
    X, y = data()
    return make(name).fit(X[:rows], y[:rows])


FEW = 800  # enough to see that a fit repeats; more normal rows than any of FAST samples


@pytest.mark.parametrize("name", sorted(set(registry.BUILT_IN) - OF_IMAGES))
class TestEveryDetector:
    def test_scores_rise_with_anomaly(self, name, rows):
        X, y = rows
        detector = fitted(name)
        scores = detector.decision_function(X[2000:])
        assert scores.dtype == np.float32
        assert scores.shape == (1000,)
        assert roc_auc_score(y[2000:], scores) > FLOORS.get(name, 0.9)
        assert detector.predict(X[2000:]).tolist() == (scores > detector.threshold_).astype(int).tolist()
        assert np.isfinite(detector.threshold_)
        assert detector.threshold_rule_

    def test_scores_repeat_and_fits_repeat(self, name, rows):
        X, y = rows
        scores = fitted(name, FEW).decision_function(X)
        np.testing.assert_array_equal(fitted(name, FEW).decision_function(X), scores)
        np.testing.assert_array_equal(make(name).fit(X[:FEW], y[:FEW]).decision_function(X), scores)

    def test_a_row_scores_the_same_in_any_company(self, name, rows):
        X, _ = rows
        together = fitted(name).decision_function(X[:50])
        alone = np.concatenate([fitted(name).decision_function(X[index : index + 1]) for index in range(50)])
        np.testing.assert_allclose(alone, together, rtol=1e-3, atol=1e-4)

    def test_seed_changes_the_fit(self, name, rows):
        if name in UNSEEDED:
            pytest.skip("draws no random number")
        X, y = rows
        other = make(name, seed=1).fit(X[:FEW], y[:FEW])
        assert not np.array_equal(other.decision_function(X), fitted(name, FEW).decision_function(X))

    def test_save_and_load_give_the_same_detector(self, name, rows, tmp_path):
        X, _ = rows
        detector = fitted(name)
        detector.save(tmp_path)
        again = registry.load(tmp_path)
        np.testing.assert_array_equal(detector.decision_function(X), again.decision_function(X))
        assert (again.threshold_, again.threshold_rule_) == (detector.threshold_, detector.threshold_rule_)
        assert again.get_params() == detector.get_params()

    def test_wrong_rows_are_one_clear_error(self, name, rows):
        X, y = rows
        detector = make(name)
        with pytest.raises(InputError, match="not fitted"):
            detector.decision_function(X)
        broken = X.copy()
        broken[5, 2] = np.nan
        with pytest.raises(InputError, match="row 5, feature 2"):
            detector.fit(broken, y)
        with pytest.raises(InputError, match="one label per row"):
            detector.fit(X, y[:-1])
        with pytest.raises(InputError, match=r"has 11 features, but .* is expecting 12"):
            fitted(name).decision_function(X[:, :11])

    def test_scikit_learn_can_clone_it(self, name):
        detector = make(name)
        assert clone(detector).get_params() == detector.get_params()


def test_training_reports_every_epoch_and_can_stop_early(rows):
    X, y = rows
    seen = []
    detector = make("mlp").fit(X, y, context=FitContext(on_epoch=seen.append))
    assert [epoch.index for epoch in seen] == [0, 1, 2]
    assert tuple(seen) == detector.history_
    assert seen[-1].loss < seen[0].loss
    assert all(epoch.steps == 47 and epoch.rows == 3000 and epoch.seconds > 0 for epoch in seen)
    stopped = make("mlp").fit(X, y, context=FitContext(max_steps=50))
    assert [epoch.steps for epoch in stopped.history_] == [47, 3]


def test_laps_add_up_to_the_steps_and_can_end_training(rows):
    X, y = rows
    laps: list[int] = []

    def keep(steps: int) -> bool:
        laps.append(steps)
        return True

    make("mlp").fit(X, y, context=FitContext(on_steps=keep, lap_steps=20, max_steps=67))
    assert laps == [20, 20, 7, 20]
    ended = make("mlp").fit(X, y, context=FitContext(on_steps=lambda _: False, lap_steps=5))
    assert [epoch.steps for epoch in ended.history_] == [5]


def test_autoencoder_learns_from_normal_rows_only(rows):
    X, y = rows
    with_labels = make("autoencoder").fit(X, y)
    normal_only = make("autoencoder").fit(X[y == 0])
    np.testing.assert_array_equal(with_labels.decision_function(X), normal_only.decision_function(X))
    flagged = normal_only.predict(X[y == 0]).mean()
    assert flagged == pytest.approx(0.15, abs=0.002)


def test_validation_thresholds(rows):
    X, y = rows
    context = FitContext(X_val=X[2000:], y_val=y[2000:].astype(np.int64))
    chosen = registry.resolve("autoencoder", {"epochs": 3, "threshold": "validation"}).fit(
        X[:2000], y[:2000], context=context
    )
    assert "validation" in chosen.threshold_rule_
    rate = registry.resolve("mlp", {**FAST["mlp"], "threshold": "false_positive_rate", "target_rate": 0.05})
    rate.fit(X[:2000], y[:2000], context=context)
    normal = X[2000:][y[2000:] == 0]
    assert rate.predict(normal).mean() == pytest.approx(0.05, abs=0.01)
    with pytest.raises(InputError, match="validation split"):
        registry.resolve("autoencoder", {"epochs": 1, "threshold": "validation"}).fit(X, y)


def test_unsuitable_labels(rows):
    X, _y = rows
    with pytest.raises(InputError, match="labelled rows of both kinds"):
        make("mlp").fit(X)
    with pytest.raises(InputError, match="every training row is labelled an anomaly"):
        make("autoencoder").fit(X, np.ones(len(X), dtype=int))
    with pytest.raises(InputError, match="no training rows"):
        make("autoencoder").fit(X[:0])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("nosuch", {}, "Unknown detector 'nosuch'"),
        ("mlp", {"epoch": 3}, "unknown parameter 'epoch'"),
        ("mlp", {"epochs": "3"}, r"mlp.epochs is '3' \(str\); expected a whole number"),
        ("mlp", {"hidden": [64, "32"]}, r"mlp.hidden\[1\] is '32' \(str\); expected a whole number"),
        ("mlp", {"threshold": "best"}, "expected one of 'probability', 'validation'"),
        ("no_such_module_at_all:Thing", {}, "importing 'no_such_module_at_all' failed"),
        ("math:Thing", {}, "has no 'Thing'"),
    ],
)
def test_wrong_names_and_parameters(name, parameters, message):
    with pytest.raises(InputError, match=message):
        registry.resolve(name, parameters)


def test_broken_saved_detectors(rows, tmp_path: Path):
    X, y = rows
    with pytest.raises(InputError, match="no readable detector"):
        registry.load(tmp_path)
    make("autoencoder").fit(X, y).save(tmp_path)
    (tmp_path / "weights.npz").write_bytes(b"PK garbage")
    with pytest.raises(InputError, match="no readable detector"):
        registry.load(tmp_path)
    (tmp_path / "detector.json").write_text("[]")
    with pytest.raises(InputError):
        registry.load(tmp_path)


def test_anogan_searches_equal_rows_once(rows, monkeypatch):
    X, _ = rows
    detector = fitted("anogan")
    searched = []
    scores_of = type(detector)._scores

    def spied(self, X, search):
        return scores_of(self, X, lambda x: searched.append(len(x)) or search(x))

    monkeypatch.setattr(type(detector), "_scores", spied)
    scores = detector.decision_function(X[[4, 2, 4, 9, 2, 4]])
    assert searched == [3]
    assert scores[0] == scores[2] == scores[5]
    assert scores[1] == scores[4]
    np.testing.assert_allclose(scores[[0, 1, 3]], detector.decision_function(X[[4, 2, 9]]))
    assert len({*scores.tolist()}) == 3
