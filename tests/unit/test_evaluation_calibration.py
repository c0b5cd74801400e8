"""Calibration: weights of a loss taken back, known answers, and a judgement on rows that it was not fitted on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from harness.decode import decode, encode
from harness.evaluation.calibration import Calibration, Isotonic, Platt, calibrate_scores, expected_calibration_error


def sample(n: int, seed: int = 0, shift: float = 0.0, stretch: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model whose true ones were stretched and shifted, and labels."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-1.0, 2.0, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(np.int64)
    return ((true - shift) / stretch).astype(np.float32), y


def test_the_weight_of_the_documents_loss_is_taken_back() -> None:
    weight = 2.79  # of the attacks of CICIDS2017
    scores, y = sample(40_000, shift=-math.log(weight))
    calibration = calibrate_scores(scores, y, logits=True)
    assert calibration is not None
    assert isinstance(calibration.map, Platt)
    assert calibration.map.slope == pytest.approx(1.0, abs=0.04)
    assert calibration.map.intercept == pytest.approx(-1.026, abs=0.06)
    at_half = calibration.probabilities(np.zeros(1))[0]
    assert at_half == pytest.approx(1 / (1 + weight), abs=0.01)  # 0.264
    assert calibration.ece < 0.01
    assert expected_calibration_error(1 / (1 + np.exp(-scores.astype(float))), y) > 0.08


def test_platt_is_the_regression_of_scikit_learn() -> None:
    scores, y = sample(3000, seed=3, shift=4.0, stretch=0.2)
    calibration = calibrate_scores(scores, y, logits=True)
    assert calibration is not None
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(scores[:, None].astype(float), y)
    theirs = fitted.predict_proba(scores[:, None].astype(float))[:, 1]
    np.testing.assert_allclose(calibration.probabilities(scores), theirs, atol=3e-3)  # smoothed labels


def test_other_scores_are_calibrated_by_a_rising_function() -> None:
    scores, y = sample(8000, seed=5)
    errors = np.exp(scores)  # as a reconstruction error: a score without a natural middle
    calibration = calibrate_scores(errors, y, logits=False)
    assert calibration is not None
    assert isinstance(calibration.map, Isotonic)
    assert len(calibration.map.scores) <= 64
    grid = calibration.probabilities(np.sort(errors))
    assert (np.diff(grid) >= 0).all()
    assert 0 < grid[0] < grid[-1] < 1
    theirs = IsotonicRegression(out_of_bounds="clip").fit(errors, y).predict(np.sort(errors))
    assert np.abs(grid - theirs).mean() < 0.01
    assert calibration.ece < 0.03
    assert calibration.brier < np.mean((y - y.mean()) ** 2)


def test_a_calibrated_stream_has_no_calibration_error() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(200_000)
    assert expected_calibration_error(p, (rng.random(200_000) < p).astype(int)) < 0.01
    assert expected_calibration_error(np.full(4, 0.9), np.array([0, 0, 1, 1])) == pytest.approx(0.4, abs=0.2)


def test_too_few_rows_of_a_kind_are_not_fitted() -> None:
    scores, y = sample(500)
    y[:] = 0
    y[:19] = 1
    assert calibrate_scores(scores, y, logits=True) is None


def test_what_separates_perfectly_stays_finite() -> None:
    y = np.repeat([0, 1], 50)
    for logits in (True, False):
        calibration = calibrate_scores(np.where(y == 1, 5.0, -5.0), y, logits=logits)
        assert calibration is not None
        p = calibration.probabilities(np.array([-1e30, -5.0, 5.0, 1e30]))
        assert np.isfinite(p).all()
        assert p[1] < 0.05 < 0.95 < p[2]


@pytest.mark.parametrize("logits", [True, False])
def test_a_bundle_holds_it_to_the_bit(logits: bool) -> None:
    calibration = calibrate_scores(*sample(400), logits=logits)
    assert decode(Calibration, encode(calibration), "manifest") == calibration
