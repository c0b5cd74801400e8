"""What the training rows and their scores were like, so that a scorer can tell later whether its rows still are.

Bounds hold for windows of independent rows: a statistic of rows like those of training exceeds its own with the
probability ``alpha`` at most, which the caller divides by the number of statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import CodedRows, Rows

BINS = 20
_SCORE_SHARES = (*np.linspace(0, 1, 33)[1:-1].tolist(), 0.99, 0.999, 1.0)
_SMOOTHING = 0.5  # of a count, so that an empty bin has a logarithm

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoreReference:
    """How the scores of rows like those of training are distributed.

    Attributes:
        edges: of bins of about equal counts, the threshold among them; a score at an edge is in the bin below.
        counts, first: scores in each bin: all of them, and those of the first half of the rows.
        threshold: a score above it is flagged.
        held_out: the rows are none that the model was trained on.
    """

    edges: NDArray[np.float32]
    counts: Counts
    first: Counts
    threshold: float
    held_out: bool

    @classmethod
    def of(cls, scores: NDArray[np.float32], threshold: float, *, held_out: bool) -> ScoreReference:
        """Of scores (m,) in the order of their rows."""
        cuts = np.quantile(scores, _SCORE_SHARES, method="lower").astype(np.float32)
        edges = np.unique(np.append(cuts, np.float32(threshold)))
        halves = _counts(scores, edges), _counts(scores[: len(scores) // 2], edges)
        return cls(edges, *halves, float(threshold), held_out)


@dataclass(frozen=True, eq=False)
class DriftReference:
    """Bin edges and counts of every feature, without any row; k inner edges part k + 1 bins, open at both ends.

    Attributes:
        edges, counts: of each feature.
        first: counts of the first half of the rows; None in bundles of before.
        scores: None in bundles of before.
    """

    edges: tuple[NDArray[np.float32], ...]
    counts: tuple[Counts, ...]
    first: tuple[Counts, ...] | None = None
    scores: ScoreReference | None = None

    @classmethod
    def of(cls, X: Rows, bins: int = BINS) -> DriftReference:
        """Bins of about equal counts over rows ``X`` (n, d); a value at an edge is in the bin below it."""
        shares = np.linspace(0, 1, bins + 1)[1:-1]
        edges, counts, first = [], [], []
        for block in X.columns() if isinstance(X, CodedRows) else (X,):
            for column in block.T:
                edges.append(np.unique(np.quantile(column, shares, method="lower")))
                counts.append(_counts(column, edges[-1]))
                first.append(_counts(column[: len(column) // 2], edges[-1]))
        return cls(tuple(edges), tuple(counts), tuple(first))

    def with_scores(self, scores: ScoreReference) -> DriftReference:
        """The same with scores."""
        return replace(self, scores=scores)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """For an ``.npz`` file."""
        arrays: dict[str, NDArray[Any]] = {
            "lengths": np.array([len(cuts) for cuts in self.edges], dtype=np.int64),
            "edges": np.concatenate(self.edges),
            "counts": np.concatenate(self.counts),
        }
        if self.first is not None:
            arrays["first"] = np.concatenate(self.first)
        if self.scores is not None:
            arrays |= {f"scores.{name}": np.asarray(value) for name, value in vars(self.scores).items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DriftReference:
        """Back from `to_arrays`.

        Raises:
            KeyError, ValueError: the arrays are others.
        """
        lengths = arrays["lengths"]
        edges = np.split(arrays["edges"], np.cumsum(lengths)[:-1])

        def by_feature(name: str) -> tuple[Counts, ...]:
            return tuple(np.split(arrays[name], np.cumsum(lengths + 1)[:-1]))

        first = by_feature("first") if "first" in arrays else None
        return cls(tuple(edges), by_feature("counts"), first, _scores(arrays))


def _scores(arrays: Mapping[str, NDArray[Any]]) -> ScoreReference | None:
    if "scores.edges" not in arrays:
        return None
    edges, counts, first = (arrays[f"scores.{name}"] for name in ("edges", "counts", "first"))
    threshold, held_out = float(arrays["scores.threshold"]), bool(arrays["scores.held_out"])
    if not len(edges) + 1 == len(counts) == len(first) or np.float32(threshold) not in edges:
        raise ValueError("scores: bins and edges do not fit")
    return ScoreReference(edges, counts, first, threshold, held_out)


def _counts(column: NDArray[np.float32], edges: NDArray[np.float32]) -> Counts:
    return np.bincount(np.searchsorted(edges, column, side="left"), minlength=len(edges) + 1).astype(np.int64)


def stability_index(counts: Doubles, reference: Doubles) -> Doubles:
    """PSI over the last axis of counts per bin; bins that neither side has used do not count."""
    used = (counts + reference) > 0
    p = np.where(used, counts + _SMOOTHING, 0)
    q = np.where(used, reference + _SMOOTHING, 0)
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(used, (p - q) * np.log(p / q), 0)
    total: Doubles = terms.sum(-1)
    return total


def index_bound(bins: NDArray[np.int64], n: Doubles | int, m: Doubles | int, alpha: float) -> Doubles:
    """Of the stability index of n rows against m without drift, about χ²(B - 1)·(1/n + 1/m)."""
    from scipy.stats import chi2

    bound: Doubles = chi2.ppf(1 - alpha, np.maximum(bins - 1, 1)) * (1 / np.asarray(n) + 1 / np.asarray(m))
    return bound


def distance(counts: Doubles, reference: Doubles) -> float:
    """Kolmogorov and Smirnov's, of counts per bin: no greater than that of the values."""
    apart = np.cumsum(counts) / counts.sum() - np.cumsum(reference) / reference.sum()
    return float(np.abs(apart).max())


def distance_bound(n: float, m: float, alpha: float) -> float:
    """Of `distance` without drift, for two samples of n and m."""
    return float(np.sqrt(-np.log(alpha / 2) / 2 * (1 / n + 1 / m)))


def count_bounds(n: int, reference: int, m: int, alpha: float) -> tuple[int, int]:
    """The fewest and the most of n rows that fit ``reference`` of m others, by Fisher's exact test on both sides."""
    from scipy.stats import hypergeom

    def most(fits: Any, low: int, high: int) -> int:
        """The largest count that fits; ``low`` does."""
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return low

    def rare(count: int) -> bool:
        return bool(hypergeom.sf(count - 1, n + m, *drawn(count)) > alpha / 2)

    def common(fewer: int) -> bool:
        return bool(hypergeom.cdf(n - fewer, n + m, *drawn(n - fewer)) > alpha / 2)

    def drawn(count: int) -> tuple[int, int]:
        """Which of both is which does not matter; some versions of SciPy take a time that grows with the second."""
        sizes = (reference + count, n)
        return max(sizes), min(sizes)

    expected = min(n, round(reference / m * n))
    return n - most(common, n - expected, n), most(rare, expected, n)
