"""AnoGAN: a GAN and a search for the code of each row, after Schlegl et al. 2017 and the KDD99 nets of EGBAD's code.

There is no encoder: to score a row, gradient descent looks for the code whose generated row is nearest, which makes
scoring hundreds of times dearer than a pass through a net.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.adversarial import Adversarial, collect, sequential
from harness.detectors.base import normal_rows
from harness.training.adam import BETAS, EPS, Adam
from harness.training.context import FitContext, Labels, Matrix, Vector
from harness.training.loop import descend, gather, train
from harness.training.nets import array_of, layers_of, stack
from harness.training.replicas import Noise, Replicas

ROWS_PER_SEARCH = 1024  # codes, moments and activations stay inside a second-level cache
THRESHOLD_ROWS = 4096  # training rows scored for a percentile: a search over all of them would outlast the training


@dataclass
class AnoGAN(Adversarial):
    """Score is (1 - ``weight``) times the L1 distance to the nearest generated row found, plus ``weight`` times the
    discriminator's term there, ``score_by`` cross-entropy or feature matching.

    The search takes ``search_steps`` steps of Adam, whose rate falls to a tenth after three fifths of them and to a
    twentieth after four fifths. It starts from one code, drawn from the seed, for all rows, so that a row's score
    does not depend on its company. For the same reason it is in float64: signs in the gradient and Adam's division turn
    a rounding error of float32, which depends on the company, into another path.
    """

    name: ClassVar[str] = "anogan"

    score_by: Literal["cross-entropy", "feature-matching"] = "feature-matching"
    weight: float = 0.1
    latent: int = 32
    generator: tuple[int, ...] = (64, 128)
    discriminator: tuple[int, ...] = (256, 128, 128)
    slope: float = 0.1
    dropout: float = 0.2
    learning_rate: float = 1e-5
    beta1: float = 0.5
    ema_decay: float = 0.9999
    batch_size: int = 50
    epochs: int = 10
    search_steps: int = 500
    search_rate: float = 0.01

    @classmethod
    def train_together(cls, replicas: Sequence[AnoGAN], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Alternate one step of the discriminator and one of the generator."""
        first = replicas[0]
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        noise = Noise([replica.seed for replica in replicas])
        rates = [replica.learning_rate for replica in replicas]
        betas = (first.beta1, 0.999)
        judge = Replicas(
            collect(replicas, ["discriminator"]), rates, betas=betas, noise=noise, ema_decay=first.ema_decay
        )
        maker = Replicas(collect(replicas, ["generator"]), rates, betas=betas, ema_decay=first.ema_decay)
        generate, judged, rows = maker.net("generator"), judge.net("discriminator"), torch.from_numpy(normal)

        def step(indices: Tensor) -> Tensor:
            count = indices.shape[1]
            fake = generate.forward(noise.normal(count, first.latent))[0]
            logits = judged(torch.cat([gather(rows, indices), fake], dim=1))
            judge_loss = _cross_entropy(logits[:, :count], 1.0) + _cross_entropy(logits[:, count:], 0.0)
            _update(judge, judge_loss)
            fooled = judged(generate(noise.normal(count, first.latent)), learn=False)
            generator_loss = _cross_entropy(fooled, 1.0)
            _update(maker, generator_loss)
            return torch.stack([judge_loss.detach(), generator_loss.detach()], dim=1)

        histories = train(
            step, rows=len(rows), batch_size=first.batch_size, epochs=first.epochs, context=context, drop_last=True,
            seeds=[replica.seed for replica in replicas], loss_names=("discriminator", "generator"),
        )  # fmt: skip
        for group in (judge, maker):
            group.write_back(averaged=True)
        sample = normal[np.random.default_rng(0).permutation(len(normal))[:THRESHOLD_ROWS]]
        for replica, history in zip(replicas, histories, strict=True):
            replica.nets.eval()
            replica.history_ = history
            replica.choose(sample, context)

    def architecture(self, n_features: int) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        judge: list[nn.Module] = []
        for inputs, outputs in zip((n_features, *self.discriminator[:-1]), self.discriminator, strict=True):
            judge += [nn.Linear(inputs, outputs), nn.LeakyReLU(self.slope), nn.Dropout(self.dropout)]
        return {
            "generator": stack((self.latent, *self.generator, n_features), "relu"),
            "discriminator": nn.Sequential(*judge, nn.Linear(self.discriminator[-1], 1)),
        }

    def decision_function(self, X: ArrayLike) -> Vector:
        """Search a code for each distinct row and score what was found; equal rows have equal scores."""
        distinct, places = _distinct(self.check_rows(X))
        rows = torch.from_numpy(distinct)
        scores = [self._search(rows[at : at + ROWS_PER_SEARCH]) for at in range(0, len(rows), ROWS_PER_SEARCH)]
        return np.concatenate(scores)[places] if scores else np.empty(0, dtype=np.float32)

    def score(self, x: Tensor) -> Tensor:
        """Not of the row alone: see `decision_function`."""
        return torch.from_numpy(self._search(x))

    def scoring_graph(self) -> bytes:
        """Search and score as one graph."""
        from harness.scoring.onnx_search import CodeSearch, searching_graph

        return searching_graph(
            CodeSearch(
                layers_of(sequential(self.nets, "generator")), layers_of(sequential(self.nets, "discriminator")),
                self.score_by, self.weight, array_of(self._start()), self._rates(), BETAS, EPS,
            )
        )  # fmt: skip

    def _start(self) -> Tensor:
        return Noise([self.seed]).normal(1, self.latent)[0, 0]

    def _rates(self) -> NDArray[np.float64]:
        """Learning rate of each step."""
        return self.search_rate * np.array([_decay(index / self.search_steps) for index in range(self.search_steps)])

    def _search(self, x: Tensor) -> Vector:
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
        nets = copy.deepcopy(self.nets).double().requires_grad_(False)
        generate, judge = (sequential(nets, name) for name in ("generator", "discriminator"))
        hidden = judge[:-1]
        features = hidden(x)

        def judged(made: Tensor) -> Tensor:
            if self.score_by == "cross-entropy":
                return functional.softplus(-judge(made)).view(-1)
            return (features - hidden(made)).abs().sum(dim=1)  # type: ignore[no-any-return]

        def loss(code: Tensor) -> Tensor:
            made: Tensor = generate(code)
            total: Tensor = (1.0 - self.weight) * (x - made).abs().sum(dim=1) + self.weight * judged(made)
            return total

        return loss


def _cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of logits (K, rows, 1) against one target, mean over rows: (K,)."""
    return functional.softplus(-logits if target == 1.0 else logits).mean(dim=(1, 2))


def _update(group: Replicas, losses: Tensor) -> None:
    """Descend the summed ``losses`` in the parameters of ``group``."""
    group.zero()
    losses.sum().backward()  # type: ignore[no-untyped-call]
    group.step()


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
