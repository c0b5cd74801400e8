"""Warnings about data on which accuracy is worth less than it looks, and about scores that point the wrong way."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from harness.datasets.suspicions import suspicions
from harness.datasets.table import Table, categorical_of
from harness.evaluation.bootstrap import roc_auc_interval

_ROWS = 400
_LABEL = (np.arange(_ROWS) % 10 == 0).astype(np.int8)


def _tables(**columns: Any) -> tuple[Table, Table]:
    """Three quarters of the rows to train and one to test, with a column of noise besides those given."""
    rng = np.random.default_rng(1)
    order = rng.permutation(_ROWS)
    frame = pd.DataFrame({"noise": rng.normal(size=_ROWS), **columns}).iloc[order].reset_index(drop=True)
    whole = Table(frame, _LABEL[order])
    return whole.take(np.arange(300)), whole.take(np.arange(300, _ROWS))


_RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        pytest.param(_LABEL.astype(float), "Column 'x' (ROC-AUC 1.000) alone separates the labels", id="the-label"),
        pytest.param(7.0 - _LABEL + _RNG.random(_ROWS) / 9, "alone separates the labels", id="its-opposite"),
        pytest.param(
            categorical_of([("ok", "alarm")[kind] for kind in _LABEL]), "alone separates the labels", id="categories"
        ),
        pytest.param(np.arange(_ROWS, dtype=float), "Column 'x' numbers the rows", id="index"),
        pytest.param(np.arange(_ROWS, 0, -1.0) + 10_000, "Column 'x' numbers the rows", id="index-falling"),
        pytest.param(_RNG.normal(size=_ROWS) + 2 * _LABEL, None, id="a-good-feature"),
        pytest.param(_RNG.permutation(_ROWS * 50)[:_ROWS].astype(float), None, id="ports"),
        pytest.param(categorical_of([f"name {row}" for row in range(_ROWS)]), None, id="names"),
        pytest.param(np.full(_ROWS, np.nan), None, id="missing"),
        pytest.param(np.zeros(_ROWS), None, id="constant"),
    ],
)
def test_columns(values: Any, warned: str | None) -> None:
    found = suspicions(*_tables(x=values))
    assert [warned in text for text in found] == [True] if warned is not None else found == ()


def test_labels_that_contradict_each_other_and_rows_on_both_sides() -> None:
    label = np.array([0, 0, 0, 1, 1, 0] * 10, dtype=np.int8)
    train = Table(pd.DataFrame({"a": np.arange(60.0) % 30, "b": 1.5}), label)
    assert suspicions(train.take(label == 0), train.take(label == 1).take(np.arange(0)))[:1] == ()
    test = Table(pd.DataFrame({"a": [3.0, 4.0, 500.0, 501.0], "b": 1.5}), np.array([0, 1, 0, 1], dtype=np.int8))
    contradictory, shared = suspicions(train, test)
    assert contradictory.startswith("3 of 64 rows have a twin with equal features and the other label")
    assert shared.startswith("2 of 4 test rows (50 %) equal a training row")


@pytest.mark.parametrize(("shift", "turned"), [(-1.0, True), (0.0, False), (1.0, False)])
def test_the_interval_of_the_area_holds_what_resampling_gives(shift: float, turned: bool) -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    y = (np.arange(600) < 60).astype(np.int64)
    scores = np.round(rng.normal(size=600) + shift * y, 1)  # with ties
    interval = roc_auc_interval(scores, y)
    assert interval is not None
    resampled = []
    for _ in range(400):
        rows = np.concatenate([rng.integers(0, 60, 60), rng.integers(60, 600, 540)])
        resampled.append(roc_auc_score(y[rows], scores[rows]))
    assert interval == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=0.02)
    assert (interval[1] < 0.5) == turned


def test_intervals_at_the_edges() -> None:
    y = np.array([0] * 20 + [1] * 10)
    low, high = roc_auc_interval(-y.astype(float), y) or (1.0, 1.0)
    assert 0 <= low <= high < 0.5
    low, high = roc_auc_interval(y.astype(float), y) or (0.0, 0.0)
    assert 0.5 < low <= high <= 1
    constant: npt.NDArray[np.float64] = np.zeros(30)
    low, high = roc_auc_interval(constant, y) or (0.0, 0.0)
    assert low <= 0.5 <= high
    assert roc_auc_interval(constant[:24], y[:24]) is None
