"""What detectors made of one torch module share that is trained for one seed at a time."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from harness.detectors.base import Detector
from harness.training.context import Vector
from harness.training.loop import score_slices, seeded
from harness.training.nets import load_state, state_of


@dataclass
class ModuleDetector(Detector):
    """A detector whose scores come from ``module``; rows are scored ``rows_per_slice`` at a time."""

    rows_per_slice: ClassVar[int] = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        self.module: nn.Module = nn.Identity()

    @abstractmethod
    def architecture(self) -> nn.Module:
        """A fresh module for ``n_features_`` (and ``steps_``), which takes rows, or windows if `sequential`."""

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row or window of ``x``, shape (n,)."""

    def build(self, n_features: int, steps: int | None = None) -> None:
        """Take a fresh module, initialised from the seed."""
        self.n_features_, self.steps_ = n_features, steps
        self.module = seeded(self.architecture, self.seed)

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row or window."""
        return score_slices(self.score, self.check_rows(X), self.rows_per_slice)

    def scoring_module(self) -> nn.Module:
        """`score` as a module; a sequential detector that was fitted on rows takes rows."""
        return _Scoring(self)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        return state_of(self.module)

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the module and load its weights."""
        self.build(self.n_features_, self.steps_)
        load_state(self.module, state)


class _Scoring(nn.Module):
    def __init__(self, detector: ModuleDetector) -> None:
        super().__init__()
        self.module = detector.module  # so that its parameters belong to the graph
        self._detector = detector

    def forward(self, x: Tensor) -> Tensor:
        return self._detector.score(x.unsqueeze(1) if self._detector.sequential and x.ndim == 2 else x)


def class_weights(labels: Tensor) -> Tensor:
    """Rows over twice the rows of a class, for the classes 0 and 1: (2,)."""
    counts = torch.bincount(labels, minlength=2).float()
    return labels.numel() / (2.0 * counts)
