"""The training of adversarial detectors: discriminators, their losses, and which weights are kept. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.net_detector import NetDetector
from harness.errors import InputError
from harness.evaluation import thresholds
from harness.training.adam import BETAS
from harness.training.context import FitContext, Matrix
from harness.training.fused_chain import ALL, of_rows
from harness.training.loop import gathering
from harness.training.nets import load_state
from harness.training.replicas import Net, Noise, Replicas

_SIGNS = torch.tensor([[-1.0], [1.0]])


class Players:
    """Discriminators and generators of K replicas, their optimisers, their noise and the training rows.

    Args:
        replicas: built, and equal in all but seed and learning rate.
        normal: training rows (n, d).
        sides: names of the discriminators' nets, and of the generators'.
        latent: features of a code.
        beta_1: Adam's decay of the first moment.
        ema_decay: decay of the moving averages of the weights.
    """

    def __init__(
        self,
        replicas: Sequence[NetDetector],
        normal: Matrix,
        sides: tuple[tuple[str, ...], tuple[str, ...]],
        *,
        latent: int,
        beta_1: float,
        ema_decay: float,
    ) -> None:
        self.latent = latent
        self.noise = Noise([replica.random_state for replica in replicas])
        self.discriminators, self.generators = (
            Replicas(
                [nn.ModuleDict({name: replica.part(name) for name in names}) for replica in replicas],
                [replica.learning_rate for replica in replicas],
                betas=(beta_1, BETAS[1]),
                noise=self.noise,
                ema_decay=ema_decay,
            )
            for names in sides
        )
        self._gather = gathering(normal)

    def write_back(self) -> None:
        """Give the replicas the weights as they are now, averaged."""
        for side in (self.discriminators, self.generators):
            side.write_back(averaged=True)

    def pair_discriminator(self, rows: str, codes: str, *joint: str) -> PairDiscriminator:
        """The discriminator made of the nets at those paths."""
        net = self.discriminators.net
        layers = [layer for path in joint for layer in net(path).layers]
        return PairDiscriminator(net(rows), net(codes), Net(layers))

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Training rows (K, batch, d), and as many fresh codes (K, batch, latent)."""
        return self._gather(indices), self.noise.normal(indices.shape[1], self.latent)


