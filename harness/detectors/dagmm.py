"""DAGMM: deep autoencoding Gaussian mixture model, after Zong et al., ICLR 2018.

An autoencoder compresses a row to a code of one number; code, relative reconstruction error and cosine similarity go
to an estimation net that assigns the row to the components of a Gaussian mixture. The score is the row's energy in
the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from harness.detectors.base import normal_rows
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.scoring.program import ROWS, Builder, DenseLayer, Program
from harness.training.context import FitContext, Labels, Matrix, Vector
from harness.training.loop import gather, score_slices, seeded, train
from harness.training.nets import layers_of, load_state, stack, state_of, xavier
from harness.training.replicas import Noise, Replicas

TINY = 1e-12  # guards divisions by the norm of a row
NETS = ("encoder", "decoder", "estimator")
MIXTURE = ("shares", "means", "factors")


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of k components over z features.

    Shares (..., k), means (..., k, z), lower Cholesky factors of the covariances (..., k, z, z).
    """

    shares: Tensor
    means: Tensor
    factors: Tensor

    def joint(self, z: Tensor) -> Tensor:
        """Log of share times density of each row (..., n, z) in each component: (..., n, k)."""
        centred = (z.unsqueeze(-3) - self.means.unsqueeze(-2)).transpose(-1, -2)
        white = torch.linalg.solve_triangular(self.factors, centred, upper=False)
        half_log_det = torch.diagonal(self.factors, dim1=-2, dim2=-1).log().sum(dim=-1)
        constant = self.shares.log() - half_log_det - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)
        logs: Tensor = constant.unsqueeze(-1) - 0.5 * white.square().sum(dim=-2)
        return logs.transpose(-1, -2)


def mixture_of(z: Tensor, membership: Tensor, floor: float) -> Mixture:
    """The mixture of rows ``z`` (..., n, z) that belong to components as ``membership`` (..., n, k) says.

    ``floor`` is added to the covariances' diagonals.
    """
    weight = membership.sum(dim=-2)
    means = membership.transpose(-1, -2) @ z / weight.unsqueeze(-1)
    centred = z.unsqueeze(-3) - means.unsqueeze(-2)
    weighted = centred * membership.transpose(-1, -2).unsqueeze(-1)
    covariances = weighted.transpose(-1, -2) @ centred / weight[..., None, None]
    covariances = covariances + floor * torch.eye(z.shape[-1], dtype=z.dtype)
    return Mixture(weight / membership.shape[-2], means, torch.linalg.cholesky(covariances))


