"""The feature pipeline of the optimised flow classifiers: 31 base features, 22 made of them, the best 50 kept.

The source document gives the counts and the kinds (products, ratios, statistics of groups) and no more; which columns
take part is decided here by how well each alone separates the classes of the training rows (analysis of variance).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.scoring.builder import Builder
from harness.training.nets import array_of

BASE, KEPT = 31, 50
PRODUCTS_OF = 5  # all pairs of the five best: ten products
RATIOS = 4  # of the eight best, two by two


class FlowFeatures(nn.Module):
    """Encoded rows (..., d) to selected and standardised features (..., kept)."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        base = min(BASE, n_features)
        made = 8 + len(_pairs(base)) + len(_ratios(base))
        kept = min(KEPT, base + made)
        self.register_buffer("base", torch.zeros(base, dtype=torch.int64))
        self.register_buffer("kept", torch.zeros(kept, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(kept))
        self.register_buffer("scale", torch.ones(kept))
        self.width = kept
        self._pairs, self._ratio_pairs = _pairs(base), _ratios(base)

    def fit(self, X: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Choose columns by the training rows ``X`` (n, d) and their labels."""
        base = self.get_buffer("base")
        base.copy_(torch.from_numpy(_best(X, y, len(base))))
        rows = self._all(torch.from_numpy(X))
        kept = self.get_buffer("kept")
        kept.copy_(torch.from_numpy(np.sort(_best(rows.numpy(), y, len(kept)))))
        chosen = rows[:, kept]
        self.get_buffer("mean").copy_(chosen.mean(dim=0))
        self.get_buffer("scale").copy_(chosen.std(dim=0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """The features."""
        chosen = self._all(x)[..., self.get_buffer("kept")]
        return (chosen - self.get_buffer("mean")) / self.get_buffer("scale")

    def write(self, builder: Builder, rows: str) -> str:
        """The same as steps of a program: the name of the features made of the value ``rows``."""
        base = builder.columns(rows, self._numbers("base"))
        width = len(self._numbers("base"))
        half = width // 2

        def sides(pairs: list[tuple[int, int]]) -> tuple[str, str]:
            first, second = zip(*pairs, strict=True)
            return builder.columns(base, first), builder.columns(base, second)

        products = builder.elementwise("multiply", *sides(self._pairs))
        above, below = sides(self._ratio_pairs)
        below = builder.with_constant("add", builder.activation(below, "abs"), 1.0)
        parts = [base, products, builder.elementwise("divide", above, below)]
        for numbers in (range(half), range(half, width)):
            group = builder.columns(base, numbers)
            mean = builder.reduce("mean", group)
            length = builder.reduce("l2", builder.elementwise("subtract", group, mean))
            deviation = builder.with_constant("multiply", length, len(numbers) ** -0.5)
            parts += [mean, deviation, builder.reduce("max", group), builder.reduce("min", group)]
        kept = builder.columns(builder.concat(*parts), self._numbers("kept"))
        centred = builder.with_constant("subtract", kept, array_of(self.get_buffer("mean")))
        return builder.with_constant("divide", centred, array_of(self.get_buffer("scale")))

    def _numbers(self, name: str) -> NDArray[np.int64]:
        numbers: NDArray[np.int64] = self.get_buffer(name).numpy().copy()
        return numbers

    def _all(self, x: Tensor) -> Tensor:
        base = x[..., self.get_buffer("base")]
        first, second = ([pair[side] for pair in self._pairs] for side in (0, 1))
        above, below = ([pair[side] for pair in self._ratio_pairs] for side in (0, 1))
        half = base.shape[-1] // 2
        parts = [base, base[..., first] * base[..., second], base[..., above] / (base[..., below].abs() + 1.0)]
        for group in (base[..., :half], base[..., half:]):
            mean = group.mean(dim=-1, keepdim=True)
            deviation = (group - mean).square().mean(dim=-1, keepdim=True).sqrt()
            parts += [mean, deviation, group.amax(dim=-1, keepdim=True), group.amin(dim=-1, keepdim=True)]
        return torch.cat(parts, dim=-1)


def _pairs(base: int) -> list[tuple[int, int]]:
    return list(combinations(range(min(PRODUCTS_OF, base)), 2))


def _ratios(base: int) -> list[tuple[int, int]]:
    return [(2 * index, 2 * index + 1) for index in range(min(RATIOS, base // 2))]


def _best(X: NDArray[np.float32], y: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The ``count`` columns with the largest F statistic, largest first; constant columns last."""
    from sklearn.feature_selection import f_classif

    varying = np.flatnonzero(np.ptp(X, axis=0) > 0)
    figures = np.full(X.shape[1], -1.0)
    figures[varying] = np.nan_to_num(f_classif(X[:, varying], y)[0], nan=-1.0, posinf=np.finfo(float).max)
    return np.argsort(-figures, kind="stable")[:count].astype(np.int64)
