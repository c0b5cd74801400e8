"""What the training of classifiers adds to the loop: balanced sampling, early stopping, a falling learning rate."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor, nn

MIN_RELATIVE_IMPROVEMENT = 1e-4  # by which a figure must rise for the learning rate to stay; torch's default


class Optimiser(Protocol):
    """What makes steps of a size that may change."""

    learning_rate: float


class ReduceLROnPlateau:
    """Halves the learning rate of ``optimiser`` when more than ``patience`` figures in a row were not better."""

    def __init__(self, optimiser: Optimiser, patience: int) -> None:
        self._optimiser = optimiser
        self._patience = patience
        self._best = float("-inf")
        self._waited = 0

    def offer(self, figure: float) -> None:
        """The next figure; better is what exceeds the best so far by `MIN_RELATIVE_IMPROVEMENT` of it."""
        self._waited += 1
        if figure > self._best * (1.0 + MIN_RELATIVE_IMPROVEMENT):
            self._best, self._waited = figure, 0
        if self._waited > self._patience:
            self._optimiser.learning_rate *= 0.5
            self._waited = 0


class BalancedSampler:
    """Row numbers drawn with replacement, half of them anomalies."""

    def __init__(self, y: Tensor, generator: torch.Generator | None = None) -> None:
        self._generator = generator  # None: torch's own
        self._kinds = [torch.nonzero(y == kind).view(-1) for kind in (0, 1)]

    def __call__(self, count: int) -> Tensor:
        """``count`` row numbers."""
        anomalies = count // 2
        parts = []
        for kind, wanted in zip(self._kinds, (count - anomalies, anomalies), strict=True):
            parts.append(kind[torch.randint(len(kind), (wanted,), generator=self._generator)])
        return torch.cat(parts)


class BestWeights:
    """The weights with the highest figure so far, and for how many epochs there was no higher."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._figure = float("-inf")
        self._weights: dict[str, Tensor] | None = None
        self.waited = 0

    def offer(self, figure: float) -> None:
        """Keep the weights as they are now, if ``figure`` is higher than before."""
        self.waited += 1
        if figure > self._figure:
            self._figure, self.waited = figure, 0
            self._weights = copy.deepcopy(self._module.state_dict())

    def restore(self) -> None:
        """Put the kept weights back, if there are any."""
        if self._weights is not None:
            self._module.load_state_dict(self._weights)


def class_weights(labels: Tensor) -> Tensor:
    """Rows over twice the rows of a class, for the classes 0 and 1: (2,)."""
    counts = torch.bincount(labels, minlength=2).float()
    return labels.numel() / (2.0 * counts)
