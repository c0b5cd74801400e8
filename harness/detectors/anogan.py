"""AnoGAN: a GAN and a search for the code of each row, after Schlegl et al. 2017 and the KDD99 nets of EGBAD's code.

There is no encoder: to score a row, gradient descent looks for the code whose generated row is nearest, which makes
scoring hundreds of times dearer than a pass through a net.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.detectors.adversarial import Adversarial
from harness.training.context import Matrix, Vector

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.adversarial_tape import Losses, Recorder
    from harness.detectors.adversarial_training import Players
    from harness.scoring.search import CodeSearch

ROWS_PER_SEARCH = 1024  # codes, moments and activations stay inside a second-level cache
THRESHOLD_ROWS = 4096  # training rows scored for a percentile: a search over all of them would outlast the training


@dataclass
class AnoGAN(Adversarial):
    """Score is (1 - ``weight``) times the L1 distance to the nearest generated row of the search, plus ``weight`` times
    the discriminator's term there.

    The search uses Adam, whose rate falls to a tenth after three fifths of the steps and to a twentieth after four
    fifths. It starts from one code, drawn from the seed, for all rows, so that a row's score does not depend on its
    company. For the same reason it is in float64: signs in the gradient and Adam's division turn a rounding error of
    float32, which depends on the company, into another path.

    The defaults are those of EGBAD's published code for KDD99.

    Args:
        score_by: the discriminator's term, default ``feature-matching``, or ``cross-entropy``.
        weight: float in [0, 1], default 0.1. Share of that term in the score.
        generator: widths of the generator's hidden layers.
        discriminator: widths of the discriminator's hidden layers.
        slope: float >= 0, default 0.1. Slope of leaky ReLU below zero.
        dropout: float in [0, 1), default 0.2. Share of the discriminator's units dropped.
        search_steps: int >= 1, default 500. Steps of the search for a row's code.
        search_rate: float > 0, default 0.01. The search's first step size.
    """

    name: ClassVar[str] = "anogan"
    generators: ClassVar[tuple[str, ...]] = ("generator",)
    loss_names: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    orders: ClassVar[int] = 1
    watched_rows: ClassVar[int] = 256  # half a second's search on one core
    native_backend: ClassVar[bool] = False  # its own scoring searches natively

    score_by: Literal["cross-entropy", "feature-matching"] = "feature-matching"
    weight: float = 0.1
    generator: tuple[int, ...] = (64, 128)
    discriminator: tuple[int, ...] = (256, 128, 128)
    slope: float = 0.1
    dropout: float = 0.2
    search_steps: int = 500
    search_rate: float = 0.01

    def round(self, players: Players) -> Callable[..., Tensor]:
        """One step of the discriminator and one of the generator."""
        import torch

        generate, discriminate = players.generators.net("generator"), players.discriminators.net("discriminator")

        def step(indices: Tensor) -> Tensor:
            real, codes = players.batch(indices)
            count = real.shape[1]
            logits = discriminate(torch.cat([real, generate.forward(codes)[0]], dim=1))
            discriminator_loss = _cross_entropy(logits[:, :count], 1.0) + _cross_entropy(logits[:, count:], 0.0)
            players.discriminators.descend(discriminator_loss)
            fooled = discriminate(generate(players.noise.normal(count, self.latent)), learn=False)
            generator_loss = _cross_entropy(fooled, 1.0)
            players.generators.descend(generator_loss)
            return torch.stack([discriminator_loss.detach(), generator_loss.detach()], dim=1)

        return step

    def record(self, recorder: Recorder) -> Losses:
        """The same round as operations."""
        generate, discriminate = recorder.nets["generator"], recorder.nets["discriminator"]
        mark = recorder.writer.mark()
        both = recorder.value(2, self.n_features_in_)
        codes = recorder.value(1, self.latent)
        recorder.writer.gather(recorder.half(both, 0), 0)
        recorder.writer.normal(codes)
        generate.forward([[codes]], recorder.half(both, 1))
        logits, saved = discriminate.forward([[both]])
        g, of_discriminator = recorder.loss(logits, 1.0)
        recorder.discriminators.begin()
        discriminate.backward(saved, g)
        recorder.discriminators.step()

        recorder.writer.release(mark)
        codes = recorder.value(1, self.latent)
        recorder.writer.normal(codes)
        fake, generated = generate.forward([[codes]])
        logits, saved = discriminate.forward([[fake]])
        g, of_generator = recorder.loss(logits, 1.0, alike=True)
        of_fake = recorder.writer.like(fake)
        discriminate.backward(saved, g, learn=False, wanted={(0, 0): (of_fake, False)})
        recorder.generators.begin()
        generate.backward(generated, of_fake)
        recorder.generators.step()
        return (of_discriminator, of_discriminator + 1), (of_generator,)

    def threshold_rows(self, normal: Matrix) -> Matrix:
        """A sample."""
        return normal[np.random.default_rng(0).permutation(len(normal))[:THRESHOLD_ROWS]]

    def parts(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        from torch import nn

        from harness.training.nets import stack

        n_features = self.n_features_in_
        layers: list[nn.Module] = []
        for inputs, outputs in zip((n_features, *self.discriminator[:-1]), self.discriminator, strict=True):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(self.slope), nn.Dropout(self.dropout)]
        return {
            "generator": stack((self.latent, *self.generator, n_features), "relu"),
            "discriminator": nn.Sequential(*layers, nn.Linear(self.discriminator[-1], 1)),
        }

    def decision_function(self, X: ArrayLike) -> Vector:
        """Search a code for each distinct row and score it there; equal rows have equal scores.

        The native kernels search, where they are built; else torch does.
        """
        from harness.linalg import native
        from harness.scoring.search import native_searcher

        if native.missing() is not None:
            return self.eager_scores(X)
        blocks = self.checked_blocks(X)
        return np.concatenate([self._scores(rows, native_searcher(self._code_search())) for rows in blocks])

    def eager_scores(self, X: ArrayLike) -> Vector:
        """The same by torch."""
        import torch

        blocks = self.checked_blocks(X)
        return np.concatenate(
            [self._scores(rows, lambda part: self._search(torch.from_numpy(part))) for rows in blocks]
        )

    def _scores(self, X: Matrix, search: Callable[[Matrix], Vector]) -> Vector:
        distinct, places = _distinct(X)
        scores = [search(distinct[at : at + ROWS_PER_SEARCH]) for at in range(0, len(distinct), ROWS_PER_SEARCH)]
        return np.concatenate(scores)[places] if scores else np.empty(0, dtype=np.float32)

    def score_tensor(self, x: Tensor) -> Tensor:
        """Not of the row alone: see `decision_function`."""
        import torch

        return torch.from_numpy(self._search(x))

    def scoring_module(self) -> None:
        """None: the search needs gradients, which no traced module has."""

    def scoring_graph(self) -> bytes:
        """Search and score as one graph."""
        from harness.scoring.onnx_search import searching_graph

        return searching_graph(self._code_search())

    def _code_search(self) -> CodeSearch:
        from harness.scoring.search import CodeSearch
        from harness.training.adam import BETAS, EPS
        from harness.training.nets import array_of, layers_of

        return CodeSearch(
            layers_of(self.part("generator")), layers_of(self.part("discriminator")),
            self.score_by, self.weight, array_of(self._start()), self._rates(), BETAS, EPS,
        )  # fmt: skip

    def _start(self) -> Tensor:
        from harness.training.replicas import Noise

        return Noise([self.random_state]).normal(1, self.latent)[0, 0]

    def _rates(self) -> NDArray[np.float64]:
        """Learning rate of each step."""
        return self.search_rate * np.array([_decay(index / self.search_steps) for index in range(self.search_steps)])

    def _search(self, x: Tensor) -> Vector:
        import torch

        from harness.training.adam import BETAS, Adam
        from harness.training.loop import descend

        loss = self._loss(x.double())
        code = self._start().double().repeat(len(x), 1).requires_grad_()
        optimiser = Adam([code], self.search_rate, BETAS)
        with torch.enable_grad():
            for rate in self._rates().tolist():
                optimiser.learning_rate = rate
                descend(loss(code).sum(), optimiser)
        with torch.no_grad():
            scores: Vector = loss(code).float().numpy()
        return scores

    def _loss(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """What codes (n, latent) cost for the rows ``x`` (n, d): (n,), float64."""
        from torch.nn import functional

        generate, discriminate = (
            copy.deepcopy(self.part(name)).double().requires_grad_(False) for name in ("generator", "discriminator")
        )
        hidden = discriminate[:-1]
        features = hidden(x)

        def term(generated: Tensor) -> Tensor:
            if self.score_by == "cross-entropy":
                return functional.softplus(-discriminate(generated)).view(-1)
            distance: Tensor = (features - hidden(generated)).abs().sum(dim=1)
            return distance

        def loss(code: Tensor) -> Tensor:
            generated: Tensor = generate(code)
            total: Tensor = (1.0 - self.weight) * (x - generated).abs().sum(dim=1) + self.weight * term(generated)
            return total

        return loss


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of logits (K, rows, 1) against one target, mean over rows: (K,)."""
    from torch.nn import functional

    return functional.softplus(-logits if target == 1.0 else logits).mean(dim=(1, 2))


def _distinct(X: Matrix) -> tuple[Matrix, NDArray[np.int64]]:
    """The distinct rows of ``X`` (n, d), in order of their first occurrence, and the place of each row among them."""
    whole = X.view(np.dtype((np.void, X.strides[0]))).ravel()  # a row as one value
    _, first, places = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.ascontiguousarray(X[first[order]]), rank[places.reshape(-1)]


def _decay(progress: float) -> float:
    return 1.0 if progress < 0.6 else 0.1 if progress < 0.8 else 0.05