@dataclass
class DAGMM(Replicated, OneClass):
    """``objective``: ``energy`` (the paper's), or ``variational``, its upper bound by the estimation net's memberships
    (the variant DAGMM-NVI).

    The mixture that scores is that of all training rows. The defaults are the published ones for KDD99; the dropout is
    the published keep probability of 0.5.
    """

    name: ClassVar[str] = "dagmm"

    objective: Literal["energy", "variational"] = "energy"
    encoder: tuple[int, ...] = (60, 30, 10)
    code: int = 1
    estimator: int = 10
    components: int = 4
    dropout: float = 0.5
    energy_weight: float = 0.1
    covariance_weight: float = 0.005
    covariance_floor: float = 1e-4
    learning_rate: float = 1e-4
    batch_size: int = 1024
    epochs: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        self.nets = nn.ModuleDict()
        self._mixture: Mixture | None = None

    @classmethod
    def train_together(cls, replicas: Sequence[DAGMM], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Minimise reconstruction error, energy, and the inverse of the covariances' diagonals."""
        first = replicas[0]
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        noise = Noise([replica.seed for replica in replicas])
        rates = [replica.learning_rate for replica in replicas]
        together = Replicas([replica.nets for replica in replicas], rates, noise=noise)
        encode, decode, assign = (together.net(name) for name in NETS)
        rows = torch.from_numpy(normal)

        def step(indices: Tensor) -> Tensor:
            together.zero()
            x = gather(rows, indices)
            code = encode(x)
            again = decode(code)
            z = features(x, code, again)
            membership = torch.softmax(assign(z), dim=2)
            mixture = mixture_of(z, membership, first.covariance_floor)
            joint = mixture.joint(z)
            if first.objective == "energy":
                energy = -torch.logsumexp(joint, dim=2).mean(dim=1)
            else:
                surprise = membership.clamp_min(TINY).log() - joint
                energy = (membership * surprise).sum(dim=2).mean(dim=1)
            diagonals = mixture.factors.square().sum(dim=-1)
            narrow = diagonals.reciprocal().sum(dim=(1, 2))
            error = (x - again).square().sum(dim=2).mean(dim=1)
            losses = error + first.energy_weight * energy + first.covariance_weight * narrow
            losses.sum().backward()  # type: ignore[no-untyped-call]
            together.step()
            return torch.stack([losses, error, energy], dim=1).detach()

        histories = train(
            step, rows=len(rows), batch_size=first.batch_size, epochs=first.epochs, context=context, drop_last=True,
            seeds=[replica.seed for replica in replicas], loss_names=("loss", "reconstruction", "energy"),
        )  # fmt: skip
        together.write_back()
        for replica, history in zip(replicas, histories, strict=True):
            replica.nets.eval()
            replica.history_ = history
            replica._mixture = replica._fit_mixture(rows)
            replica.choose(normal, context)

    def build(self, n_features: int) -> None:
        """Take fresh nets with Xavier-uniform weights and zero biases, drawn from the seed."""
        self.n_features_ = n_features
        self.nets = seeded(lambda: xavier(self.architecture(n_features)), self.seed)

    def architecture(self, n_features: int) -> dict[str, nn.Module]:
        """Compression net and estimation net."""
        sizes = (n_features, *self.encoder, self.code)
        return {
            "encoder": stack(sizes, "tanh"),
            "decoder": stack(sizes[::-1], "tanh"),
            "estimator": nn.Sequential(
                nn.Linear(self.code + 2, self.estimator),
                nn.Tanh(),
                nn.Dropout(self.dropout),
                nn.Linear(self.estimator, self.components),
            ),
        }

    def decision_function(self, X: ArrayLike) -> Vector:
        """Energy of each row."""
        return score_slices(self.score, self.check_rows(X))

    def score(self, x: Tensor) -> Tensor:
        """Energy per row of ``x`` (n, d), shape (n,)."""
        assert self._mixture is not None
        return -torch.logsumexp(self._mixture.joint(self._features(x)), dim=1)

    def program(self) -> Program:
        """The distance to each component is the norm of a whitened row, which is one more dense layer."""
        assert self._mixture is not None
        builder = Builder(self.n_features_)
        code = builder.chain(ROWS, layers_of(self._net("encoder")))
        again = builder.chain(code, layers_of(self._net("decoder")))
        own = builder.with_constant("add", builder.reduce("l2", ROWS), TINY)
        other = builder.with_constant("add", builder.reduce("l2", again), TINY)
        error = builder.reduce("l2", builder.elementwise("subtract", ROWS, again))
        product = builder.reduce("sum", builder.elementwise("multiply", ROWS, again))
        relative = builder.elementwise("divide", error, own)
        cosine = builder.elementwise("divide", product, builder.elementwise("multiply", own, other))
        z = builder.concat(code, relative, cosine)
        logs = []
        size = self.code + 2
        for share, mean, factor in zip(*(part.numpy().astype(np.float64) for part in self._parts()), strict=True):
            inverse = np.linalg.inv(factor)
            white = DenseLayer(inverse.astype(np.float32), (-inverse @ mean).astype(np.float32))
            constant = math.log(share) - float(np.log(np.diag(factor)).sum()) - 0.5 * size * math.log(2.0 * math.pi)
            squares = builder.with_constant("multiply", builder.reduce("square_sum", builder.dense(z, white)), -0.5)
            logs.append(builder.with_constant("add", squares, constant))
        return builder.finish(
            builder.with_constant("multiply", builder.reduce("log_sum_exp", builder.concat(*logs)), -1.0)
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights and the mixture."""
        mixture = zip(MIXTURE, (part.numpy() for part in self._parts()), strict=True)
        return {**state_of(self.nets), **dict(mixture)}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild nets and mixture."""
        self.build(self.n_features_)
        self._mixture = Mixture(*(torch.from_numpy(state[name]) for name in MIXTURE))
        load_state(self.nets, {name: value for name, value in state.items() if name not in MIXTURE})

    def _fit_mixture(self, rows: Tensor) -> Mixture:
        with torch.no_grad():
            z = torch.cat([self._features(part) for part in torch.split(rows, 8192)])
            membership = torch.softmax(self.nets["estimator"](z), dim=1).double()
            exact = mixture_of(z.double(), membership, self.covariance_floor)
        return Mixture(*(part.float().contiguous() for part in (exact.shares, exact.means, exact.factors)))

    def _features(self, x: Tensor) -> Tensor:
        code = self.nets["encoder"](x)
        return features(x, code, self.nets["decoder"](code))

    def _net(self, name: str) -> nn.Sequential:
        net = self.nets[name]
        assert isinstance(net, nn.Sequential)
        return net

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        assert self._mixture is not None
        return self._mixture.shares, self._mixture.means, self._mixture.factors


def features(x: Tensor, code: Tensor, again: Tensor) -> Tensor:
    """What the estimation net sees of rows (..., d): code, relative Euclidean distance, cosine similarity."""
    own = torch.linalg.vector_norm(x, dim=-1, keepdim=True) + TINY
    other = torch.linalg.vector_norm(again, dim=-1, keepdim=True) + TINY
    distance = torch.linalg.vector_norm(x - again, dim=-1, keepdim=True)
    return torch.cat([code, distance / own, (x * again).sum(dim=-1, keepdim=True) / (own * other)], dim=-1)
