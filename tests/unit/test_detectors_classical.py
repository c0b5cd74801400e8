"""The classical references give what the libraries they were fitted with give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors

from harness.detectors import registry
from harness.scoring.forest import Tree, forest_of


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(3)
    y = (generator.random(2000) < 0.2).astype(int)
    X = generator.normal(size=(2000, 8)) + 1.5 * y[:, None]
    X[:, 3] = np.round(X[:, 3])  # ties with thresholds
    return X.astype(np.float32), y


def test_isolation_forest_is_scikit_learns(rows):
    X, y = rows
    ours = registry.resolve("isolation-forest", {"random_state": 4, "n_estimators": 60}).fit(X, y)
    theirs = IsolationForest(n_estimators=60, max_samples=256, random_state=4).fit(X[y == 0])
    np.testing.assert_allclose(ours.decision_function(X), -theirs.score_samples(X), rtol=1e-5)


def test_gradient_boosting_is_scikit_learns(rows):
    X, y = rows
    ours = registry.resolve("gradient-boosting", {"max_iter": 30}).fit(X, y)
    theirs = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0).fit(X, y)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_pca_is_scikit_learns(rows):
    X, y = rows
    ours = registry.resolve("pca", {"n_components": 3}).fit(X, y)
    theirs = PCA(3, svd_solver="full").fit(X[y == 0])
    expected = np.square(X - theirs.inverse_transform(theirs.transform(X))).mean(axis=1)
    np.testing.assert_allclose(ours.decision_function(X), expected, rtol=1e-3, atol=1e-5)


def test_knn_is_scikit_learns(rows):
    X, y = rows
    ours = registry.resolve("knn", {"n_neighbors": 3, "max_samples": 5000}).fit(X, y)
    distances, _ = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(X[y == 0].astype(np.float64)).kneighbors(X)
    np.testing.assert_allclose(ours.decision_function(X), distances[:, -1], rtol=1e-4, atol=1e-5)
    assert ours.decision_function(X[y == 0][:1])[0] > 0  # its own row is nearest, but not third


def test_a_threshold_between_two_floats_sends_rows_the_same_way():
    edge = np.float32(0.1)
    above = float(np.nextafter(edge, np.float32(1)))
    split = (float(edge) + above) / 2  # no float32; rounding to nearest would move it onto one of the two
    for threshold in (split, float(edge), above):
        tree = Tree(
            np.array([0, 0, 0]), np.array([threshold, 0, 0]), np.array([1, -1, -1]), np.array([2, -1, -1]),
            np.array([0.0, 10.0, 20.0]),
        )  # fmt: skip
        X = np.array([[edge], [above]], dtype=np.float32)
        expected = np.where(X[:, 0].astype(np.float64) <= threshold, 10.0, 20.0)
        np.testing.assert_array_equal(forest_of([tree]).sums(X), expected)


def test_neighbours_of_few_rows_are_judged_by_the_others(rows):
    X, y = rows
    normal = X[y == 0][:300]
    detector = registry.resolve("knn", {"n_neighbors": 1, "contamination": 0.1}).fit(normal)
    distances = np.linalg.norm(normal[:, None] - normal[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert detector.threshold_ == pytest.approx(np.percentile(distances.min(axis=1), 90.0), rel=1e-4)
    assert np.isfinite(registry.resolve("knn", {"n_neighbors": 5}).fit(normal[:1]).threshold_)
    assert np.isfinite(registry.resolve("knn", {"n_neighbors": 5}).fit(normal[:5]).threshold_)


def test_gradient_boosting_ranks_rare_anomalies_as_well_as_other_classifiers():
    """35 anomalies of 20,000 rows, each large in some columns; without a penalty on leaves the ROC-AUC is 0.2."""
    generator = np.random.default_rng(0)

    def rare():
        X = generator.standard_t(3, size=(20_000, 28)).astype(np.float32)
        X[:35] += generator.choice([0.0, 1.0], (35, 28)) * generator.gamma(2.0, 1.5, (35, 1))
        return X, np.r_[np.ones(35, int), np.zeros(19_965, int)]

    (X, y), (test_x, test_y) = rare(), rare()
    scores = registry.resolve("gradient-boosting", {"max_iter": 100}).fit(X, y).decision_function(test_x)
    logistic = LogisticRegression(max_iter=500).fit(X, y).predict_proba(test_x)[:, 1]
    assert roc_auc_score(test_y, scores) > roc_auc_score(test_y, logistic) - 0.05
    assert average_precision_score(test_y, scores) > average_precision_score(test_y, logistic) - 0.05
