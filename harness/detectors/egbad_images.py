"""EGBAD for images: the convolutional nets of its published code for MNIST (Zenati et al. 2018, arXiv 1802.06222)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from harness.datasets.coded_rows import Rows
from harness.detectors.base import DataError, normal_rows
from harness.detectors.egbad import ScoreBy, weighed
from harness.detectors.net_detector import NetDetector
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.linalg import native
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, Program
from harness.training.context import FitContext, Labels, Matrix, Schedule, Vector

if TYPE_CHECKING:
    from torch import Tensor, nn

_WATCHED = 500  # validation rows after each epoch
_SIDES = (("discriminator",), ("encoder", "generator"))


@dataclass
class EGBADImages(NetDetector, Replicated, OneClass):
    """EGBAD on square images as rows of pixels in [-1, 1]; the defaults are the published ones for MNIST.

    Args:
        score_by: as of `harness.detectors.egbad.EGBAD`, default ``cross-entropy``.
        weight: float in [0, 1], default 0.1. Share of the discriminator's term in the score.
        latent: int >= 1, default 200. Features of a code.
        beta_1: float in [0, 1), default 0.5. Adam's decay of the first moment.
        ema_decay: float in [0, 1), default 0.999. Decay of the moving averages of the weights.
    """

    name: ClassVar[str] = "egbad-images"
    rows_per_slice: ClassVar[int] = 1024
    traced: ClassVar[bool] = True

    score_by: ScoreBy = "cross-entropy"
    weight: float = 0.1
    latent: int = 200
    learning_rate: float = 1e-5
    beta_1: float = 0.5
    ema_decay: float = 0.999
    batch_size: int = 100
    epochs: int = 100

    @property
    def trains_natively(self) -> bool:
        """Always; see `harness.detectors.image_tape`."""
        return True

    @classmethod
    def train_together(cls, replicas: Sequence[Any], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Alternate a step of the discriminator and one of generator and encoder, on independent orders of the rows.

        Torch trains one after the other, the native kernels as many at a time as there are threads.
        """
        normal = normal_rows(X, y, cls.name)
        side = math.isqrt(normal.shape[1])
        if side**2 != normal.shape[1] or side % 4:
            raise DataError(
                f"{cls.name} takes square images, their side a multiple of 4; rows have {normal.shape[1]} pixels."
            )
        for replica in replicas:
            replica.build(normal.shape[1])
        if context.trainer == "native" and native.missing() is None:
            cls._natively(replicas, normal, context)
            return
        for at, replica in enumerate(replicas):
            replica._on_torch(normal, replace(context, charted=False) if at else context)

    def _on_torch(self, normal: Matrix, context: FitContext) -> None:
        """Train this one by autograd."""
        import torch

        from harness.detectors.image_nets import Game, Nets
        from harness.training.loop import train
        from harness.training.random_state import random_state
        from harness.training.validation import ValidationCurve

        side = math.isqrt(normal.shape[1])
        live, images = self.net_as(Nets), torch.from_numpy(normal).view(-1, 1, side, side)
        game = Game(
            live, images, latent=self.latent, learning_rate=self.learning_rate, beta_1=self.beta_1,
            ema_decay=self.ema_decay,
        )  # fmt: skip

        def averaged(rows: Rows) -> Vector:
            self.net_ = game.average
            scores = self.decision_function(rows)
            self.net_ = live
            return scores

        curve = ValidationCurve(averaged, game.average, context, _WATCHED)
        with random_state(self.random_state):
            live.train()
            schedule = self._rounds([self], normal)
            self.history_ = curve.added_to(train(game.step, schedule, context, keep_going=curve.go_on)[0])
        self.net_ = game.average
        self.choose(normal, context)

    @classmethod
    def _natively(cls, replicas: Sequence[Any], normal: Matrix, context: FitContext) -> None:
        """Train all on the native kernels."""
        from harness.detectors.adversarial_tape import Game, TapeRounds
        from harness.detectors.image_tape import ImageRecorder
        from harness.training.loop import train
        from harness.training.validation import ValidationCurve

        first = replicas[0]
        batch = min(first.batch_size, len(normal))
        game = Game(_SIDES, first.latent, first.beta_1, first.ema_decay)
        recorders = [ImageRecorder(replica, game, batch) for replica in replicas]
        losses = [recorder.round() for recorder in recorders]
        rounds = TapeRounds(recorders, losses[0], normal, [replica.random_state for replica in replicas])
        curve = ValidationCurve(first.decision_function, first.fitted_net(), context, _WATCHED)
        schedule = replace(cls._rounds(replicas, normal), batches_per_step=rounds.per_call(context))
        histories = train(rounds.step, schedule, context, keep_going=curve.after(rounds.write_back))
        histories[0] = curve.added_to(histories[0])
        rounds.write_back()
        for replica, history in zip(replicas, histories, strict=True):
            replica.history_ = history
            replica.fitted_net().eval()
            replica.choose(normal, context)

    @classmethod
    def _rounds(cls, replicas: Sequence[Any], normal: Matrix) -> Schedule:
        names = ("discriminator", "generator", "encoder")
        return cls.schedule(replicas, len(normal), loss_names=names, orders=2, drop_last=True)

    def architecture(self) -> nn.Module:
        """The nets, with small normal weights and zero biases."""
        from torch import nn

        from harness.detectors.image_nets import DEVIATION, Nets

        nets = Nets(math.isqrt(self.n_features_in_), self.latent)
        for part in nets.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(part.weight, std=DEVIATION)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        return nets

    def score_tensor(self, x: Tensor) -> Tensor:
        """Anomaly score per row of pixels."""
        from torch.nn import functional

        from harness.detectors.image_nets import Nets

        nets, side = self.net_as(Nets), math.isqrt(self.n_features_in_)
        image = x.view(-1, 1, side, side)
        code = nets.encoder(image)
        reconstructed = nets.generator(code)
        error: Tensor = (image - reconstructed).abs().flatten(1).sum(dim=1)
        discriminator = nets.discriminator
        if self.score_by == "cross-entropy":
            term: Tensor = functional.softplus(-discriminator(reconstructed, code))
        else:
            difference = discriminator.features(image, code) - discriminator.features(reconstructed, code)
            term = difference.abs().sum(dim=1)
        return (1.0 - self.weight) * error + self.weight * term

    def program(self) -> Program:
        """The same in array operations, convolutions as layers over patches."""
        from torch import nn

        from harness.detectors.image_nets import Nets
        from harness.detectors.image_program import Image, convolve, flattened, unflattened
        from harness.training.nets import layers_of

        nets, side = self.net_as(Nets), math.isqrt(self.n_features_in_)
        judge = nets.discriminator
        encode, generate, see = list(nets.encoder.net), list(nets.generator.net), list(judge.of_images)
        builder = Builder(self.n_features_in_)
        encoded = convolve(builder, Image.of(ROWS, side), encode[:-2])
        (to_code,) = layers_of(nn.Sequential(encode[-1]))
        code = builder.dense(encoded.value, flattened(encoded, to_code))
        first, second = layers_of(nn.Sequential(*generate[:6]))
        channels = len(second.weight) // (side // 4) ** 2
        small = builder.chain(code, [first, unflattened(second, channels)])
        made = convolve(builder, Image.of(small, side // 4, channels), generate[7:])
        reconstructed = made.by_rows(builder)
        (of_codes,), (joint,) = layers_of(judge.of_codes), layers_of(judge.joint)
        of_code = builder.dense(code, of_codes)

        def features(rows: str) -> str:
            seen = convolve(builder, Image.of(rows, side), see[:-1])
            return builder.dense(builder.concat(seen.value, of_code), flattened(seen, joint))

        out = layers_of(nn.Sequential(judge.out))
        return weighed(builder, reconstructed, features, out, self.score_by, self.weight)
