"""XGBoost on the last transaction of a window; grown by the library, kept and scored as plain arrays.

Where the library is not installed, scikit-learn's histogram gradient boosting stands in and `XGBoost.grown_by_`
says so.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector, as_training_rows, both_kinds
from harness.detectors.classifier import Classifier
from harness.detectors.gradient_boosting import BoostedTrees, boosted_forest
from harness.scoring.forest import Tree, forest_of
from harness.training.context import FitContext, Labels, Matrix


@dataclass
class XGBoost(BoostedTrees, Classifier):
    """Score is the logit. Defaults are the source document's; positives weigh as much as all negatives together.

    Args:
        n_estimators: int >= 1, default 600. Trees.
        max_depth: int >= 1, default 6. Depth of a tree.
        learning_rate: float > 0, default 0.05. Share of each tree that is added.
        subsample: float in (0, 1], default 0.9. Share of the rows each tree is grown on.
        colsample_bytree: float in (0, 1], default 0.9. Share of the features each tree may use.
    """

    name: ClassVar[str] = "xgboost"
    libraries: ClassVar[tuple[str, ...]] = ("xgboost",)

    n_estimators: int = 600
    max_depth: int = 6
    learning_rate: float = 0.05
    subsample: float = 0.9
    colsample_bytree: float = 0.9

    grown_by_ = ""

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Boost on labelled rows."""
        started = time.perf_counter()
        rows, labels = as_training_rows(X, y, self.name)
        labels = both_kinds(labels, self.name)
        self.take_shape(rows.shape[1])
        positive_weight = float((labels == 0).sum() / (labels == 1).sum())
        try:
            import xgboost
        except ImportError:
            self.grown_by_ = "scikit-learn HistGradientBoosting (xgboost is not installed)"
            weights = np.where(labels == 1, positive_weight, 1.0)
            self._forest, self._baseline = boosted_forest(
                rows, labels, weights=weights, max_iter=self.n_estimators, max_leaf_nodes=None,
                max_depth=self.max_depth, learning_rate=self.learning_rate, max_features=self.colsample_bytree,
                l2_regularization=1.0, random_state=self.random_state,
            )  # fmt: skip
        else:
            self.grown_by_ = f"xgboost {xgboost.__version__}"
            self._grow(xgboost, rows, labels, positive_weight)
        self.class_weights_ = (1.0, positive_weight)
        self.take_rounds(rows, labels, context, started=started, positive_weight=positive_weight)
        self.choose(context or FitContext())
        return self

    def state(self) -> dict[str, NDArray[Any]]:
        """The trees, the prior, and who grew them."""
        return {**super().state(), "grown_by": np.array(self.grown_by_)}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over the trees."""
        super().restore(state)
        self.grown_by_ = str(state["grown_by"])

    def remarks(self) -> tuple[str, ...]:
        """Who grew the trees."""
        return (f"The trees were grown by {self.grown_by_}.",)

    def _grow(self, xgboost: Any, rows: Matrix, labels: Labels, positive_weight: float) -> None:
        settings = {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": self.max_depth,
            "eta": self.learning_rate,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample_bytree,
            "scale_pos_weight": positive_weight,
            "seed": self.random_state,
            "base_score": 0.5,
        }
        grown = xgboost.train(settings, xgboost.DMatrix(rows, label=labels), num_boost_round=self.n_estimators)
        learner = json.loads(bytes(grown.save_raw("json")))["learner"]
        self._forest = forest_of([_tree(tree) for tree in learner["gradient_booster"]["model"]["trees"]])
        # A number, or since XGBoost 3.1 a list of one.
        prior = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
        self._baseline = math.log(prior / (1.0 - prior))


def _tree(tree: dict[str, Any]) -> Tree:
    """A tree of XGBoost's JSON model: rows go left below the condition, not at it; a leaf's condition is its value."""
    left = np.asarray(tree["left_children"], dtype=np.int64)
    condition = np.asarray(tree["split_conditions"], dtype=np.float32)
    return Tree(
        feature=np.asarray(tree["split_indices"], dtype=np.int64),
        threshold=np.nextafter(condition, np.float32(-np.inf)),
        left=left,
        right=np.asarray(tree["right_children"], dtype=np.int64),
        value=np.where(left < 0, condition, 0.0),
    )
