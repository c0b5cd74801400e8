"""PyOD, scikit-learn and duck-typed classes work by ``module:Class``, with scores that grow with anomaly."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from harness.detectors import registry
from harness.errors import InputError


class OwnDistance:
    """A user's class: no base class, no constructor parameters."""

    def fit(self, X, y=None):
        self.centre = np.mean(X, axis=0)
        return self

    def decision_function(self, X):
        return np.linalg.norm(X - self.centre, axis=1)


class WrongShape(OwnDistance):
    def decision_function(self, X):
        return np.zeros((len(X), 2))


class Raises(OwnDistance):
    def fit(self, X, y=None):
        raise ZeroDivisionError("inside")


class NotFinite(OwnDistance):
    def decision_function(self, X):
        return np.full(len(X), np.nan)


class NoScore:
    def fit(self, X):
        return self


def build_own():
    return OwnDistance()


@pytest.fixture(autouse=True)
def own_module(monkeypatch):
    module = types.ModuleType("own_detectors")
    module.__file__ = __file__
    for item in (OwnDistance, WrongShape, Raises, NotFinite, NoScore, build_own):
        setattr(module, item.__name__, item)
    module.CONSTANT = 3
    monkeypatch.setitem(sys.modules, "own_detectors", module)


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(11)
    y = (generator.random(900) < 0.2).astype(int)
    X = generator.normal(size=(900, 6)) + 4.0 * y[:, None] * generator.choice([-1, 1], size=(900, 6))
    return X.astype(np.float32), y


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("own_detectors:OwnDistance", {}),
        ("own_detectors:build_own", {}),
        ("sklearn.ensemble:IsolationForest", {"n_estimators": 50}),
        ("sklearn.neighbors:LocalOutlierFactor", {}),
        ("sklearn.svm:OneClassSVM", {"nu": 0.05}),
        ("sklearn.mixture:GaussianMixture", {"n_components": 2}),
        ("sklearn.neighbors:KernelDensity", {}),
        ("sklearn.ensemble:HistGradientBoostingClassifier", {"max_iter": 20}),
        ("sklearn.ensemble:ExtraTreesClassifier", {"n_estimators": 20}),
    ],
)
def test_scores_point_up_and_survive_saving(path, parameters, rows, tmp_path):
    X, y = rows
    detector = registry.resolve(path, {**parameters, "random_state": 5}).fit(X[:600], y[:600])
    scores = detector.decision_function(X[600:])
    assert roc_auc_score(y[600:], scores) > 0.95
    assert scores.dtype == np.float32
    assert np.isfinite(detector.threshold_)
    detector.save(tmp_path)
    np.testing.assert_array_equal(registry.load(tmp_path).decision_function(X[600:]), scores)


@pytest.mark.parametrize("path", ["pyod.models.iforest:IForest", "pyod.models.knn:KNN", "pyod.models.ecod:ECOD"])
def test_pyod_works_as_it_is(path, rows):
    pytest.importorskip("pyod", reason="pyod is not installed")
    X, y = rows
    detector = registry.resolve(path).fit(X[:600], y[:600])
    assert roc_auc_score(y[600:], detector.decision_function(X[600:])) > 0.9
    assert "threshold_" in detector.threshold_rule_
    np.testing.assert_array_equal(detector.predict(X[600:]), detector.estimator.predict(X[600:]))


def test_isolation_forest_agrees_with_its_own_predict(rows):
    X, y = rows
    detector = registry.resolve("sklearn.ensemble:IsolationForest", {"contamination": 0.1}).fit(X, y)
    np.testing.assert_array_equal(detector.predict(X), (detector.estimator.predict(X) == -1).astype(int))


@pytest.mark.parametrize(
    ("path", "parameters", "message"),
    [
        ("own_detectors:CONSTANT", {}, "cannot be called"),
        ("own_detectors:NoScore", {}, "gives no score"),
        ("own_detectors:OwnDistance", {"depth": 3}, "unknown parameter 'depth'"),
        ("fractions:Fraction", {}, "no fit method"),
    ],
)
def test_unusable_objects_are_refused(path, parameters, message):
    with pytest.raises(InputError, match=message):
        registry.resolve(path, parameters)


def test_classifier_without_probabilities_uses_its_decision_function(rows):
    X, y = rows
    shifted = X + 3.0 * y[:, None]  # separable by a plane
    detector = registry.resolve("sklearn.svm:LinearSVC").fit(shifted, y)
    np.testing.assert_array_equal(detector.predict(shifted), detector.estimator.predict(shifted))


def test_failures_inside_name_the_object(rows):
    X, y = rows
    with pytest.raises(
        InputError,
        match=r"Raises failed while fitting: ZeroDivisionError: inside \(test_detectors_foreign.py line \d+\)",
    ):
        registry.resolve("own_detectors:Raises").fit(X, y)
    for path, message in (("WrongShape", "one per row"), ("NotFinite", "not finite")):
        with pytest.raises(InputError, match=message):
            registry.resolve(f"own_detectors:{path}").fit(X, y).decision_function(X)
    with pytest.raises(InputError, match="needs labels"):
        registry.resolve("sklearn.svm:LinearSVC").fit(X)
