"""Gradient-boosted trees: the supervised classical baseline, grown by scikit-learn and kept as plain arrays."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows, Rows
from harness.detectors.base import Detector, as_rows_or_codes, both_kinds
from harness.detectors.isolation_forest import FOREST
from harness.evaluation.thresholds import Threshold
from harness.record.accuracy import EpochUnit
from harness.scoring import program as programs
from harness.scoring.builder import Builder
from harness.scoring.forest import Forest, Tree, forest_of
from harness.training.context import FitContext, Labels, Matrix

RARE = 0.05  # share of anomalies below which leaves are penalised
LEAF = 20  # rows of a leaf at least, as in scikit-learn: an indicator that fewer rows have parts nothing


@dataclass
class BoostedTrees(Detector):
    """A detector whose score is a logit: the sum of trees and a prior."""

    dense: ClassVar[bool] = False
    epoch_unit: ClassVar[EpochUnit] = "boosting round"

    _forest = cast("Forest | None", None)
    _baseline = 0.0

    def program(self) -> programs.Program:
        """The sum of the trees and the prior."""
        builder = Builder(self.n_features_in_)
        return builder.finish(self.logit(builder))

    def logit(self, builder: Builder, rows: str = programs.ROWS) -> str:
        """The steps of the logit of the value ``rows``, written into ``builder``; the value's name."""
        assert self._forest is not None
        return builder.with_constant("add", builder.trees(rows, self._forest), self._baseline)

    def take_rounds(
        self, X: Rows, y: Labels, context: FitContext | None, *, started: float, positive_weight: float = 1.0
    ) -> None:
        """Take note of what each round made of ``X`` and of validation rows; ``started`` is when the fit did."""
        from harness.detectors.boosting_rounds import rounds_of

        assert self._forest is not None
        context, seconds = context or FitContext(), time.perf_counter() - started
        if context.charted and not context.only_timed:
            self.history_ = rounds_of(
                self._forest, self._baseline, (X, y), context, positive_weight=positive_weight, seconds=seconds
            )

    def state(self) -> dict[str, NDArray[Any]]:
        """The trees and the prior."""
        assert self._forest is not None
        return {**dict(zip(FOREST, self._forest.arrays(), strict=True)), "baseline": np.array(self._baseline)}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over the trees."""
        self._forest = Forest(*(state[name] for name in FOREST))
        self._baseline = float(state["baseline"])


@dataclass
class GradientBoosting(BoostedTrees):
    """Histogram gradient boosting; score is the logit, threshold its zero (probability 0.5).

    Args:
        max_iter: int >= 1, default 100. Trees.
        max_leaf_nodes: int >= 2, or None for no bound; default 31. Leaves of a tree.
        learning_rate: float > 0, default 0.1. Share of each tree that is added.
        l2_regularization: float >= 0, or None: 0 as in scikit-learn, and 1 as XGBoost's ``lambda`` where fewer than 5 %
            of the rows are anomalies. A leaf's step is gradient / hessian; at 0.1 % the hessian of a leaf that holds a
            few anomalies is close to 0, and without a penalty boosting diverges.
    """

    name: ClassVar[str] = "gradient-boosting"
    libraries: ClassVar[tuple[str, ...]] = ("sklearn.ensemble",)
    supervised: ClassVar[bool] = True

    max_iter: int = 100
    max_leaf_nodes: int | None = 31
    learning_rate: float = 0.1
    l2_regularization: float | None = None

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Boost on labelled rows."""
        started = time.perf_counter()
        learnt, labels = as_rows_or_codes(X, y, self.name)
        labels = both_kinds(labels, self.name)
        penalty = self.l2_regularization
        if penalty is None:
            penalty = 1.0 if labels.mean() < RARE else 0.0
        rows: Any = learnt
        features: NDArray[np.int64] | None = None
        if isinstance(learnt, CodedRows):
            features = _splittable(learnt)
            rows = _matrix(learnt, features)
        self._forest, self._baseline = boosted_forest(
            rows, labels, features=features, max_iter=self.max_iter, max_leaf_nodes=self.max_leaf_nodes,
            learning_rate=self.learning_rate, l2_regularization=penalty, random_state=self.random_state,
            min_samples_leaf=LEAF,
        )  # fmt: skip
        self.take_shape(learnt.shape[1])
        self.take_threshold(Threshold(0.0, "probability 0.5 (a logit of 0)"))
        self.take_rounds(learnt, labels, context, started=started)
        return self

    def fit_bytes(self, X: CodedRows) -> int:
        """Of the matrix as float64, which scikit-learn works on, and of its bins."""
        return 9 * len(X) * len(_splittable(X))


def _splittable(rows: CodedRows) -> NDArray[np.int64]:
    """The features that can part the rows into two leaves: numbers, and indicators that enough rows have and lack."""
    counts = rows.rows_with()
    indicators = np.ones(rows.shape[1], np.bool_)
    indicators[rows.layout.numeric] = False
    chosen = np.flatnonzero(~indicators | ((counts >= LEAF) & (counts <= len(rows) - LEAF)))
    return chosen if len(chosen) else np.zeros(1, np.int64)


def _matrix(rows: CodedRows, features: NDArray[np.int64]) -> NDArray[np.float64]:
    """Those features of all rows, column by column, in the one copy that scikit-learn then needs."""
    matrix = np.empty((len(rows), len(features)), np.float64, order="F")
    at = 0
    for block in rows.columns(features):
        matrix[:, at : at + block.shape[1]] = block
        at += block.shape[1]
    return matrix


def boosted_forest(
    rows: Matrix | NDArray[np.float64],
    labels: Labels,
    *,
    weights: NDArray[np.float64] | None = None,
    features: NDArray[np.int64] | None = None,
    **settings: Any,
) -> tuple[Forest, float]:
    """Trees and prior logit of scikit-learn's histogram gradient boosting; ``settings`` are its constructor's.

    ``features`` says which those of ``rows`` are, where these lack some.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    grown = HistGradientBoostingClassifier(early_stopping=False, **settings).fit(rows, labels, sample_weight=weights)
    trees = [_tree(predictors[0].nodes, features) for predictors in grown._predictors]
    return forest_of(trees), float(np.ravel(grown._baseline_prediction)[0])


def _tree(nodes: NDArray[Any], features: NDArray[np.int64] | None) -> Tree:
    """scikit-learn's record array of nodes; there are neither missing values nor categories in encoded rows."""
    leaf = nodes["is_leaf"].astype(bool)
    left = np.where(leaf, -1, nodes["left"].astype(np.int64))
    right = np.where(leaf, -1, nodes["right"].astype(np.int64))
    feature = nodes["feature_idx"] if features is None else np.where(leaf, 0, features[nodes["feature_idx"]])
    return Tree(feature, nodes["num_threshold"], left, right, nodes["value"])
