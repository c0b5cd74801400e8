"""The convolutional nets of EGBAD for images, after its published code for MNIST. Imports torch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.training.adam import BETAS, Adam
from harness.training.loop import descend

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


class Game:
    """Discriminator, and generator with encoder, trained against each other on ``images`` (n, 1, side, side).

    ``average`` has the moving averages of the weights, which score.
    """

    def __init__(
        self, live: Nets, images: Tensor, *, latent: int, learning_rate: float, beta_1: float, ema_decay: float
    ) -> None:
        self._live, self._images, self._latent, self._decay = live, images, latent, ema_decay
        self.average = copy.deepcopy(live).eval()
        betas = (beta_1, BETAS[1])
        self._discriminator = Adam(list(live.discriminator.parameters()), learning_rate, betas)
        self._generators = Adam([*live.encoder.parameters(), *live.generator.parameters()], learning_rate, betas)

    def step(self, for_discriminator: Tensor, for_generators: Tensor) -> Tensor:
        """A step of the discriminator and one of generator and encoder; their three losses."""
        live = self._live
        real, codes = self._batch(for_discriminator)
        with torch.no_grad():
            fake, inferred = live.generator(codes), live.encoder(real)
        loss = _cost(live.discriminator(real, inferred), 1.0) + _cost(live.discriminator(fake, codes), 0.0)
        descend(loss, self._discriminator)

        real, codes = self._batch(for_generators)
        live.discriminator.requires_grad_(False)
        generator_loss = _cost(live.discriminator(live.generator(codes), codes), 1.0)
        encoder_loss = _cost(live.discriminator(real, live.encoder(real)), 0.0)
        descend(generator_loss + encoder_loss, self._generators)
        live.discriminator.requires_grad_(True)
        _follow(self.average, live, self._decay)
        return torch.stack([loss.detach(), generator_loss.detach(), encoder_loss.detach()])

    def _batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        return self._images[indices[0]], torch.randn(indices.shape[1], self._latent)


def _cost(logits: Tensor, target: float) -> Tensor:
    return functional.softplus(-logits if target == 1.0 else logits).mean()


def _follow(average: nn.Module, live: nn.Module, decay: float) -> None:
    """Move the averaged parameters towards the live ones; statistics of batch normalisation are taken as they are."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(live.parameters()), 1.0 - decay)
        for kept, value in zip(average.buffers(), live.buffers(), strict=True):
            kept.copy_(value)
