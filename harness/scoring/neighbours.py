"""Distances to near rows, by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def kth_distance(x: Array, neighbours: Array, k: int, rows: int = 256) -> Array:
    """Euclidean distance of each row of ``x`` (n, d) to its ``k``-th nearest of ``neighbours`` (m, d); shape (n,).

    Computed in float64: the expanded square loses the digits of a small distance in float32.
    """
    wide = neighbours.astype(np.float64)
    norms = np.square(wide).sum(axis=1)
    out = np.empty(len(x), dtype=x.dtype)
    for start in range(0, len(x), rows):
        part = x[start : start + rows].astype(np.float64)
        squares = norms - 2.0 * (part @ wide.T) + np.square(part).sum(axis=1)[:, None]
        nearest = np.partition(squares, k - 1, axis=1)[:, k - 1]
        out[start : start + rows] = np.sqrt(np.maximum(nearest, 0.0))
    return out
