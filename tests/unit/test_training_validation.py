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
from harness.training.context import FitContext

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
def test_rows_of_one_kind_have_no_curve_or_a_part_of_it(kind: int) -> None:
    rows, labels = _rows(2)
    detector = _transformer(FitContext(rows, np.full_like(labels, kind)))
    assert set(detector.history_[-1].validation) == ({"auc_pr"} if kind else set())


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
