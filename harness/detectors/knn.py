"""Distance to the k-th nearest of a sample of normal rows: the baseline that has nothing to train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows
from harness.detectors.base import Detector, as_rows_or_codes, normal_rows
from harness.detectors.oneclass import OneClass
from harness.scoring import program as programs
from harness.scoring.builder import Builder
from harness.training.context import FitContext, Vector

HELD_OUT = 2000  # rows the threshold rests on; they may not be among the neighbours


@dataclass
class KNN(OneClass):
    """Score is the Euclidean distance to the ``n_neighbors``-th nearest of a sample of the normal rows.

    A percentile is that of normal training rows that were not drawn, or, when every row was, of the distances of the
    drawn ones to each other.

    Args:
        n_neighbors: int >= 1, default 5. Which neighbour's distance is the score.
        max_samples: int >= 1, default 10,000. Rows drawn from the normal ones; all of them when there are fewer.
    """

    name: ClassVar[str] = "knn"
    libraries: ClassVar[tuple[str, ...]] = ("sklearn.neighbors",)
    dense: ClassVar[bool] = False
    takes_codes: ClassVar[bool] = True

    n_neighbors: int = 5
    max_samples: int = 10_000

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Draw the sample."""
        rows = normal_rows(*as_rows_or_codes(X, y, self.name), self.name)
        order = np.random.default_rng(self.random_state).permutation(len(rows))
        self._sample = rows[np.sort(order[: self.max_samples])]
        self.take_shape(rows.shape[1])
        others = order[self.max_samples : self.max_samples + HELD_OUT]
        self._build()
        if len(others) or len(rows) == 1:
            self.choose(rows[others] if len(others) else rows, context or FitContext())
        else:
            # Asked without rows, the index counts none as its own neighbour.
            distances, _ = self._index.kneighbors(n_neighbors=min(self.n_neighbors, len(rows) - 1))
            self.choose(rows, context or FitContext(), np.ascontiguousarray(distances[:, -1], dtype=np.float32))
        return self

    def fit_bytes(self, X: CodedRows) -> int:
        """Of the sample, and of its index."""
        return 8 * min(len(X), self.max_samples + HELD_OUT) * X.shape[1]

    def decision_function(self, X: ArrayLike) -> Vector:
        """Distance of each row."""
        distances = [self._index.kneighbors(matrix)[0][:, -1] for matrix in self.checked_blocks(X)]
        return np.concatenate(distances).astype(np.float32)

    def program(self) -> programs.Program:
        """One product with all of the sample."""
        builder = Builder(self.n_features_in_)
        k = min(self.n_neighbors, len(self._sample))
        return builder.finish(builder.neighbour_distance(programs.ROWS, self._sample, k))

    def state(self) -> dict[str, NDArray[Any]]:
        """The sample."""
        return {"sample": self._sample}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over the sample."""
        self._sample = state["sample"]
        self._build()

    def _build(self) -> None:
        from sklearn.neighbors import NearestNeighbors

        self._index = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(self._sample))).fit(self._sample)
