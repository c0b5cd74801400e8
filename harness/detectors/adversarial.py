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

from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.training.context import Vector
from harness.training.fused_chain import ALL, of_rows
from harness.training.loop import score_slices, seeded
from harness.training.nets import load_state, state_of, xavier
from harness.training.replicas import Net


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
        self.nets = seeded(lambda: xavier(self.architecture(n_features)), self.seed)

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


def judgements(logits: Tensor, first: float) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of logits (K, 2n, 1), the first n of which should say ``first`` and the others the opposite.

    Returns:
        the means over both halves, (K, 2), and the gradient of their sum, like ``logits``.
    """
    signs = _SIGNS if first == 1.0 else -_SIGNS
    against = logits.view(len(logits), 2, -1) * signs
    gradient = against.sigmoid().mul_(signs / against.shape[2])
    return functional.softplus(against).mean(dim=2), gradient.view_as(logits)


_SIGNS = torch.tensor([[-1.0], [1.0]])


@dataclass(frozen=True)
class PairJudge:
    """The discriminator of pairs (row, code): a branch for each, and what makes a logit of both."""

    rows: Net
    codes: Net
    joint: Net

    def forward(self, real: Tensor, inferred: Tensor, fake: Tensor, codes: Tensor) -> tuple[Tensor, Judged]:
        """Logits (K, 2n, 1) of (row, its code) and (generated row, its code), and what the ways back need.

        Each half of the rows goes through the branch on its own, as batch normalisation shall not mix them.
        """
        of_real, kept_real = self.rows.forward(real)
        of_fake, kept_fake = self.rows.forward(fake)
        of_code, kept_codes = self.codes.forward(torch.cat([inferred, codes], dim=1))
        both = torch.cat([torch.cat([of_real, of_fake], dim=1), of_code], dim=2)
        logits, kept_joint = self.joint.forward(both)
        return logits, Judged(kept_real, kept_fake, kept_codes, kept_joint, real.shape[1], of_real.shape[2])

    def learn(self, judged: Judged, g: Tensor) -> None:
        """Add the gradients of the discriminator's parameters, given that of the logits."""
        g = self.joint.backward(judged.joint, g, wanted=ALL)
        self.rows.backward(judged.real, g[:, : judged.count, : judged.width])
        self.rows.backward(judged.fake, g[:, judged.count :, : judged.width])
        self.codes.backward(judged.codes, g[:, :, judged.width :])

    def pass_on(self, judged: Judged, g: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the generated rows and of the inferred codes: nobody makes the real rows and the codes."""
        first, second = slice(judged.count), slice(judged.count, None)
        of_code = self.joint.backward(
            of_rows(judged.joint, first), g[:, first], learn=False, wanted=slice(judged.width, None)
        )
        of_fake = self.joint.backward(
            of_rows(judged.joint, second), g[:, second], learn=False, wanted=slice(judged.width)
        )
        return (
            self.rows.backward(judged.fake, of_fake, learn=False, wanted=ALL),
            self.codes.backward(of_rows(judged.codes, first), of_code, learn=False, wanted=ALL),
        )


@dataclass(frozen=True)
class Judged:
    """What `PairJudge.forward` keeps of its nets, the number of rows in a half, and the width of the rows' branch."""

    real: list[Any]
    fake: list[Any]
    codes: list[Any]
    joint: list[Any]
    count: int
    width: int


def collect(replicas: Sequence[Adversarial], names: Sequence[str]) -> list[nn.Module]:
    """The nets of those names, of each replica."""
    return [nn.ModuleDict({name: replica.nets[name] for name in names}) for replica in replicas]
