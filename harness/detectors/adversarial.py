"""What the adversarial detectors share: their nets, their losses, and how their trained weights are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.base import Vector
from harness.detectors.nets import load_state, state_of
from harness.detectors.oneclass import OneClass
from harness.detectors.replicas import Replicas
from harness.detectors.replicated import Replicated
from harness.detectors.training import score_slices, seeded


@dataclass
class Adversarial(Replicated, OneClass):
    """A detector with several named nets; scoring uses the moving averages of their weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.nets = nn.ModuleDict()

    @abstractmethod
    def architecture(self, n_features: int) -> dict[str, nn.Module]:
        """Fresh nets by name, each a Sequential or a ModuleDict of them."""

    @abstractmethod
    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row of ``x`` (n, d), shape (n,)."""

    def build(self, n_features: int) -> None:
        """Take fresh nets with Xavier-uniform weights and zero biases, drawn from the seed."""
        self.n_features_ = n_features

        def fresh() -> nn.Module:
            nets = nn.ModuleDict(self.architecture(n_features))
            for part in nets.modules():
                if isinstance(part, nn.Linear):
                    nn.init.xavier_uniform_(part.weight)
                    nn.init.zeros_(part.bias)
            return nets

        nets = seeded(fresh, self.seed)
        assert isinstance(nets, nn.ModuleDict)
        self.nets = nets

    def decision_function(self, X: ArrayLike) -> Vector:
        """Anomaly score of each row."""
        return score_slices(self.score, self.check_rows(X))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        return state_of(self.nets)

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the nets and load their weights."""
        self.build(self.n_features_)
        load_state(self.nets, state)


def sequential(nets: nn.Module, path: str) -> nn.Sequential:
    """The Sequential at ``path``."""
    found = nets.get_submodule(path)
    assert isinstance(found, nn.Sequential), path
    return found


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of logits (K, rows, 1) against one target, mean over rows: (K,)."""
    return functional.softplus(-logits if target == 1.0 else logits).mean(dim=(1, 2))


def update(group: Replicas, losses: Tensor) -> None:
    """Descend the summed ``losses`` in the parameters of ``group``."""
    group.zero()
    losses.sum().backward()  # type: ignore[no-untyped-call]
    group.step()


def collect(replicas: Sequence[Adversarial], names: Sequence[str]) -> list[nn.Module]:
    """The nets of those names, of each replica."""
    return [nn.ModuleDict({name: replica.nets[name] for name in names}) for replica in replicas]


def stacked(*losses: Tensor) -> Tensor:
    """Losses (K,) side by side, detached: (K, len(losses))."""
    return torch.stack([loss.detach() for loss in losses], dim=1)
