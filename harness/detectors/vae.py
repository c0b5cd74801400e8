"""Variational autoencoder made aware of anomalies, after Banda, Khosa and Sanz 2025 (arXiv 2504.11520).

First it learns the background alone. Then a few labelled anomalies join, whose reconstruction error is pushed up
while that of the background is kept down; the hope, and the test, is that anomalies of other kinds move up with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.base import normal_rows
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.errors import InputError
from harness.linalg import trainer
from harness.scoring.program import ROWS, Builder, DenseLayer, Program
from harness.training.context import Epoch, FitContext, Labels, Matrix, Vector
from harness.training.loop import gather, score_slices, seeded, train
from harness.training.native_loop import train_natively
from harness.training.native_spec import NativeTraining
from harness.training.nets import layers_of, load_state, stack, state_of
from harness.training.replicas import Noise, Replicas

LOSSES = ("loss", "background error")
SECOND_STAGE = 1_000_003  # sets the second stage's random numbers apart from the first's
CLIP = 10.0  # on the gradient norm while errors are pushed up


@dataclass
class VAE(Replicated, OneClass):
    """Score is the mean squared reconstruction error through the mean of the code.

    ``awareness_epochs`` 0 gives the plain autoencoder. Otherwise every batch of the second stage holds
    ``awareness_rows`` labelled anomalies, drawn with replacement from ``anomalies`` of the training rows labelled so,
    whose loss is that of the background minus lambda times the reconstruction error, lambda rising from 0 to
    ``awareness_weight`` over ``ramp_epochs``.

    ``push``: ``literal`` is that formula, which above lambda 1 has no lower bound; ``bounded`` asks for an error of
    ``margin`` times the background's and no more, so that the optimiser cannot win by blowing up a single anomaly.

    ``output``: ``linear`` with squared error, or ``sigmoid`` with cross-entropy, for pixels in [0, 1].
    """

    name: ClassVar[str] = "vae"

    hidden: tuple[int, ...] = (64, 32)
    latent: int = 8
    output: Literal["linear", "sigmoid"] = "linear"
    divergence_weight: float = 1.0
    learning_rate: float = 1e-3
    batch_size: int = 256
    epochs: int = 30
    awareness_epochs: int = 0
    awareness_rows: int = 16
    awareness_weight: float = 1.0
    anomalies: int = 500
    ramp_epochs: int = 10
    push: Literal["literal", "bounded"] = "bounded"
    margin: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.nets = nn.ModuleDict()

    @classmethod
    def train_together(cls, replicas: Sequence[VAE], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """The background, then background and labelled anomalies."""
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        how = [found for replica in replicas if (found := replica.native_training()) is not None]
        histories = (
            cls._train_natively(replicas, how, normal, context)
            if how and context.trainer == "native"
            else cls._train_on_torch(replicas, normal, X, y, context)
        )
        for replica, history in zip(replicas, histories, strict=True):
            replica.nets.eval()
            replica.history_ = history
            replica.choose(normal, context)

    @classmethod
    def _train_natively(
        cls, replicas: Sequence[VAE], how: Sequence[NativeTraining], normal: Matrix, context: FitContext
    ) -> list[tuple[Epoch, ...]]:
        return train_natively(
            [replica.nets for replica in replicas],
            how,
            normal,
            None,
            epochs=replicas[0].epochs,
            seeds=[replica.seed for replica in replicas],
            context=context,
            loss_names=LOSSES,
        )

    @classmethod
    def _train_on_torch(
        cls, replicas: Sequence[VAE], normal: Matrix, X: Matrix, y: Labels | None, context: FitContext
    ) -> list[tuple[Epoch, ...]]:
        first = replicas[0]
        stages = _Stages(replicas, torch.from_numpy(normal))
        seeds = [replica.seed for replica in replicas]
        histories = train(
            stages.background, rows=len(normal), batch_size=first.batch_size, epochs=first.epochs, context=context,
            seeds=seeds, loss_names=LOSSES,
        )  # fmt: skip
        if first.awareness_epochs:
            stages.take_anomalies(X, y)
            second = train(
                stages.aware, rows=len(normal), batch_size=first.batch_size, epochs=first.awareness_epochs,
                context=context, seeds=[seed + SECOND_STAGE for seed in seeds], loss_names=LOSSES,
            )  # fmt: skip
            histories = [before + after for before, after in zip(histories, second, strict=True)]
        stages.together.write_back()
        return histories

    def build(self, n_features: int) -> None:
        """Take fresh nets, initialised from the seed."""
        self.n_features_ = n_features
        self.nets = seeded(lambda: nn.ModuleDict(self.architecture(n_features)), self.seed)

    def architecture(self, n_features: int) -> dict[str, nn.Module]:
        """Encoder to mean and log-variance of the code, and its mirrored decoder (to logits for ``sigmoid``)."""
        return {
            "encoder": stack((n_features, *self.hidden, 2 * self.latent), "relu"),
            "decoder": stack((self.latent, *reversed(self.hidden), n_features), "relu"),
        }

    def decision_function(self, X: ArrayLike) -> Vector:
        """Reconstruction error of each row."""
        return score_slices(self.score, self.check_rows(X))

    def score(self, x: Tensor) -> Tensor:
        """Reconstruction error per row of ``x`` (n, d), shape (n,)."""
        again = self.nets["decoder"](self.nets["encoder"](x)[:, : self.latent])
        if self.output == "sigmoid":
            again = torch.sigmoid(again)
        return (again - x).square().mean(dim=1)  # type: ignore[no-any-return]

    def native_training(self) -> NativeTraining | None:
        """The background's stage; that with anomalies is torch's."""
        if self.awareness_epochs:
            return None
        loss: trainer.Loss = "gaussian" if self.output == "linear" else "bernoulli"
        return NativeTraining(loss, self.learning_rate, self.batch_size, None, len(self.hidden), self.divergence_weight)

    def program(self) -> Program:
        """The means only: the half of the encoder's last layer that gives log-variances is left out."""
        encoder, decoder = (list(layers_of(self._net(name))) for name in ("encoder", "decoder"))
        last = encoder[-1]
        encoder[-1] = DenseLayer(last.weight[: self.latent], last.bias[: self.latent])
        if self.output == "sigmoid":
            decoder[-1] = DenseLayer(decoder[-1].weight, decoder[-1].bias, "sigmoid")
        builder = Builder(self.n_features_)
        again = builder.chain(builder.chain(ROWS, encoder), decoder)
        return builder.finish(builder.reduce("square_mean", builder.elementwise("subtract", again, ROWS)))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights by torch's parameter names."""
        return state_of(self.nets)

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild the nets and load their weights."""
        self.build(self.n_features_)
        load_state(self.nets, state)

    def _net(self, name: str) -> nn.Sequential:
        net = self.nets[name]
        assert isinstance(net, nn.Sequential)
        return net


class _Stages:
    """The steps of both stages over K replicas."""

    def __init__(self, replicas: Sequence[VAE], rows: Tensor) -> None:
        self._how = replicas[0]
        self._seeds = [replica.seed for replica in replicas]
        self._noise = Noise(self._seeds)
        self._rows = rows
        self.together = Replicas([each.nets for each in replicas], [each.learning_rate for each in replicas])
        self._encode, self._decode = self.together.net("encoder"), self.together.net("decoder")
        self._known: list[Tensor] = []
        self._pick: list[np.random.Generator] = []
        self._steps = 0
        self._ramp = max(1, self._how.ramp_epochs * -(-len(rows) // self._how.batch_size))

    def take_anomalies(self, X: Matrix, y: Labels | None) -> None:
        """Draw each replica's labelled anomalies.

        Raises:
            InputError: there are none.
        """
        rows = X[y == 1] if y is not None else X[:0]
        if not len(rows):
            raise InputError("vae: awareness needs training rows labelled as anomalies; there are none.")
        self._pick = [np.random.default_rng([seed, SECOND_STAGE]) for seed in self._seeds]
        drawn = [rows[pick.permutation(len(rows))[: self._how.anomalies]] for pick in self._pick]
        self._known = [torch.from_numpy(part) for part in drawn]

    def background(self, indices: Tensor) -> Tensor:
        """One step down the loss of background rows."""
        self.together.zero()
        errors, divergences = self._pass(gather(self._rows, indices))
        losses = (errors + divergences).mean(dim=1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self.together.step()
        return torch.stack([losses, errors.mean(dim=1)], dim=1).detach()

    def aware(self, indices: Tensor) -> Tensor:
        """One step down the loss of background rows and up the error of anomalies."""
        how = self._how
        weight = how.awareness_weight * min(1.0, self._steps / self._ramp)
        self._steps += 1
        self.together.zero()
        batch = gather(self._rows, indices)
        count = batch.shape[1]
        errors, divergences = self._pass(torch.cat([batch, self._anomalies()], dim=1))
        background = (errors[:, :count] + divergences[:, :count]).mean(dim=1)
        error, divergence = errors[:, count:], divergences[:, count:]
        if how.push == "bounded":
            limit = how.margin * errors[:, :count].detach().mean(dim=1, keepdim=True)
            anomalous = divergence + weight * (limit - error).clamp_min(0.0)
        else:
            anomalous = divergence + (1.0 - weight) * error
        losses = background + anomalous.mean(dim=1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self.together.clip(CLIP)
        self.together.step()
        return torch.stack([losses, errors[:, :count].mean(dim=1)], dim=1).detach()

    def _anomalies(self) -> Tensor:
        chosen = []
        for part, pick in zip(self._known, self._pick, strict=True):
            chosen.append(part[torch.from_numpy(pick.integers(len(part), size=self._how.awareness_rows))])
        return torch.stack(chosen)

    def _pass(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction error and weighted divergence from the prior, per row: (K, rows) each."""
        how = self._how
        mean, log_variance = self._encode(x).chunk(2, dim=2)
        code = mean + (0.5 * log_variance).exp() * self._noise.normal(x.shape[1], how.latent)
        again = self._decode(code)
        if how.output == "sigmoid":
            errors = functional.binary_cross_entropy_with_logits(again, x, reduction="none").sum(dim=2)
        else:
            errors = (again - x).square().sum(dim=2)
        divergences = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=2)
        return errors, how.divergence_weight * divergences