def pair_losses(logits: Tensor, first: float) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of logits (K, 2n, 1), the first n of which should say ``first`` and the others the opposite.

    Returns:
        the means over both halves, (K, 2), and the gradient of their sum, like ``logits``.
    """
    signs = _SIGNS if first == 1.0 else -_SIGNS
    against = logits.view(len(logits), 2, -1) * signs
    gradient = against.sigmoid().mul_(signs / against.shape[2])
    return functional.softplus(against).mean(dim=2), gradient.view_as(logits)


@dataclass(frozen=True)
class PairDiscriminator:
    """The discriminator of pairs (row, code): a branch for each, and what makes a logit of both."""

    rows: Net
    codes: Net
    joint: Net

    def forward(self, real: Tensor, inferred: Tensor, fake: Tensor, codes: Tensor) -> tuple[Tensor, PairState]:
        """Logits (K, 2n, 1) of (row, its code) and (generated row, its code), and what the backward passes need.

        Each half of the rows goes through the branch on its own, as batch normalisation shall not mix them.
        """
        of_real, saved_real = self.rows.forward(real)
        of_fake, saved_fake = self.rows.forward(fake)
        of_code, saved_codes = self.codes.forward(torch.cat([inferred, codes], dim=1))
        both = torch.cat([torch.cat([of_real, of_fake], dim=1), of_code], dim=2)
        logits, saved_joint = self.joint.forward(both)
        return logits, PairState(saved_real, saved_fake, saved_codes, saved_joint, real.shape[1], of_real.shape[2])

    def learn(self, state: PairState, g: Tensor) -> None:
        """Add the gradients of the discriminator's parameters, given that of the logits."""
        g = self.joint.backward(state.joint, g, wanted=ALL)
        self.rows.backward(state.real, g[:, : state.count, : state.width])
        self.rows.backward(state.fake, g[:, state.count :, : state.width])
        self.codes.backward(state.codes, g[:, :, state.width :])

    def pass_on(self, state: PairState, g: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of the generated rows and of the inferred codes; real rows and codes need no gradient."""
        first, second = slice(state.count), slice(state.count, None)
        of_code = self.joint.backward(
            of_rows(state.joint, first), g[:, first], learn=False, wanted=slice(state.width, None)
        )
        of_fake = self.joint.backward(
            of_rows(state.joint, second), g[:, second], learn=False, wanted=slice(state.width)
        )
        return (
            self.rows.backward(state.fake, of_fake, learn=False, wanted=ALL),
            self.codes.backward(of_rows(state.codes, first), of_code, learn=False, wanted=ALL),
        )


@dataclass(frozen=True)
class PairState:
    """What `PairDiscriminator.forward` saves of its nets, the rows in a half, and the width of the rows' branch."""

    real: list[Any]
    fake: list[Any]
    codes: list[Any]
    joint: list[Any]
    count: int
    width: int


@dataclass(frozen=True)
class CycleDiscriminator:
    """The discriminator of (value, itself) and (value, its reconstruction)."""

    net: Net

    def learn(self, true: Tensor, reconstructed: Tensor) -> Tensor:
        """Add the gradients of telling them apart; the losses (K, 2)."""
        logits, saved = self.net.forward(_doubled(true, reconstructed))
        losses, g = pair_losses(logits, 1.0)
        self.net.backward(saved, g)
        return losses

    def fool(self, true: Tensor, reconstructed: Tensor) -> tuple[Tensor, Tensor]:
        """The loss (K,) of taking one for the other, and its gradient in the reconstruction."""
        logits, saved = self.net.forward(_doubled(true, reconstructed))
        losses, g = pair_losses(logits, 0.0)
        second = slice(true.shape[1], None)
        wanted = slice(true.shape[2], None)
        gradient = self.net.backward(of_rows(saved, second), g[:, second], learn=False, wanted=wanted)
        return losses.sum(dim=1), gradient


def _doubled(true: Tensor, reconstructed: Tensor) -> Tensor:
    pairs = true.repeat(1, 2, 2)
    pairs[:, true.shape[1] :, true.shape[2] :] = reconstructed
    return pairs


class BestWeightsKeeper:
    """Gives the replicas the weights of their last epoch, or of the one with the highest F1 on the validation labels.

    ``take`` gives them those of now.

    Raises:
        InputError: validation labels are to choose them and there are none.
    """

    def __init__(
        self,
        replicas: Sequence[NetDetector],
        take: Callable[[], None],
        context: FitContext,
        *,
        by_validation: bool,
    ) -> None:
        self._replicas, self._take, self._context = replicas, take, context
        self._by_validation = by_validation and not context.only_timed
        if self._by_validation and (context.X_val is None or context.y_val is None):
            raise InputError(f"{replicas[0].name}: keep = 'validation' needs a labelled validation split.")
        self._best = [float("-inf")] * len(replicas)
        self._states: list[dict[str, NDArray[Any]] | None] = [None] * len(replicas)

    def after_epoch(self) -> bool:
        """Save the weights of replicas that are better than before; training goes on."""
        X, y = self._context.X_val, self._context.y_val
        if self._by_validation and X is not None and y is not None:
            self.write_back()
            for index, replica in enumerate(self._replicas):
                f1 = thresholds.highest_f1(replica.decision_function(X), y)
                if f1 > self._best[index]:
                    self._best[index], self._states[index] = f1, replica.state()
        return True

    def finish(self) -> None:
        """Write the weights into the replicas."""
        self.write_back()
        for replica, state in zip(self._replicas, self._states, strict=True):
            if state is not None:
                load_state(replica.fitted_net(), state)

    def write_back(self) -> None:
        """Give the replicas the weights as they are now, averaged."""
        self._take()
        for replica in self._replicas:
            replica.fitted_net().eval()
