"""Gradient-boosted trees: the supervised classical baseline, grown by scikit-learn and kept as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector, as_training_rows, both_kinds
from harness.detectors.isolation_forest import FOREST
from harness.evaluation.thresholds import Threshold
from harness.scoring import program as programs
from harness.scoring.forest import Forest, Tree, forest_of
from harness.training.context import FitContext, Labels, Matrix

RARE = 0.05  # share of anomalies below which leaves are penalised


@dataclass
class BoostedTrees(Detector):
    """A detector whose score is a logit: the sum of trees and a prior."""

    dense: ClassVar[bool] = False

    _forest = cast("Forest | None", None)
    _baseline = 0.0

    def program(self) -> programs.Program:
        """The sum of the trees and the prior."""
        builder = programs.Builder(self.n_features_in_)
        return builder.finish(self.logit(builder))

    def logit(self, builder: programs.Builder) -> str:
        """The steps of the logit, written into ``builder``; the value's name."""
        assert self._forest is not None
        return builder.with_constant("add", builder.trees(programs.ROWS, self._forest), self._baseline)

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

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:  # noqa: ARG002
        """Boost on labelled rows."""
        rows, labels = as_training_rows(X, y, self.name)
        labels = both_kinds(labels, self.name)
        penalty = self.l2_regularization
        if penalty is None:
            penalty = 1.0 if labels.mean() < RARE else 0.0
        self._forest, self._baseline = boosted_forest(
            rows, labels, max_iter=self.max_iter, max_leaf_nodes=self.max_leaf_nodes,
            learning_rate=self.learning_rate, l2_regularization=penalty, random_state=self.random_state,
        )  # fmt: skip
        self.take_shape(rows.shape[1])
        self.take_threshold(Threshold(0.0, "probability 0.5 (a logit of 0)"))
        return self


def boosted_forest(
    rows: Matrix, labels: Labels, *, weights: NDArray[np.float64] | None = None, **settings: Any
) -> tuple[Forest, float]:
    """Trees and prior logit of scikit-learn's histogram gradient boosting; ``settings`` are its constructor's."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    grown = HistGradientBoostingClassifier(early_stopping=False, **settings).fit(rows, labels, sample_weight=weights)
    trees = [_tree(predictors[0].nodes) for predictors in grown._predictors]
    return forest_of(trees), float(np.ravel(grown._baseline_prediction)[0])


def _tree(nodes: NDArray[Any]) -> Tree:
    """scikit-learn's record array of nodes; there are neither missing values nor categories in encoded rows."""
    leaf = nodes["is_leaf"].astype(bool)
    left = np.where(leaf, -1, nodes["left"].astype(np.int64))
    right = np.where(leaf, -1, nodes["right"].astype(np.int64))
    return Tree(nodes["feature_idx"], nodes["num_threshold"], left, right, nodes["value"])
