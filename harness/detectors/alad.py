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

from harness.detectors.adversarial import collect, cross_entropy, sequential, stacked, update
from harness.detectors.base import FitContext, Labels, Matrix, normal_rows
from harness.detectors.nets import layers_of, stack
from harness.detectors.program import ROWS, Builder, Program
from harness.detectors.reconstructing import Reconstructing, Weights
from harness.detectors.replicas import Net, Noise, Replicas
from harness.detectors.training import gather, train


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
        of_rows, of_codes, joint = (judges.net(f"pair.{name}") for name in ("x", "z", "joint"))
        cycle, code_cycle = judges.net("cycle"), judges.net("code_cycle")
        rows = torch.from_numpy(normal)

        def pairs(real: Tensor, inferred: Tensor, fake: Tensor, codes: Tensor, *, learn: bool) -> tuple[Tensor, Tensor]:
            """Logits of (row, its code) and (generated row, its code); each normalises over its own rows."""
            x = torch.cat([of_rows(real, learn=learn), of_rows(fake, learn=learn)], dim=1)
            z = of_codes(torch.cat([inferred, codes], dim=1), learn=learn)
            logits = joint(torch.cat([x, z], dim=2), learn=learn)
            return logits[:, : real.shape[1]], logits[:, real.shape[1] :]

        def cycles(net: Net, true: Tensor, again: Tensor, *, learn: bool) -> tuple[Tensor, Tensor]:
            """Logits of (value, itself) and (value, its reconstruction)."""
            doubled = torch.cat([torch.cat([true, true], dim=2), torch.cat([true, again], dim=2)], dim=1)
            logits = net(doubled, learn=learn)
            return logits[:, : true.shape[1]], logits[:, true.shape[1] :]

        def step(for_judges: Tensor, for_makers: Tensor) -> Tensor:
            count = for_judges.shape[1]
            real, codes = gather(rows, for_judges), noise.normal(count, first.latent)
            fake, inferred = generate.forward(codes)[0], encode.forward(real)[0]
            again, codes_again = generate.forward(inferred)[0], encode.forward(fake)[0]
            true_pair, false_pair = pairs(real, inferred, fake, codes, learn=True)
            true_cycle, false_cycle = cycles(cycle, real, again, learn=True)
            true_code, false_code = cycles(code_cycle, codes, codes_again, learn=True)
            pair_loss = cross_entropy(true_pair, 1.0) + cross_entropy(false_pair, 0.0)
            cycle_loss = cross_entropy(true_cycle, 1.0) + cross_entropy(false_cycle, 0.0)
            code_loss = cross_entropy(true_code, 1.0) + cross_entropy(false_code, 0.0)
            update(judges, pair_loss + cycle_loss + code_loss)

            real, codes = gather(rows, for_makers), noise.normal(count, first.latent)
            fake, inferred = generate(codes), encode(real)
            true_pair, false_pair = pairs(real, inferred, fake, codes, learn=False)
            true_cycle, false_cycle = cycles(cycle, real, generate(inferred), learn=False)
            consistency = cross_entropy(true_cycle, 0.0) + cross_entropy(false_cycle, 1.0)
            if first.code_cycle:
                true_code, false_code = cycles(code_cycle, codes, encode(fake), learn=False)
                consistency = consistency + cross_entropy(true_code, 0.0) + cross_entropy(false_code, 1.0)
            encoder_loss, generator_loss = cross_entropy(true_pair, 0.0), cross_entropy(false_pair, 1.0)
            update(makers, encoder_loss + generator_loss + consistency)
            return stacked(pair_loss, cycle_loss, code_loss, generator_loss + consistency, encoder_loss + consistency)

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
