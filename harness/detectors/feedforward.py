"""What nets made of dense layers share: building, scoring in slices, and turning weights into arrays and back."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from harness.detectors.base import Detector, Vector
from harness.detectors.dense import Activation, DenseLayer
from harness.detectors.training import score_slices, seeded


@dataclass
class FeedForward(Detector):
    """A net of linear layers with ReLU between, except after the layers in `linear_layers` and after the last."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.module: nn.Sequential = nn.Sequential()

    @abstractmethod
    def sizes(self, n_features: int) -> tuple[int, ...]:
        """Layer widths, input to output."""

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row of ``x`` (n, d), shape (n,)."""

    def linear_layers(self) -> frozenset[int]:
        """Indices of hidden layers without an activation."""
        return frozenset()

    def build(self, n_features: int) -> None:
        """A fresh net for rows of ``n_features``, initialised from the seed with torch's defaults for linear layers."""
        sizes = self.sizes(n_features)
        last = len(sizes) - 2

        def stack() -> nn.Sequential:
            parts: list[nn.Module] = []
            for index in range(last + 1):
                parts.append(nn.Linear(sizes[index], sizes[index + 1]))
                if index != last and index not in self.linear_layers():
                    parts.append(nn.ReLU())
            return nn.Sequential(*parts)

        self.n_features_ = n_features
        module = seeded(stack, self.seed)
        assert isinstance(module, nn.Sequential)
        self.module = module

    def layers(self) -> tuple[DenseLayer, ...]:
        """Weights and activations in order, copied to float32 arrays."""
        found: list[tuple[NDArray[np.float32], NDArray[np.float32], Activation]] = []
        for part in self.module:
            if isinstance(part, nn.Linear):
                found.append((_array(part.weight), _array(part.bias), "identity"))
            else:
                found[-1] = (*found[-1][:2], "relu")
        return tuple(DenseLayer(*entry) for entry in found)

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row."""
        return score_slices(self.score, self.check_rows(X))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        return {name: _array(value) for name, value in self.module.state_dict().items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the net and load its weights."""
        self.build(self.n_features_)
        self.module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        self.module.eval()


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().to("cpu", torch.float32).numpy().copy()
