"""Variational autoencoder made aware of anomalies, after Banda, Khosa and Sanz 2025 (arXiv 2504.11520).

First it learns the background alone. Then a few labelled anomalies join, whose reconstruction error is pushed up
while that of the background is kept down; the hope, and the test, is that anomalies of other kinds move up with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.detectors.base import normal_rows
from harness.detectors.net_detector import NetDetector
from harness.detectors.oneclass import OneClass
from harness.detectors.replicated import Replicated
from harness.linalg import trainer
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, DenseLayer, Program
from harness.training.context import Epoch, FitContext, Labels, Matrix
from harness.training.native_spec import NativeTraining

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.training.validation import ValidationCurve

LOSSES = ("loss", "background error")


@dataclass
class VAE(NetDetector, Replicated, OneClass):
    """Score is the mean squared reconstruction error through the mean of the code.

    Every batch of the second stage holds ``awareness_rows`` labelled anomalies, drawn with replacement, whose loss is
    that of the background minus lambda times the reconstruction error, lambda rising from 0 to ``awareness_weight``.

    Args:
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        latent: int >= 1, default 8. Features of the code.
        output: default ``linear`` with squared error; or ``sigmoid`` with cross-entropy, for pixels in [0, 1].
        divergence_weight: float >= 0, default 1. Weight of the code's divergence from the standard normal.
        awareness_epochs: int >= 0, default 0, which gives the plain autoencoder. Passes of the second stage.
        awareness_rows: int >= 1, default 16. Labelled anomalies in every batch of it.
        awareness_weight: float >= 0, default 1. The largest lambda.
        anomalies: int >= 1, default 500. Training rows labelled as anomalies that are known to it.
        ramp_epochs: int >= 0, default 10. Passes over which lambda rises.
        push: default ``bounded``, which asks for an error of ``margin`` times the background's and no more, so that
            the optimiser cannot win by blowing up a single anomaly; or ``literal``, the paper's formula, which above
            lambda 1 has no lower bound.
        margin: float > 0, default 5. See ``push``.
    """

    name: ClassVar[str] = "vae"
    stages: ClassVar[tuple[str, ...]] = ("epochs", "awareness_epochs")

    hidden: tuple[int, ...] = (64, 32)
    latent: int = 8
    output: Literal["linear", "sigmoid"] = "linear"
    divergence_weight: float = 1.0
    batch_size: int = 256
    epochs: int = 30
    awareness_epochs: int = 0
    awareness_rows: int = 16
    awareness_weight: float = 1.0
    anomalies: int = 500
    ramp_epochs: int = 10
    push: Literal["literal", "bounded"] = "bounded"
    margin: float = 5.0

    @classmethod
    def train_together(cls, replicas: Sequence[VAE], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """The background, then background and labelled anomalies."""
        from harness.training.validation import MOST, ValidationCurve

        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        curve = ValidationCurve(replicas[0].decision_function, replicas[0].fitted_net(), context, MOST)
        how = [form for replica in replicas if (form := replica.native_training()) is not None]
        if how and context.trainer == "native":
            from harness.training.native_loop import train_natively

            nets = [replica.fitted_net() for replica in replicas]
            schedule = cls.schedule(replicas, len(normal), loss_names=LOSSES)
            histories = train_natively(nets, how, normal, None, schedule, context, curve)
        else:
            histories = cls._train_on_torch(replicas, normal, X, y, context, curve)
        histories[0] = curve.added_to(histories[0])
        for replica, history in zip(replicas, histories, strict=True):
            replica.fitted_net().eval()
            replica.history_ = history
            replica.choose(normal, context)

    @classmethod
    def _train_on_torch(
        cls,
        replicas: Sequence[VAE],
        normal: Matrix,
        X: Matrix,
        y: Labels | None,
        context: FitContext,
        curve: ValidationCurve,
    ) -> list[tuple[Epoch, ...]]:
        from harness.detectors.vae_training import SECOND_STAGE, Stages
        from harness.training.loop import train

        stages = Stages(replicas, normal)
        schedule = cls.schedule(replicas, len(normal), loss_names=LOSSES)
        keep_going = curve.after(stages.together.write_back)
        histories = train(stages.background, schedule, context, keep_going=keep_going)
        if replicas[0].awareness_epochs:
            stages.take_anomalies(X, y)
            seeds = tuple(seed + SECOND_STAGE for seed in schedule.seeds)
            second = replace(schedule, epochs=replicas[0].awareness_epochs, seeds=seeds)
            aware = train(stages.aware, second, context, keep_going=keep_going)
            histories = [before + after for before, after in zip(histories, aware, strict=True)]
        stages.together.write_back()
        return histories

    def architecture(self) -> nn.Module:
        """Encoder to mean and log-variance of the code, and its mirrored decoder (to logits for ``sigmoid``)."""
        from torch import nn

        from harness.training.nets import stack

        n_features = self.n_features_in_
        encoder = stack((n_features, *self.hidden, 2 * self.latent), "relu")
        return nn.ModuleDict(
            {"encoder": encoder, "decoder": stack((self.latent, *reversed(self.hidden), n_features), "relu")}
        )

    def score_tensor(self, x: Tensor) -> Tensor:
        """Reconstruction error per row of ``x`` (n, d), shape (n,)."""
        reconstructed: Tensor = self.part("decoder")(self.part("encoder")(x)[:, : self.latent])
        if self.output == "sigmoid":
            reconstructed = reconstructed.sigmoid()
        return (reconstructed - x).square().mean(dim=1)

    def native_training(self) -> NativeTraining | None:
        """The background's stage; that with anomalies is torch's."""
        if self.awareness_epochs:
            return None
        loss: trainer.Loss = "gaussian" if self.output == "linear" else "bernoulli"
        return NativeTraining(loss, self.learning_rate, self.batch_size, None, len(self.hidden), self.divergence_weight)

    def program(self) -> Program:
        """The means only: the half of the encoder's last layer that gives log-variances is left out."""
        from harness.training.nets import layers_of

        encoder, decoder = (list(layers_of(self.part(name))) for name in ("encoder", "decoder"))
        last = encoder[-1]
        encoder[-1] = DenseLayer(last.weight[: self.latent], last.bias[: self.latent])
        if self.output == "sigmoid":
            decoder[-1] = DenseLayer(decoder[-1].weight, decoder[-1].bias, "sigmoid")
        builder = Builder(self.n_features_in_)
        reconstructed = builder.chain(builder.chain(ROWS, encoder), decoder)
        return builder.finish(builder.reduce("square_mean", builder.elementwise("subtract", reconstructed, ROWS)))
