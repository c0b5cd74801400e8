"""What the training rows were like, per feature, so that a scorer can tell later whether its rows still are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import CodedRows, Rows

BINS = 20


@dataclass(frozen=True, eq=False)
class DriftReference:
    """Bin edges and counts of every feature, without any row; k inner edges part k + 1 bins, open at both ends."""

    edges: tuple[NDArray[np.float32], ...]
    counts: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, X: Rows, bins: int = BINS) -> DriftReference:
        """Bins of about equal counts over rows ``X`` (n, d); a value at an edge is in the bin below it."""
        shares = np.linspace(0, 1, bins + 1)[1:-1]
        edges, counts = [], []
        for block in X.columns() if isinstance(X, CodedRows) else (X,):
            for column in block.T:
                edges.append(np.unique(np.quantile(column, shares, method="lower")))
                counts.append(_counts(column, edges[-1]))
        return cls(tuple(edges), tuple(counts))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """For an ``.npz`` file."""
        lengths = np.array([len(cuts) for cuts in self.edges], dtype=np.int64)
        return {"lengths": lengths, "edges": np.concatenate(self.edges), "counts": np.concatenate(self.counts)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DriftReference:
        """Back from `to_arrays`.

        Raises:
            KeyError, ValueError: the arrays are others.
        """
        lengths = arrays["lengths"]
        edges = np.split(arrays["edges"], np.cumsum(lengths)[:-1])
        return cls(tuple(edges), tuple(np.split(arrays["counts"], np.cumsum(lengths + 1)[:-1])))


def _counts(column: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(edges, column, side="left"), minlength=len(edges) + 1).astype(np.int64)
