"""Reconstruction error of principal components: the linear autoencoder, as a classical reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector, as_training_rows, normal_rows
from harness.detectors.oneclass import OneClass
from harness.scoring import program as programs
from harness.training.context import FitContext, Vector


@dataclass
class PCA(OneClass):
    """Score is the mean squared difference to the projection on the components that hold ``variance`` of the variance.

    ``components`` sets their number instead. Fitted on the rows labelled normal.
    """

    name: ClassVar[str] = "pca"

    variance: float = 0.95
    components: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._layers: tuple[programs.DenseLayer, ...] = ()

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Find the components."""
        from sklearn import decomposition

        rows = normal_rows(*as_training_rows(X, y, self.name), self.name)
        wanted = self.components if self.components is not None else self.variance
        found = decomposition.PCA(n_components=wanted, svd_solver="full").fit(rows.astype(np.float64))
        axes, mean = found.components_, found.mean_
        self._layers = (
            programs.DenseLayer(axes.astype(np.float32), (-axes @ mean).astype(np.float32)),
            programs.DenseLayer(np.ascontiguousarray(axes.T, dtype=np.float32), mean.astype(np.float32)),
        )
        self.n_features_ = rows.shape[1]
        self.choose(rows, context or FitContext())
        return self

    def decision_function(self, X: ArrayLike) -> Vector:
        """Reconstruction error of each row."""
        return self.score_by_program(X)

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
