"""Distance to the k-th nearest of a sample of normal rows: the reference that has nothing to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector, as_training_rows, normal_rows
from harness.detectors.oneclass import OneClass
from harness.scoring import program as programs
from harness.training.context import FitContext, Matrix, Vector

HELD_OUT = 2000  # rows the threshold rests on; they may not be among the references


@dataclass
class KNN(OneClass):
    """Score is the Euclidean distance to the ``k``-th nearest of ``references`` rows drawn from the normal ones.

    A percentile is that of normal training rows that were not drawn, or, when every row was, of the distances of the
    drawn ones to each other.
    """

    name: ClassVar[str] = "knn"

    k: int = 5
    references: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._references: Matrix = np.empty((0, 0), dtype=np.float32)
        self._index: Any = None

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Draw the references."""
        rows = normal_rows(*as_training_rows(X, y, self.name), self.name)
        order = np.random.default_rng(self.seed).permutation(len(rows))
        self._references = rows[np.sort(order[: self.references])]
        self.n_features_ = rows.shape[1]
        others = order[self.references : self.references + HELD_OUT]
        self._build()
        if len(others) or len(rows) == 1:
            self.choose(rows[others] if len(others) else rows, context or FitContext())
        else:
            # Asked without rows, the index counts none as its own neighbour.
            distances, _ = self._index.kneighbors(n_neighbors=min(self.k, len(rows) - 1))
            self.choose(rows, context or FitContext(), np.ascontiguousarray(distances[:, -1], dtype=np.float32))
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Distance of each row."""
        matrix = self.check_rows(X)
        distances, _ = self._index.kneighbors(matrix)
        return np.ascontiguousarray(distances[:, -1], dtype=np.float32)

    def program(self) -> programs.Program:
        """One product with all references."""
        builder = programs.Builder(self.n_features_)
        k = min(self.k, len(self._references))
        return builder.finish(builder.neighbour_distance(programs.ROWS, self._references, k))

    def state(self) -> dict[str, NDArray[Any]]:
        """The references."""
        return {"references": self._references}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over the references."""
        self._references = state["references"]
        self._build()

    def _build(self) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._index = NearestNeighbors(n_neighbors=min(self.k, len(self._references))).fit(self._references)
