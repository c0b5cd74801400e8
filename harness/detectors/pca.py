"""Reconstruction error of principal components: the linear autoencoder, as a classical baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector, as_training_rows, normal_rows
from harness.detectors.oneclass import OneClass
from harness.scoring import program as programs
from harness.training.context import FitContext


@dataclass
class PCA(OneClass):
    """Score is the mean squared difference to the projection on the first components. Fitted on the normal rows.

    Args:
        n_components: int >= 1, the number of components; or float in (0, 1), default 0.95, the share of the variance
            that they hold at least. As in scikit-learn.
    """

    name: ClassVar[str] = "pca"
    libraries: ClassVar[tuple[str, ...]] = ("sklearn.decomposition",)

    n_components: int | float = 0.95

    _layers = cast("tuple[programs.DenseLayer, ...]", ())

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Find the components."""
        from sklearn import decomposition

        rows = normal_rows(*as_training_rows(X, y, self.name), self.name)
        fitted = decomposition.PCA(n_components=self.n_components, svd_solver="full").fit(rows.astype(np.float64))
        axes, mean = fitted.components_, fitted.mean_
        self._layers = (
            programs.DenseLayer(axes.astype(np.float32), (-axes @ mean).astype(np.float32)),
            programs.DenseLayer(np.ascontiguousarray(axes.T, dtype=np.float32), mean.astype(np.float32)),
        )
        self.take_shape(rows.shape[1])
        self.choose(rows, context or FitContext())
        return self

    def program(self) -> programs.Program:
        """Down to the components and back."""
        return programs.reconstruction_error(self._layers)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights and biases of both layers."""
        down, up = self._layers
        return {"down": down.weight, "down_bias": down.bias, "up": up.weight, "up_bias": up.bias}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take over the layers."""
        self._layers = (
            programs.DenseLayer(state["down"], state["down_bias"]),
            programs.DenseLayer(state["up"], state["up_bias"]),
        )
