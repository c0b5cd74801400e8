"""Fraud detectors: the document's sizes and loss, streams that equal windows, trees that equal their library's."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.metrics import roc_auc_score

from harness.detectors import registry
from harness.detectors.export import prepare
from harness.detectors.fraud_ensemble import FraudEnsemble
from harness.detectors.lstm import LSTM
from harness.detectors.lstm_net import focal_loss
from harness.detectors.opening import open_scorer
from harness.detectors.streaming import CardStream
from harness.detectors.xgb import XGBoost
from harness.errors import InputError
from harness.linalg import native
from harness.scoring.agreement import agreement
from harness.training.context import FitContext

STEPS, FEATURES = 5, 9
STREAM_BACKENDS = ("eager",) if native.extension is None else ("native", "eager")


@pytest.fixture(scope="module")
def windows() -> tuple[np.ndarray, np.ndarray]:
    """Windows whose label is told by a jump between the last two steps and by one feature of the last."""
    generator = np.random.default_rng(11)
    X = generator.normal(size=(1200, STEPS, FEATURES)).astype(np.float32)
    y = (generator.random(1200) < 0.15).astype(np.int64)
    X[y == 1, -1, :2] += 2.5
    return X, y


@pytest.fixture(scope="module")
def lstm(windows) -> LSTM:
    return LSTM(random_state=2, hidden=(12, 6), epochs=4, learning_rate=1e-2, batch_size=64).fit(*windows)


def test_has_the_documents_number_of_parameters():
    detector = LSTM()
    detector.build(80, 7)
    trained = sum(one.numel() for one in detector.net_.parameters() if one.requires_grad)
    assert trained == 156_481


def test_the_second_bias_stays_zero(lstm):
    for layer in lstm.net_.recurrent:
        assert not layer.bias_hh_l0.any()


def test_focal_loss_is_the_formula_of_its_paper():
    logits = torch.linspace(-6, 6, 40, dtype=torch.float64)
    y = (torch.arange(40) % 3 == 0).double()
    p = torch.sigmoid(logits)
    p_t = torch.where(y > 0.5, p, 1 - p)
    alpha_t = torch.where(y > 0.5, 0.9, 0.1)
    expected = (-alpha_t * (1 - p_t) ** 3 * torch.log(p_t)).mean()
    torch.testing.assert_close(focal_loss(logits, y, 3.0, 0.9), expected)


@pytest.mark.parametrize("backend", STREAM_BACKENDS)
def test_a_stream_scores_what_the_windows_score(lstm, backend):
    generator = np.random.default_rng(5)
    transactions = {card: generator.normal(size=(n, FEATURES)).astype(np.float32) for card, n in enumerate((23, 4, 11))}
    order = generator.permutation(np.repeat([0, 1, 2], [23, 4, 11]))
    stream = CardStream(lstm, backend)
    at = dict.fromkeys(transactions, 0)
    scores: dict[int, list[float]] = {card: [] for card in transactions}
    for start in range(0, len(order), 6):  # batches in which a card comes more than once
        part = order[start : start + 6].tolist()
        rows = []
        for card in part:
            rows.append(transactions[card][at[card]])
            at[card] += 1
        for card, score in zip(part, stream.score(part, np.stack(rows)), strict=True):
            scores[card].append(float(score))
    for card, rows in transactions.items():
        assert np.isnan(scores[card][: STEPS - 1]).all()
        whole = scores[card][STEPS - 1 :]
        if len(rows) >= STEPS:
            expected = lstm.decision_function(sliding_window_view(rows, STEPS, axis=0).transpose(0, 2, 1))
            found = agreement(expected, np.array(whole, dtype=np.float32))
            assert found.within, found.sentence()
        else:
            assert whole == []


# by torch every open window of a card; natively all but the oldest, its units rounded up to 16
@pytest.mark.parametrize(
    ("backend", "floats"), [("eager", STEPS * 2 * (12 + 6)), ("native", (STEPS - 1) * 2 * (16 + 16))]
)
def test_a_stream_takes_any_card_name_and_refuses_other_rows(lstm, backend, floats):
    if backend not in STREAM_BACKENDS:
        pytest.skip("the native kernels are not built")
    stream = CardStream(lstm, backend)
    assert np.isnan(stream.score([("user 3", 1)], np.zeros((1, FEATURES), np.float32))).all()
    assert stream.bytes_per_card == 4 * floats
    with pytest.raises(InputError, match="shape"):
        stream.score(["a"], np.zeros((1, FEATURES + 1), np.float32))
    with pytest.raises(InputError, match="not fitted"):
        CardStream(LSTM())


def test_trees_score_what_xgboost_scores(windows):
    xgboost = pytest.importorskip("xgboost")
    X, y = windows[0][:, -1], windows[1]
    ours = XGBoost(n_estimators=25, random_state=4).fit(X, y)
    assert ours.grown_by_.startswith("xgboost ")
    settings = {
        "objective": "binary:logistic", "tree_method": "hist", "max_depth": 6, "eta": 0.05, "subsample": 0.9,
        "colsample_bytree": 0.9, "scale_pos_weight": (y == 0).sum() / (y == 1).sum(), "seed": 4, "base_score": 0.5,
    }  # fmt: skip
    theirs = xgboost.train(settings, xgboost.DMatrix(X, label=y), num_boost_round=25)
    margins = theirs.predict(xgboost.DMatrix(X), output_margin=True)
    np.testing.assert_allclose(ours.decision_function(X), margins, rtol=1e-5, atol=1e-5)


def test_the_stand_in_for_xgboost_is_named(windows, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    X, y = windows
    detector = XGBoost(n_estimators=25).fit(X[:800], y[:800])
    assert "HistGradientBoosting" in detector.grown_by_
    assert roc_auc_score(y[800:], detector.decision_function(X[800:])) > 0.9
    again = XGBoost(n_estimators=25)
    again.take_shape(FEATURES)
    again.restore(detector.state())
    assert again.grown_by_ == detector.grown_by_


def test_the_ensemble_is_the_mean_of_the_two_probabilities(windows):
    X, y = windows
    quick = {"random_state": 2, "hidden": (12, 6), "epochs": 4, "learning_rate": 1e-2, "batch_size": 64}
    ensemble = FraudEnsemble(n_estimators=25, **quick).fit(X, y)
    alone = LSTM(**quick).fit(X, y)
    trees = XGBoost(random_state=2, n_estimators=25).fit(X[:, -1], y)
    probabilities = [1 / (1 + np.exp(-one.astype(np.float64))) for one in
                     (alone.decision_function(X), trees.decision_function(X[:, -1]))]  # fmt: skip
    np.testing.assert_allclose(ensemble.decision_function(X), np.mean(probabilities, axis=0), atol=1e-6)
    assert ensemble.threshold_ == 0.5


@pytest.mark.parametrize("name", ["lstm", "xgboost", "fraud-ensemble"])
def test_windows_score_the_same_on_other_backends_and_after_loading(windows, name, tmp_path):
    quick = {
        "xgboost": {"n_estimators": 10},
        "lstm": {"epochs": 1},
        "fraud-ensemble": {"epochs": 1, "n_estimators": 10},
    }
    X, y = windows
    detector = registry.resolve(name, quick[name]).fit(X[:300], y[:300])
    backends = prepare(detector, tmp_path).backends
    assert ("native" in backends) == (native.missing() is None)
    seen = detector.view(X)
    for backend, threads in (("onnxruntime", 1), *(("native", threads) for threads in (1, 2) if "native" in backends)):
        scorer = open_scorer(tmp_path, backend, threads=threads)
        for batch in (1, 7, 600):
            found = agreement(detector.decision_function(X[:batch]), scorer.score(seen[:batch]))
            assert found.within, found.sentence()
    np.testing.assert_array_equal(registry.load(tmp_path).decision_function(X), detector.decision_function(X))
    assert registry.load(tmp_path).remarks() == detector.remarks()


@pytest.mark.parametrize("rule", ["validation", "cost", "recall"])
def test_thresholds_of_the_document_come_from_validation_labels(windows, rule):
    X, y = windows
    context = FitContext(X_val=X[800:], y_val=y[800:])
    detector = XGBoost(n_estimators=25, threshold=rule, missed_cost=10.0, target_recall=0.7)
    detector.fit(X[:800], y[:800], context=context)
    flagged = detector.predict(X[800:])
    if rule == "recall":
        recall = flagged[y[800:] == 1].mean()
        assert 0.7 <= recall < 0.75
    assert "validation labels" in detector.threshold_rule_
