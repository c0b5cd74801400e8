"""EGBAD: anomaly detection with a bidirectional GAN, after Zenati et al. 2018 (arXiv 1802.06222) and its code.

A generator, an encoder and a discriminator of pairs (row, code) learn from normal rows. The score of a row weighs how
badly it is reconstructed through code and generator, and what the discriminator makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.adversarial import PairJudge, collect, judgements, sequential
from harness.detectors.base import normal_rows
from harness.detectors.reconstructing import Reconstructing, Weights
from harness.scoring.program import ROWS, Builder, Program
from harness.training.context import FitContext, Labels, Matrix
from harness.training.loop import gather, train
from harness.training.nets import layers_of, stack
from harness.training.replicas import Net, Noise, Replicas


@dataclass
class EGBAD(Reconstructing):
    """Score is (1 - ``weight``) times the L1 reconstruction error plus ``weight`` times the discriminator's term.

    ``score_by`` chooses that term: ``cross-entropy`` (of the discriminator calling the reconstruction real, as the code
    has it; the paper's text takes the row) or ``feature-matching`` (the L1 distance between the discriminator's last
    hidden layers). It is a rule of scoring only; the training is the same.

    The defaults are the published ones for KDD99; ``ema_decay`` averages the weights that score.
    """

    name: ClassVar[str] = "egbad"

    score_by: Literal["cross-entropy", "feature-matching"] = "cross-entropy"
    weight: float = 0.1
    latent: int = 32
    encoder: tuple[int, ...] = (64,)
    generator: tuple[int, ...] = (64, 128)
    discriminator: int = 128
    slope: float = 0.1
    dropout: float = 0.2
    learning_rate: float = 1e-5
    beta1: float = 0.5
    ema_decay: float = 0.9999
    batch_size: int = 50
    epochs: int = 10

    @classmethod
    def train_together(cls, replicas: Sequence[EGBAD], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Alternate a step of the discriminator and one of generator and encoder, on independent orders of the rows."""
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
        makers = Replicas(collect(replicas, ["encoder", "generator"]), rates, betas=betas, ema_decay=first.ema_decay)
        encode, generate = makers.net("encoder"), makers.net("generator")
        of_rows, of_codes, joint, out = (judge.net(f"discriminator.{name}") for name in ("x", "z", "joint", "out"))
        pairs = PairJudge(of_rows, of_codes, Net([*joint.layers, *out.layers]))
        rows = torch.from_numpy(normal)

        @torch.inference_mode()
        def step(for_judge: Tensor, for_makers: Tensor) -> Tensor:
            count = for_judge.shape[1]
            real, codes = gather(rows, for_judge), noise.normal(count, first.latent)
            fake, inferred = generate.forward(codes)[0], encode.forward(real)[0]
            logits, judged = pairs.forward(real, inferred, fake, codes)
            judge_losses, g = judgements(logits, 1.0)
            judge.zero()
            pairs.learn(judged, g)
            judge.step()

            real, codes = gather(rows, for_makers), noise.normal(count, first.latent)
            (fake, generated), (inferred, encoded) = generate.forward(codes), encode.forward(real)
            logits, judged = pairs.forward(real, inferred, fake, codes)
            losses, g = judgements(logits, 0.0)
            of_fake, of_inferred = pairs.pass_on(judged, g)
            makers.zero()
            generate.backward(generated, of_fake)
            encode.backward(encoded, of_inferred)
            makers.step()
            return torch.stack([judge_losses.sum(dim=1), losses[:, 1], losses[:, 0]], dim=1)

        weights = Weights(replicas, (judge, makers), context)
        histories = train(
            step, rows=len(rows), batch_size=first.batch_size, epochs=first.epochs, context=context, orders=2,
            seeds=[replica.seed for replica in replicas], drop_last=True, keep_going=weights.epoch,
            loss_names=("discriminator", "generator", "encoder"),
        )  # fmt: skip
        weights.finish(histories, normal)

    def architecture(self, n_features: int) -> dict[str, nn.Module]:
        """Encoder, generator, and the discriminator's branches."""

        def branch(inputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(inputs, self.discriminator), nn.LeakyReLU(self.slope), nn.Dropout(self.dropout)
            )

        return {
            "encoder": stack((n_features, *self.encoder, self.latent), "leaky_relu", slope=self.slope),
            "generator": stack((self.latent, *self.generator, n_features), "relu"),
            "discriminator": nn.ModuleDict(
                {
                    "x": branch(n_features),
                    "z": branch(self.latent),
                    "joint": branch(2 * self.discriminator),
                    "out": nn.Sequential(nn.Linear(self.discriminator, 1)),
                }
            ),
        }

    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row."""
        code = self.nets["encoder"](x)
        again = self.nets["generator"](code)
        error = (x - again).abs().sum(dim=1)
        if self.score_by == "cross-entropy":
            logit = sequential(self.nets, "discriminator.out")(self._features(again, code)).view(-1)
            judged = functional.softplus(-logit)
        else:
            judged = (self._features(x, code) - self._features(again, code)).abs().sum(dim=1)
        return (1.0 - self.weight) * error + self.weight * judged  # type: ignore[no-any-return]

    def program(self) -> Program:
        """The same in array operations."""
        encoder, generator, of_rows, of_codes, joint, out = (
            layers_of(sequential(self.nets, path))
            for path in ("encoder", "generator", *(f"discriminator.{name}" for name in ("x", "z", "joint", "out")))
        )
        builder = Builder(self.n_features_)
        code = builder.chain(ROWS, encoder)
        again = builder.chain(code, generator)
        of_code = builder.chain(code, of_codes)

        def features(x: str) -> str:
            return builder.chain(builder.concat(builder.chain(x, of_rows), of_code), joint)

        error = builder.reduce("abs_sum", builder.elementwise("subtract", ROWS, again))
        weighted = builder.with_constant("multiply", error, 1.0 - self.weight)
        if self.score_by == "cross-entropy":
            logit = builder.chain(features(again), out)
            judged = builder.activation(builder.with_constant("multiply", logit, -1.0), "softplus")
        else:
            judged = builder.reduce("abs_sum", builder.elementwise("subtract", features(ROWS), features(again)))
        return builder.finish(
            builder.elementwise("add", weighted, builder.with_constant("multiply", judged, self.weight))
        )

    def _features(self, x: Tensor, code: Tensor) -> Tensor:
        of_rows, of_codes, joint = (sequential(self.nets, f"discriminator.{name}") for name in ("x", "z", "joint"))
        return joint(torch.cat([of_rows(x), of_codes(code)], dim=1))  # type: ignore[no-any-return]
