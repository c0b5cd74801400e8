"""EGBAD for images: the convolutional nets of its published code for MNIST (Zenati et al. 2018, arXiv 1802.06222)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.base import Detector, as_training_rows, normal_rows
from harness.detectors.module_detector import ModuleDetector
from harness.detectors.oneclass import OneClass
from harness.errors import InputError
from harness.training.adam import Adam
from harness.training.context import FitContext
from harness.training.loop import descend, train

SLOPE = 0.1
DEVIATION = 0.02  # of the initial weights


class Encoder(nn.Module):
    """Images (n, 1, side, side) to codes."""

    def __init__(self, side: int, latent: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.LeakyReLU(SLOPE),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.LeakyReLU(SLOPE),
            nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.BatchNorm2d(128), nn.LeakyReLU(SLOPE),
            nn.Flatten(), nn.Linear(128 * (side // 4) ** 2, latent),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Codes (n, latent)."""
        return self.net(x)  # type: ignore[no-any-return]


class Generator(nn.Module):
    """Codes to images with pixels in [-1, 1]."""

    def __init__(self, side: int, latent: int) -> None:
        super().__init__()
        small = side // 4
        self.net = nn.Sequential(
            nn.Linear(latent, 1024), nn.BatchNorm1d(1024), nn.ReLU(),
            nn.Linear(1024, 128 * small**2), nn.BatchNorm1d(128 * small**2), nn.ReLU(),
            nn.Unflatten(1, (128, small, small)),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        """Images (n, 1, side, side)."""
        return self.net(z)  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Judges pairs of image and code; `features` is the layer that feature matching compares."""

    def __init__(self, side: int, latent: int) -> None:
        super().__init__()
        self.of_images = nn.Sequential(
            nn.Conv2d(1, 64, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE), nn.Dropout(0.5),
            nn.Conv2d(64, 64, 4, stride=2, padding=1), nn.BatchNorm2d(64), nn.LeakyReLU(SLOPE), nn.Dropout(0.5),
            nn.Flatten(),
        )  # fmt: skip
        self.of_codes = nn.Sequential(nn.Linear(latent, 512), nn.LeakyReLU(SLOPE), nn.Dropout(0.5))
        self.joint = nn.Sequential(nn.Linear(64 * (side // 4) ** 2 + 512, 1024), nn.LeakyReLU(SLOPE), nn.Dropout(0.5))
        self.out = nn.Linear(1024, 1)

    def features(self, x: Tensor, z: Tensor) -> Tensor:
        """The last hidden layer (n, 1024)."""
        return self.joint(torch.cat([self.of_images(x), self.of_codes(z)], dim=1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Logits (n,) of the pair coming from a real image."""
        return self.out(self.features(x, z)).view(-1)  # type: ignore[no-any-return]


class Nets(nn.Module):
    """The three nets."""

    def __init__(self, side: int, latent: int) -> None:
        super().__init__()
        self.encoder, self.generator = Encoder(side, latent), Generator(side, latent)
        self.discriminator = Discriminator(side, latent)


@dataclass
class EGBADImages(ModuleDetector, OneClass):
    """EGBAD on square images as rows of pixels in [-1, 1]; see `harness.detectors.egbad` for its scores.

    The defaults are the published ones for MNIST.
    """

    name: ClassVar[str] = "egbad-images"

    score_by: Literal["cross-entropy", "feature-matching"] = "cross-entropy"
    weight: float = 0.1
    latent: int = 200
    learning_rate: float = 1e-5
    beta1: float = 0.5
    ema_decay: float = 0.999
    batch_size: int = 100
    epochs: int = 100

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, *, context: FitContext | None = None) -> Detector:
        """Alternate a step of the discriminator and one of generator and encoder, on independent orders of the rows."""
        context = context or FitContext()
        normal = normal_rows(*as_training_rows(X, y, self.name), self.name)
        side = math.isqrt(normal.shape[1])
        if side**2 != normal.shape[1] or side % 4:
            raise InputError(
                f"{self.name} takes square images, their side a multiple of 4; rows have {normal.shape[1]} pixels."
            )
        self.build(normal.shape[1])
        live = self._nets()
        average = copy.deepcopy(live).eval()
        images = torch.from_numpy(normal).view(-1, 1, side, side)
        betas = (self.beta1, 0.999)
        judge = Adam(list(live.discriminator.parameters()), self.learning_rate, betas)
        makers = Adam([*live.encoder.parameters(), *live.generator.parameters()], self.learning_rate, betas)

        def step(for_judge: Tensor, for_makers: Tensor) -> Tensor:
            real, codes = images[for_judge[0]], torch.randn(for_judge.shape[1], self.latent)
            with torch.no_grad():
                fake, inferred = live.generator(codes), live.encoder(real)
            judge_loss = _cost(live.discriminator(real, inferred), 1.0) + _cost(live.discriminator(fake, codes), 0.0)
            descend(judge_loss, judge)

            real, codes = images[for_makers[0]], torch.randn(for_makers.shape[1], self.latent)
            for parameter in live.discriminator.parameters():
                parameter.requires_grad_(False)
            generator_loss = _cost(live.discriminator(live.generator(codes), codes), 1.0)
            encoder_loss = _cost(live.discriminator(real, live.encoder(real)), 0.0)
            descend(generator_loss + encoder_loss, makers)
            for parameter in live.discriminator.parameters():
                parameter.requires_grad_(True)
            _follow(average, live, self.ema_decay)
            return torch.stack([judge_loss.detach(), generator_loss.detach(), encoder_loss.detach()])

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            live.train()
            self.history_ = train(
                step, rows=len(normal), batch_size=self.batch_size, epochs=self.epochs, seeds=[self.seed],
                context=context, orders=2, drop_last=True, loss_names=("discriminator", "generator", "encoder"),
            )[0]  # fmt: skip
        self.module = average
        self.choose(normal, context)
        return self

    def architecture(self) -> nn.Module:
        """The nets, with small normal weights and zero biases."""
        nets = Nets(math.isqrt(self.n_features_), self.latent)
        for part in nets.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(part.weight, std=DEVIATION)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        return nets

    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row of pixels."""
        nets = self._nets()
        side = math.isqrt(self.n_features_)
        image = x.view(-1, 1, side, side)
        code = nets.encoder(image)
        again = nets.generator(code)
        error = (image - again).abs().flatten(1).sum(dim=1)
        if self.score_by == "cross-entropy":
            judged = functional.softplus(-nets.discriminator(again, code))
        else:
            judge = nets.discriminator
            judged = (judge.features(image, code) - judge.features(again, code)).abs().sum(dim=1)
        return (1.0 - self.weight) * error + self.weight * judged  # type: ignore[no-any-return]

    def _nets(self) -> Nets:
        assert isinstance(self.module, Nets)
        return self.module


def _cost(logits: Tensor, target: float) -> Tensor:
    return functional.softplus(-logits if target == 1.0 else logits).mean()


def _follow(average: nn.Module, live: nn.Module, decay: float) -> None:
    """Move the averaged parameters towards the live ones; statistics of batch normalisation are taken as they are."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(live.parameters()), 1.0 - decay)
        for kept, value in zip(_statistics(average), _statistics(live), strict=True):
            kept.copy_(value)


def _statistics(net: nn.Module) -> Iterator[Tensor]:
    return net.buffers()
