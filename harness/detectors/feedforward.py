"""What detectors made of one dense net share: building it, scoring in slices, storing its weights."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from harness.detectors.replicated import Replicated
from harness.training.context import Vector
from harness.training.loop import score_slices, seeded
from harness.training.nets import load_state, state_of


@dataclass
class FeedForward(Replicated):
    """A detector with one net."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: nn.Sequential = nn.Sequential()

    @abstractmethod
    def architecture(self, n_features: int) -> nn.Sequential:
        """A fresh net for rows of ``n_features``."""

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row of ``x`` (n, d), shape (n,)."""

    def build(self, n_features: int) -> None:
        """Take a fresh net, initialised from the seed."""
        self.n_features_ = n_features
        self.net = seeded(lambda: self.architecture(n_features), self.seed)

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row."""
        return score_slices(self.score, self.check_rows(X))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        return state_of(self.net)

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the net and load its weights."""
        self.build(self.n_features_)
        load_state(self.net, state)
