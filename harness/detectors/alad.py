"""ALAD: adversarially learned anomaly detection, after Zenati et al. 2018 (arXiv 1812.02288) and its published code.

A bidirectional GAN whose cycles are judged too: one discriminator of pairs (row, code), one of (row, reconstruction),
one of (code, reconstructed code).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.detectors.adversarial import PairJudge, collect, judgements, sequential
from harness.detectors.base import normal_rows
from harness.detectors.reconstructing import Reconstructing, Weights
from harness.scoring.program import ROWS, Builder, Program
from harness.training.context import FitContext, Labels, Matrix
from harness.training.fused_chain import ALL, of_rows
from harness.training.loop import gather, train
from harness.training.nets import layers_of, stack
from harness.training.replicas import Net, Noise, Replicas


@dataclass(frozen=True)
class CycleJudge:
    """The discriminator of (value, itself) and (value, its reconstruction)."""

    net: Net

    def learn(self, true: Tensor, again: Tensor) -> Tensor:
        """Add the gradients of telling them apart; the losses (K, 2)."""
        logits, saved = self.net.forward(_doubled(true, again))
        losses, g = judgements(logits, 1.0)
        self.net.backward(saved, g)
        return losses

    def fool(self, true: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
        """The loss (K,) of taking one for the other, and its gradient in the reconstruction."""
        logits, saved = self.net.forward(_doubled(true, again))
        losses, g = judgements(logits, 0.0)
        second = slice(true.shape[1], None)
        wanted = slice(true.shape[2], None)
        found = self.net.backward(of_rows(saved, second), g[:, second], learn=False, wanted=wanted)
        return losses.sum(dim=1), found


def _doubled(true: Tensor, again: Tensor) -> Tensor:
    found = true.repeat(1, 2, 2)
    found[:, true.shape[1] :, true.shape[2] :] = again
    return found


@dataclass
class ALAD(Reconstructing):
    """``score_by``: ``feature-matching`` (the paper's: L1 distance of (row, row) and (row, reconstruction) features),
    ``logits`` (cross-entropy of calling the reconstructed pair genuine), or the reconstruction error ``l1`` or ``l2``.

    ``code_cycle`` lets the third discriminator take part in training generator and encoder; the published program
    trains it in any case, and uses it when asked. The defaults are the published ones for KDD99.
    """

    name: ClassVar[str] = "alad"

    score_by: Literal["feature-matching", "logits", "l1", "l2"] = "feature-matching"
    code_cycle: bool = True
    latent: int = 32
    encoder: tuple[int, ...] = (64,)
    generator: tuple[int, ...] = (64, 128)
    pair_width: int = 128
    cycle_widths: tuple[int, ...] = (128,)
    code_cycle_widths: tuple[int, ...] = (32,)
    slope: float = 0.2
    pair_dropout: float = 0.5
    cycle_dropout: float = 0.2
    learning_rate: float = 1e-5
    beta1: float = 0.5
    ema_decay: float = 0.999
    batch_size: int = 50
    epochs: int = 10

    @classmethod
    def train_together(cls, replicas: Sequence[ALAD], X: Matrix, y: Labels | None, context: FitContext) -> None:
        """Alternate a step of the discriminators and one of generator and encoder, on independent row orders."""
        first = replicas[0]
        normal = normal_rows(X, y, cls.name)
        for replica in replicas:
            replica.build(normal.shape[1])
        noise = Noise([replica.seed for replica in replicas])
        rates = [replica.learning_rate for replica in replicas]
        betas = (first.beta1, 0.999)
        judges = Replicas(
            collect(replicas, ["pair", "cycle", "code_cycle"]),
            rates,
            betas=betas,
            noise=noise,
            ema_decay=first.ema_decay,
        )
        makers = Replicas(collect(replicas, ["encoder", "generator"]), rates, betas=betas, ema_decay=first.ema_decay)
        encode, generate = makers.net("encoder"), makers.net("generator")
        pairs = PairJudge(*(judges.net(f"pair.{name}") for name in ("x", "z", "joint")))
        cycle, code_cycle = CycleJudge(judges.net("cycle")), CycleJudge(judges.net("code_cycle"))
        rows = torch.from_numpy(normal)

        @torch.inference_mode()
        def step(for_judges: Tensor, for_makers: Tensor) -> Tensor:
            count = for_judges.shape[1]
            real, codes = gather(rows, for_judges), noise.normal(count, first.latent)
            inferred = encode.forward(real)[0]
            fake, again = generate.forward(torch.cat([codes, inferred], dim=1))[0].chunk(2, dim=1)
            judges.zero()
            logits, judged = pairs.forward(real, inferred, fake, codes)
            pair_losses, g = judgements(logits, 1.0)
            pairs.learn(judged, g)
            cycle_losses = cycle.learn(real, again)
            code_losses = code_cycle.learn(codes, encode.forward(fake)[0])
            judges.step()

            real, codes = gather(rows, for_makers), noise.normal(count, first.latent)
            inferred, encoded = encode.forward(real)
            both, generated = generate.forward(torch.cat([codes, inferred], dim=1))
            fake, again = both.chunk(2, dim=1)
            logits, judged = pairs.forward(real, inferred, fake, codes)
            losses, g = judgements(logits, 0.0)
            of_fake, of_inferred = pairs.pass_on(judged, g)
            consistency, of_again = cycle.fool(real, again)
            makers.zero()
            if first.code_cycle:
                codes_again, encoded_again = encode.forward(fake)
                more, of_codes_again = code_cycle.fool(codes, codes_again)
                consistency = consistency + more
                of_fake = of_fake + encode.backward(encoded_again, of_codes_again, wanted=ALL)
            of_both = generate.backward(generated, torch.cat([of_fake, of_again], dim=1), wanted=ALL)
            encode.backward(encoded, of_inferred + of_both[:, count:])
            makers.step()
            of_judges = [found.sum(dim=1) for found in (pair_losses, cycle_losses, code_losses)]
            return torch.stack([*of_judges, losses[:, 1] + consistency, losses[:, 0] + consistency], dim=1)

        weights = Weights(replicas, (judges, makers), context)
        histories = train(
            step, rows=len(rows), batch_size=first.batch_size, epochs=first.epochs, context=context, orders=2,
            seeds=[replica.seed for replica in replicas], drop_last=True, keep_going=weights.epoch,
            loss_names=("discriminator xz", "discriminator xx", "discriminator zz", "generator", "encoder"),
        )  # fmt: skip
        weights.finish(histories, normal)

    def architecture(self, n_features: int) -> dict[str, nn.Module]:
        """Encoder, generator and the three discriminators; only the branch of rows is batch-normalised."""
        width = self.pair_width
        return {
            "encoder": stack((n_features, *self.encoder, self.latent), "leaky_relu", slope=self.slope),
            "generator": stack((self.latent, *self.generator, n_features), "relu"),
            "pair": nn.ModuleDict(
                {
                    "x": nn.Sequential(nn.Linear(n_features, width), nn.BatchNorm1d(width), nn.LeakyReLU(self.slope)),
                    "z": self._hidden((self.latent, width), self.pair_dropout),
                    "joint": self._judge((2 * width, width), self.pair_dropout),
                }
            ),
            "cycle": self._judge((2 * n_features, *self.cycle_widths), self.cycle_dropout),
            "code_cycle": self._judge((2 * self.latent, *self.code_cycle_widths), self.cycle_dropout),
        }

    def score(self, x: Tensor) -> Tensor:
        """Anomaly score per row."""
        again = self.nets["generator"](self.nets["encoder"](x))
        if self.score_by in ("l1", "l2"):
            error: Tensor = x - again
            return error.abs().sum(dim=1) if self.score_by == "l1" else error.square().sum(dim=1).sqrt()
        cycle = sequential(self.nets, "cycle")
        if self.score_by == "logits":
            return functional.softplus(-cycle(torch.cat([x, again], dim=1))).view(-1)
        hidden = cycle[:-1]
        difference = hidden(torch.cat([x, x], dim=1)) - hidden(torch.cat([x, again], dim=1))
        return difference.abs().sum(dim=1)  # type: ignore[no-any-return]

    def program(self) -> Program:
        """The same in array operations."""
        builder = Builder(self.n_features_)
        code = builder.chain(ROWS, layers_of(sequential(self.nets, "encoder")))
        again = builder.chain(code, layers_of(sequential(self.nets, "generator")))
        cycle = layers_of(sequential(self.nets, "cycle"))
        match self.score_by:
            case "l1" | "l2":
                error = builder.elementwise("subtract", ROWS, again)
                return builder.finish(builder.reduce("abs_sum" if self.score_by == "l1" else "l2", error))
            case "logits":
                logit = builder.chain(builder.concat(ROWS, again), cycle)
                return builder.finish(builder.activation(builder.with_constant("multiply", logit, -1.0), "softplus"))
            case "feature-matching":
                true = builder.chain(builder.concat(ROWS, ROWS), cycle[:-1])
                false = builder.chain(builder.concat(ROWS, again), cycle[:-1])
                return builder.finish(builder.reduce("abs_sum", builder.elementwise("subtract", true, false)))

    def _hidden(self, sizes: Sequence[int], dropout: float) -> nn.Sequential:
        parts: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            parts += [nn.Linear(inputs, outputs), nn.LeakyReLU(self.slope), nn.Dropout(dropout)]
        return nn.Sequential(*parts)

    def _judge(self, sizes: Sequence[int], dropout: float) -> nn.Sequential:
        """Hidden layers and a logit."""
        return nn.Sequential(*self._hidden(sizes, dropout), nn.Linear(sizes[-1], 1))
