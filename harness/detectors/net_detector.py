"""What detectors made of one torch module share: building it, scoring in slices, storing its weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.base import Detector
from harness.training.context import Schedule, Vector

if TYPE_CHECKING:
    from torch import Tensor, nn

Module = TypeVar("Module", bound="nn.Module")


@dataclass
class NetDetector(Detector):
    """A detector whose scores come from a torch module, ``net_``; rows are scored ``rows_per_slice`` at a time.

    Modules of detectors import torch inside the functions that use it, so that parameters can be checked without it.

    Args:
        learning_rate: float > 0. Adam's step size.
        batch_size: int >= 1. Rows per optimiser step.
        epochs: int >= 0. Passes over the training rows.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    epochs: int = 20

    libraries: ClassVar[tuple[str, ...]] = ("torch", "sklearn.metrics")  # by which a fit watches validation rows
    rows_per_slice: ClassVar[int] = 8192  # activations of small nets stay inside a second-level cache

    net_ = cast("nn.Module | None", None)

    @staticmethod
    def schedule(replicas: Sequence[NetDetector], rows: int, **options: Any) -> Schedule:
        """The passes of ``replicas`` over ``rows`` rows; ``options`` are further fields of `Schedule`."""
        first, seeds = replicas[0], tuple(replica.random_state for replica in replicas)
        return replace(Schedule(rows, first.batch_size, first.epochs, seeds), **options)

    @abstractmethod
    def architecture(self) -> nn.Module:
        """A fresh module for ``n_features_in_`` (and ``steps_``), which takes rows, or windows if `sequential`."""

    @abstractmethod
    def score_tensor(self, x: Tensor) -> Tensor:
        """Anomaly score per row (n, d), or window, of ``x``; shape (n,)."""

    def build(self, n_features: int, steps: int | None = None) -> None:
        """Take a fresh net, initialised from the seed."""
        from harness.training.loop import seeded

        self.take_shape(n_features, steps)
        self.net_ = seeded(self.architecture, self.random_state)

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row or window."""
        from harness.training.loop import score_slices

        scores = [score_slices(self.score_tensor, rows, self.rows_per_slice) for rows in self.checked_blocks(X)]
        return scores[0] if len(scores) == 1 else np.concatenate(scores)

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        from harness.training.nets import state_of

        return state_of(self.fitted_net())

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the net and load its weights."""
        from harness.training.nets import load_state

        self.build(self.n_features_in_, self.steps_)
        load_state(self.fitted_net(), state)

    def scoring_module(self) -> nn.Module | None:
        """`score_tensor` as a module; a sequential detector that was fitted on rows takes rows."""
        from torch import nn

        detector = self

        class Scoring(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = detector.net_  # so that its parameters belong to the graph

            def forward(self, x: Tensor) -> Tensor:
                return detector.score_tensor(x.unsqueeze(1) if detector.sequential and x.ndim == 2 else x)

        return Scoring()

    def fitted_net(self) -> nn.Module:
        """The net."""
        assert self.net_ is not None, f"{self.name} is not built"
        return self.net_

    def net_as(self, kind: type[Module]) -> Module:
        """The net, which is of class ``kind``."""
        assert isinstance(self.net_, kind), f"{self.name} is not built"
        return self.net_

    def part(self, path: str) -> nn.Sequential:
        """The Sequential at ``path`` of the net."""
        return cast("nn.Sequential", self.fitted_net().get_submodule(path))
