"""One-class support vector machine, fitted by scikit-learn on a sample and kept as its support vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.datasets.coded_rows import CodedRows
from harness.detectors.base import Detector, as_rows_or_codes, normal_rows
from harness.detectors.oneclass import OneClass
from harness.scoring import program as programs
from harness.scoring.builder import Builder
from harness.training.context import FitContext


@dataclass
class OCSVM(OneClass):
    """Score is minus the decision function of a machine with radial basis kernel.

    Source: Schölkopf et al. 2001.

    Args:
        nu: float in (0, 1], default 0.05. Bound on the share of training rows left outside.
        gamma: float > 0, or scikit-learn's ``scale`` (default: one over features times variance) or ``auto`` (one over
            features). Coefficient of the kernel.
        max_samples: int >= 1, default 5000. Normal rows drawn; the time to fit grows with the square of their number.
    """

    name: ClassVar[str] = "ocsvm"
    libraries: ClassVar[tuple[str, ...]] = ("sklearn.svm",)
    takes_codes: ClassVar[bool] = True

    nu: float = 0.05
    gamma: float | Literal["scale", "auto"] = "scale"
    max_samples: int = 5000

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Solve for the support vectors of the drawn rows."""
        from sklearn.svm import OneClassSVM

        normal = normal_rows(*as_rows_or_codes(X, y, self.name), self.name)
        drawn = np.random.default_rng(self.random_state).permutation(len(normal))[: self.max_samples]
        machine = OneClassSVM(nu=self.nu, gamma=self.gamma)
        machine.fit(normal[np.sort(drawn)].astype(np.float64))
        self._vectors = machine.support_vectors_.astype(np.float32)
        self._weights = machine.dual_coef_[0].astype(np.float32)
        self._kernel = np.array([machine._gamma, float(machine.offset_[0])])
        self.take_shape(normal.shape[1])
        self.choose(normal, context or FitContext())
        return self

    def fit_bytes(self, X: CodedRows) -> int:
        """Of the drawn rows, once more as float64, and of their support vectors."""
        return 20 * min(len(X), self.max_samples) * X.shape[1]

    def program(self) -> programs.Program:
        """exp(-gamma |x - v|²) = exp(2 gamma x·v - gamma |v|² - gamma |x|²), centred on the mean of the vectors.

        Centring keeps the three terms small, and so their difference exact.
        """
        gamma, offset = self._kernel
        centre = self._vectors.astype(np.float64).mean(axis=0)
        vectors = self._vectors - centre
        builder = Builder(self.n_features_in_)
        x = builder.with_constant("subtract", programs.ROWS, centre)
        layer = programs.DenseLayer(
            (2.0 * gamma * vectors).astype(np.float32), (-gamma * np.square(vectors).sum(axis=1)).astype(np.float32)
        )
        own = builder.with_constant("multiply", builder.reduce("square_sum", x), gamma)
        kernel = builder.activation(builder.elementwise("subtract", builder.dense(x, layer), own), "exp")
        score = programs.DenseLayer(-self._weights[None, :], np.array([offset], dtype=np.float32))
        return builder.finish(builder.dense(kernel, score))

    def state(self) -> dict[str, NDArray[Any]]:
        """Support vectors, their weights, and the kernel's constants."""
        return {"vectors": self._vectors, "weights": self._weights, "kernel": self._kernel}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Take them over."""
        self._vectors, self._weights, self._kernel = state["vectors"], state["weights"], state["kernel"]
