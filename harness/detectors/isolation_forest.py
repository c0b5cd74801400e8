"""Isolation forest: a classical baseline, grown by scikit-learn and kept as plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows
from harness.detectors.base import DataError, Detector, as_rows_or_codes, normal_rows
from harness.detectors.oneclass import OneClass
from harness.scoring import program as programs
from harness.scoring.builder import Builder
from harness.scoring.forest import Forest, Tree, forest_of
from harness.training.context import FitContext


@dataclass
class IsolationForest(OneClass):
    """Score is 2 to the minus mean path length, relative to that of a random tree: near 1 is isolated early.

    Source: Liu, Ting, Zhou, "Isolation forest", ICDM 2008. Fitted on the rows labelled normal.

    Args:
        n_estimators: int >= 1, default 200. Trees.
        max_samples: int >= 2, default 256, the paper's. Rows drawn for each tree; all of them when there are fewer.
    """

    name: ClassVar[str] = "isolation-forest"
    libraries: ClassVar[tuple[str, ...]] = ("sklearn.ensemble",)
    dense: ClassVar[bool] = False
    takes_codes: ClassVar[bool] = True

    n_estimators: int = 200
    max_samples: int = 256

    _forest = cast("Forest | None", None)
    _exponent = 0.0

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Grow the trees on random subsets of the normal rows."""
        from sklearn.ensemble import IsolationForest as Grown

        rows = normal_rows(*as_rows_or_codes(X, y, self.name), self.name)
        sample = min(self.max_samples, len(rows))
        if sample < 2:
            raise DataError(f"{self.name} isolates rows from each other; it needs two of them at least, got 1 sample.")
        grown = Grown(n_estimators=self.n_estimators, max_samples=sample, random_state=self.random_state)
        grown.fit(rows.csr() if isinstance(rows, CodedRows) else rows)  # the same trees either way
        pairs = zip(grown.estimators_, grown.estimators_features_, strict=True)
        self._forest = forest_of([_path_lengths(each.tree_, chosen) for each, chosen in pairs])
        self._exponent = -math.log(2.0) / (self.n_estimators * float(_random_path_length(np.array([sample]))[0]))
        self.take_shape(rows.shape[1])
        self.choose(rows, context or FitContext())
        return self

    def program(self) -> programs.Program:
        """Path lengths summed over trees, scaled and exponentiated."""
        assert self._forest is not None
        builder = Builder(self.n_features_in_)
        total = builder.trees(programs.ROWS, self._forest)
        return builder.finish(builder.activation(builder.with_constant("multiply", total, self._exponent), "exp"))

    def state(self) -> dict[str, NDArray[Any]]:
        """The trees and the exponent per unit of path length."""
        assert self._forest is not None
        return {**dict(zip(FOREST, self._forest.arrays(), strict=True)), "exponent": np.array(self._exponent)}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over the trees."""
        self._forest = Forest(*(state[name] for name in FOREST))
        self._exponent = float(state["exponent"])


FOREST = ("feature", "threshold", "left", "right", "value", "depth")


def _path_lengths(tree: Any, chosen: NDArray[np.int64]) -> Tree:
    """scikit-learn's tree with, at each leaf, its depth plus the expected rest of the path for the rows it holds."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parent
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    feature = np.where(tree.children_left >= 0, chosen[np.maximum(tree.feature, 0)], 0)
    value = depth + _random_path_length(tree.n_node_samples)
    return Tree(feature, tree.threshold, tree.children_left, tree.children_right, value)


def _random_path_length(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average path length of an unsuccessful search in a binary tree of ``rows`` (equation 1 of the source)."""
    n = np.maximum(rows.astype(np.float64), 2.0)
    grown = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, grown))
