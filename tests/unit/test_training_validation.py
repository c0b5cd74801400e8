"""Metrics of the validation rows after each epoch: the same training with and without, and what they are."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from harness.detectors.base import Detector
from harness.detectors.ft_transformer import FTTransformer
from harness.detectors.registry import resolve
from harness.detectors.replicated import fit_together
from harness.training.context import FitContext
from harness.training.validation import validation_metrics

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def _rows(seed: int, count: int = 48) -> Rows:
    source = np.random.default_rng(seed)
    labels = (source.random(count) < 0.25).astype(np.int64)
    return (source.normal(0, 1, (count, 6)) + 0.8 * labels[:, None]).astype(np.float32), labels


def _of_last(detector: Detector, rows: Rows) -> dict[str, float]:
    scores = detector.decision_function(rows[0])
    return {"auc_pr": average_precision_score(rows[1], scores), "auc_roc": roc_auc_score(rows[1], scores)}


def _transformer(context: FitContext) -> FTTransformer:
    detector = FTTransformer(epochs=2, batch_size=24)
    detector.fit(*_rows(1), context=context)
    return detector


def test_a_transformer_trains_the_same_and_has_its_metrics() -> None:
    other = _rows(2)
    looked, blind = _transformer(FitContext(*other)), _transformer(FitContext())
    np.testing.assert_array_equal(looked.decision_function(other[0]), blind.decision_function(other[0]))
    first, *finetuning = looked.history_
    assert first.validation == {}  # before the labels, a score means nothing
    assert finetuning[-1].validation == pytest.approx(_of_last(looked, other))
    assert all(epoch.validation == {} for epoch in blind.history_)
    anomalies = int(_rows(1)[1].sum())
    assert looked.class_weights_ == pytest.approx((24 / (48 - anomalies), 24 / anomalies))


def test_a_classifier_keeps_the_epoch_of_the_highest_that_it_reports() -> None:
    other = _rows(2)
    detector = resolve("autoencoder-classifier", {"epochs": 5, "batch_size": 32})
    detector.fit(*_rows(1), context=FitContext(*other))
    reported = [epoch.validation["auc_pr"] for epoch in detector.history_ if epoch.validation]
    assert len(reported) == 5  # the epochs before them learn without labels
    assert len(set(reported)) > 1
    assert max(reported) == pytest.approx(_of_last(detector, other)["auc_pr"])


@pytest.mark.parametrize("kind", [0, 1])
def test_rows_of_one_kind_have_what_can_be_said_of_them(kind: int) -> None:
    rows, labels = _rows(2)
    detector = _transformer(FitContext(rows, np.full_like(labels, kind)))
    mean = float(detector.decision_function(rows).mean())
    expected = {"auc_pr": 1.0} if kind else {"mean_normal_score": pytest.approx(mean)}
    assert detector.history_[-1].validation == expected


def test_scores_that_are_not_finite_end_no_training() -> None:
    assert validation_metrics(np.array([0.0, np.nan], np.float32), np.array([0, 1])) == {}


BOOSTED = [("gradient-boosting", {"max_iter": 7}), ("xgboost", {"n_estimators": 7})]


@pytest.mark.parametrize(("name", "parameters"), BOOSTED)
def test_each_round_of_a_boosting_is_an_epoch(name: str, parameters: dict[str, int]) -> None:
    train, other = _rows(1, 200), _rows(2, 300)

    def fitted(context: FitContext, **others: int) -> Detector:
        return resolve(name, {**parameters, **others}).fit(*train, context=context)

    looked, blind = fitted(FitContext(*other)), fitted(FitContext())
    np.testing.assert_array_equal(looked.decision_function(other[0]), blind.decision_function(other[0]))
    assert [epoch.steps for epoch in looked.history_] == [0] * 7
    for count in (3, 7):  # a model of so many trees is what the rounds up to there have made
        (known,) = [{name: count} for name in parameters]
        shorter = fitted(FitContext(), **known)
        assert looked.history_[count - 1].validation == pytest.approx(_of_last(shorter, other))
    scores, labels = looked.decision_function(train[0]).astype(float), train[1]
    weights = np.where(labels == 1, 1.0 if name == "gradient-boosting" else looked.class_weights_[1], 1.0)
    loss = np.average(np.logaddexp(0.0, np.where(labels == 1, -scores, scores)), weights=weights)
    assert looked.history_[-1].loss == pytest.approx(loss, rel=1e-5)
    assert fitted(FitContext(on_steps=lambda _: True)).history_ == ()
    pair = [resolve(name, parameters), resolve(name, {**parameters, "random_state": 1})]
    fit_together(pair, *train, context=FitContext(*other))
    assert [len(each.history_) for each in pair] == [7, 0], "a record has the curves of the first seed"


def test_looking_at_validation_rows_takes_no_part_in_the_time_of_a_pass() -> None:
    rows, labels = _rows(2, 200)
    epochs = _transformer(FitContext(rows, labels)).history_
    assert [epoch.validation_s > 0 for epoch in epochs] == [False, True, True]
    assert all(epoch.validation_s == 0 for epoch in _transformer(FitContext()).history_)


SMALL = {"latent": 4, "learning_rate": 1e-3, "ema_decay": 0.5, "batch_size": 16}
WATCHED = [
    ("autoencoder", {"hidden": (4, 2), "batch_size": 16}, "torch", None),
    ("autoencoder", {"hidden": (4, 2), "batch_size": 16}, "native", None),
    ("mlp", {"hidden": (4,), "batch_size": 16}, "torch", None),
    ("mlp", {"hidden": (4,), "batch_size": 16}, "native", None),
    ("vae", {"hidden": (4,), "latent": 2, "batch_size": 16, "awareness_epochs": 1, "anomalies": 5}, "torch", None),
    ("vae", {"hidden": (4,), "latent": 2, "batch_size": 16}, "native", None),
    ("dsebm", {"hidden": (4,), "batch_size": 16}, "torch", None),
    ("dagmm", {"batch_size": 16}, "torch", None),
    ("alad", SMALL, "torch", None),
    ("egbad", SMALL, "torch", None),
    ("anogan", {**SMALL, "search_steps": 3}, "torch", None),
    ("anogan", {**SMALL, "search_steps": 3}, "native", None),
    ("egbad-images", {"latent": 4, "batch_size": 8}, "torch", 64),
]


@pytest.mark.parametrize(("name", "parameters", "trainer", "width"), WATCHED)
def test_a_detector_of_normal_rows_trains_the_same_when_it_is_watched(
    name: str, parameters: dict[str, Any], trainer: Literal["torch", "native"], width: int | None
) -> None:
    train, other = ((np.tanh(np.tile(rows, (1, 11)))[:, : width or 6], y) for rows, y in (_rows(1), _rows(2)))

    def fitted(context: FitContext) -> Detector:
        detector = resolve(name, {"epochs": 2, "random_state": 5, **parameters})
        return detector.fit(*train, context=context)

    looked, blind = fitted(FitContext(*other, trainer=trainer)), fitted(FitContext(trainer=trainer))
    np.testing.assert_array_equal(looked.decision_function(other[0]), blind.decision_function(other[0]))
    assert len(looked.history_) == 2 + int(parameters.get("awareness_epochs", 0))
    assert all(set(epoch.validation) == {"auc_pr", "auc_roc"} for epoch in looked.history_)
    assert looked.history_[-1].validation == pytest.approx(_of_last(looked, other), abs=1e-9)
    assert all(epoch.validation == {} for epoch in blind.history_)


def test_a_search_for_each_row_is_made_for_few_after_each_epoch() -> None:
    detector = resolve("anogan", {**SMALL, "epochs": 1, "random_state": 5, "search_steps": 2})
    rows, labels = _rows(2, 600)
    detector.fit(*_rows(1), context=FitContext(rows, labels))
    assert detector.history_[-1].validation == pytest.approx(_of_last(detector, (rows[::3], labels[::3])))
