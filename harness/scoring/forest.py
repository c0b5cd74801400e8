"""Decision trees as arrays: scored without the library that grew them, by all trees and rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_PER_SLICE = 1024


@dataclass(frozen=True)
class Nodes:
    """One entry per node of all trees; ``left`` and ``right`` are node numbers within the tree, -1 at a leaf."""

    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float32]


@dataclass(frozen=True)
class Forest:
    """Trees side by side, padded to the largest: every array is (trees, nodes).

    A row goes left where its feature is at most the threshold. Children of a leaf are the leaf itself, so that walking
    ``depth`` steps from the root ends in a leaf whatever the branch's length.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    depth: NDArray[np.int32]  # (1,)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The fields in order."""
        return self.feature, self.threshold, self.left, self.right, self.value, self.depth

    def sums(self, X: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Sum over trees of the value of the leaf each row of ``X`` (n, d) reaches; shape (n,)."""
        parts = [values.sum(axis=1, dtype=np.float64) for values in self.values(X)]
        return np.concatenate(parts) if parts else np.empty(0)

    def values(self, X: NDArray[np.floating[Any]]) -> Iterator[NDArray[np.float32]]:
        """Value of the leaf that each row of ``X`` (n, d) reaches in each tree: (rows, trees), slice by slice."""
        trees = np.arange(len(self.feature))[None, :]
        for start in range(0, len(X), ROWS_PER_SLICE):
            part = X[start : start + ROWS_PER_SLICE]
            rows = np.arange(len(part))[:, None]
            node = np.zeros((len(part), len(self.feature)), dtype=np.int32)
            for _ in range(int(self.depth[0])):
                goes_left = part[rows, self.feature[trees, node]] <= self.threshold[trees, node]
                node = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            yield self.value[trees, node]

    def nodes(self) -> Nodes:
        """Every node that a row can reach."""
        own = np.arange(self.feature.shape[1], dtype=np.int32)[None, :]
        leaf = self.left == own
        used = np.zeros(self.feature.shape, dtype=bool)
        used[:, 0] = True
        for child in (self.left, self.right):
            tree, parent = np.nonzero(~leaf)
            used[tree, child[tree, parent]] = True
        tree, node = np.nonzero(used)
        end = leaf[tree, node]
        return Nodes(
            tree=tree.astype(np.int64),
            node=node.astype(np.int64),
            feature=self.feature[tree, node].astype(np.int64),
            threshold=self.threshold[tree, node],
            left=np.where(end, -1, self.left[tree, node]).astype(np.int64),
            right=np.where(end, -1, self.right[tree, node]).astype(np.int64),
            value=self.value[tree, node],
        )


@dataclass(frozen=True)
class Tree:
    """One tree as its library has it: children are -1 at leaves; thresholds may be float64."""

    feature: NDArray[np.integer[Any]]
    threshold: NDArray[np.floating[Any]]
    left: NDArray[np.integer[Any]]
    right: NDArray[np.integer[Any]]
    value: NDArray[np.floating[Any]]


def forest_of(trees: list[Tree]) -> Forest:
    """Trees of any library as one `Forest`; padding nodes are leaves nobody reaches."""
    width = max(len(tree.feature) for tree in trees)
    shape = (len(trees), width)
    feature, value = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32)
    threshold = np.zeros(shape, dtype=np.float32)
    left = np.tile(np.arange(width, dtype=np.int32), (len(trees), 1))
    right = left.copy()
    for index, tree in enumerate(trees):
        inner = tree.left >= 0
        size = len(inner)
        feature[index, :size] = np.where(inner, tree.feature, 0)
        threshold[index, :size] = np.where(inner, _rounded_down(tree.threshold), 0)
        left[index, :size] = np.where(inner, tree.left, left[index, :size])
        right[index, :size] = np.where(inner, tree.right, right[index, :size])
        value[index, :size] = tree.value
    depth = np.array([max(_depth(tree) for tree in trees)], dtype=np.int32)
    return Forest(feature, threshold, left, right, value, depth)


def _rounded_down(threshold: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The largest float32 not above: float32 rows then go the same way as by the float64 threshold."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def _depth(tree: Tree) -> int:
    level, steps = np.array([0]), 0
    while True:
        level = level[tree.left[level] >= 0]
        if not len(level):
            return steps
        level = np.concatenate([tree.left[level], tree.right[level]])
        steps += 1
