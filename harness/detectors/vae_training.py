"""The two stages of the variational autoencoder's training on torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.datasets.coded_rows import Rows, chosen_rows
from harness.detectors.base import DataError
from harness.training.context import Labels
from harness.training.loop import gathering
from harness.training.replicas import Noise, Replicas

SECOND_STAGE = 1_000_003  # sets the second stage's random numbers apart from the first's
MAX_GRAD_NORM = 10.0  # while errors are pushed up


class Awareness(Protocol):
    """The parameters of `harness.detectors.vae.VAE` that its training needs."""

    random_state: int
    learning_rate: float
    batch_size: int
    latent: int
    output: Literal["linear", "sigmoid"]
    divergence_weight: float
    awareness_rows: int
    awareness_weight: float
    anomalies: int
    ramp_epochs: int
    push: Literal["literal", "bounded"]
    margin: float

    def fitted_net(self) -> nn.Module:
        """Encoder and decoder."""


class Stages:
    """The steps of both stages over K replicas."""

    def __init__(self, replicas: Sequence[Awareness], rows: Rows) -> None:
        self._how = replicas[0]
        self._seeds = [replica.random_state for replica in replicas]
        self._noise = Noise(self._seeds)
        self._gather = gathering(rows)
        self.together = Replicas([each.fitted_net() for each in replicas], [each.learning_rate for each in replicas])
        self._encode, self._decode = self.together.net("encoder"), self.together.net("decoder")
        self._known: list[Tensor] = []
        self._pick: list[np.random.Generator] = []
        self._steps = 0
        self._ramp = max(1, self._how.ramp_epochs * -(-len(rows) // self._how.batch_size))

    def take_anomalies(self, X: Rows, y: Labels | None) -> None:
        """Draw each replica's labelled anomalies.

        Raises:
            DataError: there are none.
        """
        rows = chosen_rows(X, np.zeros(len(X), np.bool_) if y is None else y == 1)
        if not len(rows):
            raise DataError("vae: awareness needs training rows labelled as anomalies; there are none.")
        self._pick = [np.random.default_rng([seed, SECOND_STAGE]) for seed in self._seeds]
        drawn = [rows[pick.permutation(len(rows))[: self._how.anomalies]] for pick in self._pick]
        self._known = [torch.from_numpy(part) for part in drawn]

    def background(self, indices: Tensor) -> Tensor:
        """One step down the loss of background rows."""
        errors, divergences = self._pass(self._gather(indices))
        losses = (errors + divergences).mean(dim=1)
        self.together.descend(losses)
        return torch.stack([losses, errors.mean(dim=1)], dim=1).detach()

    def aware(self, indices: Tensor) -> Tensor:
        """One step down the loss of background rows and up the error of anomalies."""
        how = self._how
        weight = how.awareness_weight * min(1.0, self._steps / self._ramp)
        self._steps += 1
        batch = self._gather(indices)
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
        self.together.descend(losses, MAX_GRAD_NORM)
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
        reconstructed = self._decode(code)
        if how.output == "sigmoid":
            errors = functional.binary_cross_entropy_with_logits(reconstructed, x, reduction="none").sum(dim=2)
        else:
            errors = (reconstructed - x).square().sum(dim=2)
        divergences = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=2)
        return errors, how.divergence_weight * divergences
