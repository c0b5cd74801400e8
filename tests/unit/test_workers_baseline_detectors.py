"""Baseline detectors: shared where data and rule are the same, bounded, and honest about what is missing."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from harness.datasets.base import load
from harness.record.accuracy import FailedBaseline, FailedBaselines
from harness.runs.accuracy import baselines_record
from harness.runs.engine import key_of
from harness.workers import baseline_detectors
from harness.workers.baseline_detectors import baseline_job, score_baselines
from harness.workers.outcomes import JobResult
from harness.workload.files import load_workload


def job_of(name, protocol="clean", rows=None):
    return baseline_job(load_workload(name), protocol, None, rows, 1)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No data set is found, so stand-ins are used."""
    monkeypatch.setenv("LPARBENCH_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_workloads_on_the_same_data_share_their_baselines():
    assert key_of(job_of("nsl-kdd-mlp")) == key_of(job_of("nsl-kdd-autoencoder"))
    assert key_of(job_of("nsl-kdd-mlp")) != key_of(job_of("nsl-kdd-mlp", "as-published"))
    assert key_of(job_of("nsl-kdd-mlp")) != key_of(job_of("nsl-kdd-mlp", rows=500))


def test_the_rule_that_presumes_the_share_of_anomalies_is_the_workloads_own():
    assert (job_of("kdd99-egbad", "as-published").threshold, job_of("kdd99-egbad", "as-published").contamination) == (
        "flagged_share",
        0.2,
    )
    assert job_of("kdd99-egbad").threshold == "validation"


def test_figures_are_those_of_the_libraries_on_the_rows_drawn(nowhere, monkeypatch):
    monkeypatch.setattr(baseline_detectors, "TRAIN_ROWS", 800)
    monkeypatch.setattr(baseline_detectors, "TEST_ROWS", 600)
    job = job_of("nsl-kdd-mlp", rows=2000)
    outcome = score_baselines(job)
    basis = outcome.basis
    assert (basis.train_rows, basis.of_train_rows) == (800, 1600)
    assert (basis.test_rows, basis.of_test_rows) == (600, 2000)
    by_name = {detector.name: detector for detector in outcome.detectors}
    assert list(by_name) == ["isolation forest", "1-NN distance", "PCA", "gradient boosting"]

    data = load("nsl-kdd", options={"rows": 2000, "encoding": basis.encoding})
    rng = np.random.default_rng(baseline_detectors.SEED)
    train, test = baseline_detectors._drawn(data.train_y, 800, rng), baseline_detectors._drawn(data.test_y, 600, rng)
    X, y = data.train_x[train], data.train_y[train]
    assert abs(y.mean() - data.train_y.mean()) < 1e-3
    distance, _ = NearestNeighbors(n_neighbors=1).fit(X[y == 0]).kneighbors(data.test_x[test])
    expected = roc_auc_score(data.test_y[test], distance[:, 0])
    assert by_name["1-NN distance"].metrics["auc_roc"].mean == pytest.approx(expected, abs=1e-6)
    boosted = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=0).fit(X, y)
    expected = roc_auc_score(data.test_y[test], boosted.decision_function(data.test_x[test]))
    assert by_name["gradient boosting"].metrics["auc_roc"].mean == pytest.approx(expected, abs=1e-6)


def test_a_baseline_that_cannot_be_fitted_says_why_and_takes_no_other_with_it(nowhere):
    outcome = score_baselines(job_of("kdd99-egbad", rows=1500))  # its training rows are all of one kind
    failed = [detector for detector in outcome.detectors if isinstance(detector, FailedBaseline)]
    assert [detector.name for detector in failed] == ["gradient boosting"]
    assert "both kinds" in failed[0].failure
    assert len(outcome.detectors) == 4


def test_a_job_that_died_leaves_its_reason():
    assert baselines_record(JobResult((), "out of memory", None, 1.0)) == FailedBaselines("out of memory")
