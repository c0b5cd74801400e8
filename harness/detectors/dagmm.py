"""DAGMM: deep autoencoding Gaussian mixture model, after Zong et al., ICLR 2018.

An autoencoder compresses a row to a code of one number; code, relative reconstruction error and cosine similarity go
to an estimation net that assigns the row to the components of a Gaussian mixture. The score is the row's energy in
the mixture.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from harness.detectors.base import normal_rows
from harness.detectors.net_detector import NetDetector
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, DenseLayer, Program
from harness.training.context import FitContext, Labels, Matrix

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.mixture import Mixture
    from harness.training.replicas import Replicas

_MIXED = 8192  # training rows that make a mixture after each epoch
_WIDEST, _MOST_COMPONENTS = 16, 64  # of the kernels' mixtures

MIXTURE = ("shares", "means", "factors")


@dataclass
class DAGMM(NetDetector, Replicated, OneClass):
    """The mixture that scores is that of all training rows. The defaults are the published ones for KDD99.

    Args:
        objective: default ``energy``, the paper's; or ``variational``, its upper bound by the estimation net's
            memberships (the variant DAGMM-NVI).
        encoder: widths of the encoder's hidden layers; the decoder mirrors them.
        code: int >= 1, default 1. Features of the code.
        estimator: int >= 1, default 10. Width of the estimation net's hidden layer.
        n_components: int >= 1, default 4. Components of the mixture.
        dropout: float in [0, 1), default 0.5. Share of the estimation net's units dropped; the paper keeps half.
        energy_weight: float >= 0, default 0.1. Weight of the energy in the loss, the paper's lambda 1.
        covariance_weight: float >= 0, default 0.005. Weight of the inverse diagonals of the covariances, its lambda 2.
        reg_covar: float > 0, default 1e-4. Added to the diagonals of the covariances, as scikit-learn's mixtures do.
    """

    name: ClassVar[str] = "dagmm"

    objective: Literal["energy", "variational"] = "energy"
    encoder: tuple[int, ...] = (60, 30, 10)
    code: int = 1
    estimator: int = 10
    n_components: int = 4
    dropout: float = 0.5
    energy_weight: float = 0.1
    covariance_weight: float = 0.005
    reg_covar: float = 1e-4
    learning_rate: float = 1e-4
    batch_size: int = 1024
    epochs: int = 200

    _mixture = cast("Mixture | None", None)
    _wide = cast("tuple[nn.Sequential, nn.Sequential, nn.Sequential] | None", None)  # see _nets_in_float64

    @classmethod
    def train_together(cls, replicas: Sequence[DAGMM], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Minimise reconstruction error, energy, and the inverse of the covariances' diagonals."""
        from harness.linalg import native
        from harness.training.loop import train
        from harness.training.validation import MOST, ValidationCurve

        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        names = ("loss", "reconstruction", "energy")
        natively = context.trainer == "native" and native.missing() is None and replicas[0].trains_natively
        step, take_weights, together = (cls._natively if natively else cls._on_torch)(replicas, normal, context)
        schedule = cls.schedule(replicas, len(normal), loss_names=names, drop_last=True, batches_per_step=together)
        first, some = replicas[0], normal[:: -(-len(normal) // _MIXED)]
        curve = ValidationCurve(first.decision_function, first.fitted_net(), context, MOST)

        def write_back() -> None:
            take_weights()
            first._wide = None  # a copy of the weights before
            first._mixture = first._fit_mixture(some)

        histories = train(step, schedule, context, keep_going=curve.after(write_back))
        histories[0] = curve.added_to(histories[0])
        take_weights()
        for replica, history in zip(replicas, histories, strict=True):
            replica.fitted_net().eval()
            replica.history_ = history
            replica._wide = None
            replica._mixture = replica._fit_mixture(normal)
            replica.choose(normal, context)

    @classmethod
    def _on_torch(
        cls,
        replicas: Sequence[DAGMM],
        normal: Matrix,
        context: FitContext,  # noqa: ARG003
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[], None], int]:
        """The step, what gives the replicas their weights, and the batches of a step."""
        from harness.training.replicas import Noise, Replicas

        together = Replicas(
            [replica.fitted_net() for replica in replicas],
            [replica.learning_rate for replica in replicas],
            noise=Noise([replica.random_state for replica in replicas]),
        )
        return replicas[0]._step(together, normal), together.write_back, 1

    @classmethod
    def _natively(
        cls, replicas: Sequence[DAGMM], normal: Matrix, context: FitContext
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[], None], int]:
        """The same on the native kernels."""
        from harness.detectors.mixture_tape import MixtureTapes, Weights

        first = replicas[0]
        bound = first.objective == "variational"
        weights = Weights(first.energy_weight, first.covariance_weight, first.reg_covar, bound)
        tapes = MixtureTapes(replicas, normal, min(first.batch_size, len(normal)), weights)
        return tapes.step, tapes.write_back, tapes.per_call(context)

    @property
    def trains_natively(self) -> bool:
        """With as many features and components as the kernels' mixtures have."""
        return self.code + 2 <= _WIDEST and self.n_components <= _MOST_COMPONENTS

    def _step(self, together: Replicas, rows: Matrix) -> Callable[[Tensor], Tensor]:
        import torch

        from harness.detectors.mixture import TINY, features, mixture_of
        from harness.training.loop import gathering

        encode, decode, assign = (together.net(name) for name in ("encoder", "decoder", "estimator"))
        gather = gathering(rows)

        def step(indices: Tensor) -> Tensor:
            x = gather(indices)
            code = encode(x)
            reconstructed = decode(code)
            z = features(x, code, reconstructed)
            membership = torch.softmax(assign(z), dim=2)
            mixture = mixture_of(z, membership, self.reg_covar)
            joint = mixture.joint(z)
            if self.objective == "energy":
                energy = -torch.logsumexp(joint, dim=2).mean(dim=1)
            else:
                surprise = membership.clamp_min(TINY).log() - joint
                energy = (membership * surprise).sum(dim=2).mean(dim=1)
            diagonals = mixture.factors.square().sum(dim=-1)
            narrow = diagonals.reciprocal().sum(dim=(1, 2))
            error = (x - reconstructed).square().sum(dim=2).mean(dim=1)
            losses = error + self.energy_weight * energy + self.covariance_weight * narrow
            together.descend(losses)
            return torch.stack([losses, error, energy], dim=1).detach()

        return step

    def architecture(self) -> nn.Module:
        """Compression net and estimation net, with Xavier-uniform weights and zero biases."""
        from torch import nn

        from harness.training.nets import stack, xavier

        sizes = (self.n_features_in_, *self.encoder, self.code)
        estimator = nn.Sequential(
            nn.Linear(self.code + 2, self.estimator),
            nn.Tanh(),
            nn.Dropout(self.dropout),
            nn.Linear(self.estimator, self.n_components),
        )
        parts = {"encoder": stack(sizes, "tanh"), "decoder": stack(sizes[::-1], "tanh"), "estimator": estimator}
        return xavier(parts)

    def score_tensor(self, x: Tensor) -> Tensor:
        """Energy per row of ``x`` (n, d), shape (n,)."""
        import torch

        from harness.detectors.mixture import Mixture

        mixture = Mixture(*(part.double() for part in self._parts()))
        return -torch.logsumexp(mixture.joint(self._features(x)), dim=1).to(x.dtype)

    def program(self) -> Program:
        """The distance to each component is the norm of a whitened row, which is one more dense layer."""
        from harness.detectors.mixture import TINY
        from harness.training.nets import layers_of

        assert self._mixture is not None
        builder = Builder(self.n_features_in_)
        rows = builder.convert(ROWS, "float64")
        code = builder.chain(rows, layers_of(self.part("encoder")))
        reconstructed = builder.chain(code, layers_of(self.part("decoder")))
        own = builder.with_constant("add", builder.reduce("l2", rows), TINY)
        other = builder.with_constant("add", builder.reduce("l2", reconstructed), TINY)
        error = builder.reduce("l2", builder.elementwise("subtract", rows, reconstructed))
        product = builder.reduce("sum", builder.elementwise("multiply", rows, reconstructed))
        relative = builder.elementwise("divide", error, own)
        cosine = builder.elementwise("divide", product, builder.elementwise("multiply", own, other))
        z = builder.concat(code, relative, cosine)
        logs = []
        size = self.code + 2
        for share, mean, factor in zip(*(part.numpy().astype(np.float64) for part in self._parts()), strict=True):
            inverse = np.linalg.inv(factor)
            white = DenseLayer(inverse, -inverse @ mean)
            constant = math.log(share) - float(np.log(np.diag(factor)).sum()) - 0.5 * size * math.log(2.0 * math.pi)
            squares = builder.with_constant("multiply", builder.reduce("square_sum", builder.dense(z, white)), -0.5)
            logs.append(builder.with_constant("add", squares, constant))
        energy = builder.with_constant("multiply", builder.reduce("log_sum_exp", builder.concat(*logs)), -1.0)
        return builder.finish(builder.convert(energy, "rows"))

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights and the mixture."""
        mixture = zip(MIXTURE, (part.numpy() for part in self._parts()), strict=True)
        return {**super().state(), **dict(mixture)}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Rebuild nets and mixture."""
        import torch

        from harness.detectors.mixture import Mixture

        self._mixture = Mixture(*(torch.from_numpy(state[name]) for name in MIXTURE))
        super().restore({name: value for name, value in state.items() if name not in MIXTURE})

    def _fit_mixture(self, rows: Matrix) -> Mixture:
        import torch

        from harness.detectors.mixture import Mixture, mixture_of

        with torch.no_grad():
            z = torch.cat(
                [self._features(torch.from_numpy(rows[at : at + _MIXED])) for at in range(0, len(rows), _MIXED)]
            )
            membership = torch.softmax(self.part("estimator")(z.float()), dim=1).double()
            exact = mixture_of(z, membership, self.reg_covar)
        return Mixture(*(part.float().contiguous() for part in (exact.shares, exact.means, exact.factors)))

    def _features(self, x: Tensor) -> Tensor:
        from harness.detectors.mixture import features

        encoder, decoder = self._nets_in_float64()
        wide = x.double()
        code = encoder(wide)
        return features(wide, code, decoder(code))

    def _nets_in_float64(self) -> tuple[nn.Sequential, nn.Sequential]:
        """Encoder and decoder for scoring.

        The cosine similarity of a row whose code is near zero depends on the code's direction, which float32 gives to
        a few digits only; the narrow mixture magnifies that and every rounding after it, so that scores would depend
        on the order of summation.
        """
        encoder, decoder = self.part("encoder"), self.part("decoder")
        if self._wide is None or self._wide[0] is not encoder:
            self._wide = encoder, copy.deepcopy(encoder).double().eval(), copy.deepcopy(decoder).double().eval()
        return self._wide[1], self._wide[2]

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        assert self._mixture is not None
        return self._mixture.shares, self._mixture.means, self._mixture.factors
