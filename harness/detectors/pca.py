"""Reconstruction error of principal components: the linear autoencoder, as a classical baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows
from harness.detectors.base import Detector, as_rows_or_codes, normal_rows
from harness.detectors.oneclass import OneClass
from harness.errors import InputError
from harness.scoring import program as programs
from harness.scoring.builder import reconstruction_error
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
    takes_codes: ClassVar[bool] = True

    n_components: int | float = 0.95

    _layers = cast("tuple[programs.DenseLayer, ...]", ())

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Find the components."""
        rows = normal_rows(*as_rows_or_codes(X, y, self.name), self.name)
        if isinstance(rows, CodedRows) and _by_covariance(*rows.shape):
            axes, mean = _axes_of_covariance(rows, self.n_components)
        else:
            from sklearn import decomposition

            wide = np.asarray(rows, dtype=np.float64)
            fitted = decomposition.PCA(n_components=self.n_components, svd_solver="full").fit(wide)
            axes, mean = fitted.components_, fitted.mean_
        self._layers = (
            programs.DenseLayer(axes.astype(np.float32), (-axes @ mean).astype(np.float32)),
            programs.DenseLayer(np.ascontiguousarray(axes.T, dtype=np.float32), mean.astype(np.float32)),
        )
        self.take_shape(rows.shape[1])
        self.choose(rows, context or FitContext())
        return self

    def fit_bytes(self, X: CodedRows) -> int:
        """Of the covariance, its axes and their workspace; of few rows, of their decomposition as float64."""
        rows, features = X.shape
        return 8 * features * (4 * features if _by_covariance(rows, features) else 5 * rows)

    def program(self) -> programs.Program:
        """Down to the components and back."""
        return reconstruction_error(self._layers)

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


def _by_covariance(rows: int, features: int) -> bool:
    """Whether the axes of rows held as codes are taken from their covariance, which is less than their matrix."""
    return features <= rows


def _axes_of_covariance(rows: CodedRows, n_components: int | float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first axes and the mean, by a pass over the rows for the mean and another for their covariance.

    A singular value decomposition of the rows, as scikit-learn makes, gives axes whose projections differ from these in
    the last digits, as a covariance has the squares of the singular values.
    """
    count, features = rows.shape
    mean = sum((block.sum(axis=0, dtype=np.float64) for block in rows.blocks()), np.zeros(features)) / count
    covariance = np.zeros((features, features))
    for block in rows.blocks():
        centred = block - mean
        covariance += centred.T @ centred
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1].T
    if isinstance(n_components, float) and n_components < 1.0:  # as scikit-learn counts them
        shares = np.cumsum(variances) / max(float(variances.sum()), np.finfo(np.float64).tiny)
        n_components = min(int(np.searchsorted(shares, n_components, side="right")) + 1, features)
    if not 1 <= n_components <= features:
        raise InputError(f"pca: n_components={n_components} must be between 1 and {features}, the features.")
    return np.ascontiguousarray(axes[: int(n_components)]), mean
