"""ALAD: adversarially learned anomaly detection, after Zenati et al. 2018 (arXiv 1812.02288) and its published code.

A bidirectional GAN whose cycles are judged too: one discriminator of pairs (row, code), one of (row, reconstruction),
one of (code, reconstructed code).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.detectors.adversarial import Reconstructing
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, Program

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.adversarial_tape import Losses, Recorder
    from harness.detectors.adversarial_training import Players


@dataclass
class ALAD(Reconstructing):
    """The defaults are the published ones for KDD99.

    Args:
        score_by: default ``feature-matching``, the paper's (L1 distance of (row, row) and (row, reconstruction) in the
            last hidden layer); ``logits`` (cross-entropy of calling the reconstructed pair genuine); or the
            reconstruction error ``l1`` or ``l2``.
        code_cycle: whether the third discriminator takes part in training generator and encoder, default True; the
            published program trains it in any case, and uses it when asked.
        encoder: widths of the encoder's hidden layers.
        generator: widths of the generator's hidden layers.
        pair_width: int >= 1, default 128. Width of the layers that judge pairs of row and code.
        cycle_widths: hidden widths of what judges rows and their reconstructions.
        code_cycle_widths: hidden widths of what judges codes and their reconstructions.
        slope: float >= 0, default 0.2. Slope of leaky ReLU below zero.
        pair_dropout: float in [0, 1), default 0.5. Share of units dropped where pairs are judged.
        cycle_dropout: float in [0, 1), default 0.2. Share of units dropped where reconstructions are judged.
    """

    name: ClassVar[str] = "alad"
    discriminators: ClassVar[tuple[str, ...]] = ("pair", "cycle", "code_cycle")
    loss_names: ClassVar[tuple[str, ...]] = (
        "discriminator xz", "discriminator xx", "discriminator zz", "generator", "encoder",
    )  # fmt: skip

    score_by: Literal["feature-matching", "logits", "l1", "l2"] = "feature-matching"
    code_cycle: bool = True
    encoder: tuple[int, ...] = (64,)
    generator: tuple[int, ...] = (64, 128)
    pair_width: int = 128
    cycle_widths: tuple[int, ...] = (128,)
    code_cycle_widths: tuple[int, ...] = (32,)
    slope: float = 0.2
    pair_dropout: float = 0.5
    cycle_dropout: float = 0.2
    ema_decay: float = 0.999

    def round(self, players: Players) -> Callable[..., Tensor]:
        """The discriminators' step, and one of generator and encoder together."""
        import torch

        from harness.detectors.adversarial_training import CycleDiscriminator, pair_losses
        from harness.training.fused_chain import ALL

        encode, generate = (players.generators.net(name) for name in self.generators)
        pairs = players.pair_discriminator("pair.x", "pair.z", "pair.joint")
        cycle, code_cycle = (CycleDiscriminator(players.discriminators.net(name)) for name in ("cycle", "code_cycle"))

        def discriminate(indices: Tensor) -> list[Tensor]:
            real, codes = players.batch(indices)
            inferred = encode.forward(real)[0]
            fake, reconstructed = generate.forward(torch.cat([codes, inferred], dim=1))[0].chunk(2, dim=1)
            players.discriminators.zero()
            logits, state = pairs.forward(real, inferred, fake, codes)
            pair, g = pair_losses(logits, 1.0)
            pairs.learn(state, g)
            losses = [pair, cycle.learn(real, reconstructed), code_cycle.learn(codes, encode.forward(fake)[0])]
            players.discriminators.step()
            return [loss.sum(dim=1) for loss in losses]

        def generate_better(indices: Tensor) -> list[Tensor]:
            real, codes = players.batch(indices)
            inferred, encoded = encode.forward(real)
            both, generated = generate.forward(torch.cat([codes, inferred], dim=1))
            fake, reconstructed = both.chunk(2, dim=1)
            logits, state = pairs.forward(real, inferred, fake, codes)
            losses, g = pair_losses(logits, 0.0)
            of_fake, of_inferred = pairs.pass_on(state, g)
            consistency, of_reconstructed = cycle.fool(real, reconstructed)
            players.generators.zero()
            if self.code_cycle:
                codes_reconstructed, encoded_fake = encode.forward(fake)
                more, of_codes = code_cycle.fool(codes, codes_reconstructed)
                consistency = consistency + more
                of_fake = of_fake + encode.backward(encoded_fake, of_codes, wanted=ALL)
            of_both = generate.backward(generated, torch.cat([of_fake, of_reconstructed], dim=1), wanted=ALL)
            encode.backward(encoded, of_inferred + of_both[:, real.shape[1] :])
            players.generators.step()
            return [losses[:, 1] + consistency, losses[:, 0] + consistency]

        @torch.inference_mode()
        def step(for_discriminators: Tensor, for_generators: Tensor) -> Tensor:
            return torch.stack([*discriminate(for_discriminators), *generate_better(for_generators)], dim=1)

        return step

    def record(self, recorder: Recorder) -> Losses:
        """The same round as operations."""
        encode, generate = recorder.nets["encoder"], recorder.nets["generator"]
        pairs = recorder.pairs("pair.x", "pair.z", "pair.joint")
        cycle, code_cycle = recorder.nets["cycle"], recorder.nets["code_cycle"]
        mark = recorder.writer.mark()
        codes = recorder.value(2, self.latent)
        inferred, drawn = recorder.half(codes, 0), recorder.half(codes, 1)
        real = recorder.batch(0, drawn)
        encode.forward([[real]], inferred)
        both = generate.forward([[codes]])[0]
        reconstructed, fake = recorder.half(both, 0), recorder.half(both, 1)
        recorder.discriminators.begin()
        judged = recorder.judge(pairs, real, fake, codes)
        g, pair = recorder.loss(judged.logits, 1.0)
        recorder.learn(pairs, judged, g)
        rows = recorder.learn_cycle(cycle, real, reconstructed)
        of_codes = recorder.learn_cycle(code_cycle, drawn, encode.forward([[fake]])[0])
        recorder.discriminators.step()

        recorder.writer.release(mark)
        codes = recorder.value(2, self.latent)
        inferred, drawn = recorder.half(codes, 0), recorder.half(codes, 1)
        real = recorder.batch(1, drawn)
        encoded = encode.forward([[real]], inferred)[1]
        both, generated = generate.forward([[codes]])
        reconstructed, fake = recorder.half(both, 0), recorder.half(both, 1)
        judged = recorder.judge(pairs, real, fake, codes)
        g, fooled = recorder.loss(judged.logits, 0.0)
        of_both, of_all_codes = recorder.writer.like(both), recorder.writer.like(codes)
        of_inferred, of_fake = recorder.half(of_all_codes, 0), recorder.half(of_both, 1)
        recorder.writer.operation("clear", (None, None, of_all_codes))
        recorder.pass_on(pairs, judged, g, of_fake, of_inferred)
        consistency = [recorder.fool_cycle(cycle, real, reconstructed, recorder.half(of_both, 0))]
        recorder.generators.begin()
        if self.code_cycle:
            codes_reconstructed, encoded_fake = encode.forward([[fake]])
            of_code = recorder.value(1, self.latent)
            consistency.append(recorder.fool_cycle(code_cycle, drawn, codes_reconstructed, of_code))
            encode.backward(encoded_fake, of_code, wanted={(0, 0): (of_fake, True)})
        generate.backward(generated, of_both, wanted={(0, 0): (of_all_codes, True)})
        encode.backward(encoded, of_inferred)
        recorder.generators.step()
        more = [number + side for number in consistency for side in (0, 1)]
        return (pair, pair + 1), (rows, rows + 1), (of_codes, of_codes + 1), (fooled + 1, *more), (fooled, *more)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, generator and the three discriminators; only the branch of rows is batch-normalised."""
        from torch import nn

        from harness.training.nets import stack

        width, n_features = self.pair_width, self.n_features_in_
        return {
            "encoder": stack((n_features, *self.encoder, self.latent), "leaky_relu", slope=self.slope),
            "generator": stack((self.latent, *self.generator, n_features), "relu"),
            "pair": nn.ModuleDict(
                {
                    "x": nn.Sequential(nn.Linear(n_features, width), nn.BatchNorm1d(width), nn.LeakyReLU(self.slope)),
                    "z": self._hidden((self.latent, width), self.pair_dropout),
                    "joint": self._discriminator((2 * width, width), self.pair_dropout),
                }
            ),
            "cycle": self._discriminator((2 * n_features, *self.cycle_widths), self.cycle_dropout),
            "code_cycle": self._discriminator((2 * self.latent, *self.code_cycle_widths), self.cycle_dropout),
        }

    def score_tensor(self, x: Tensor) -> Tensor:
        """Anomaly score per row."""
        import torch
        from torch.nn import functional

        reconstructed = self.part("generator")(self.part("encoder")(x))
        if self.score_by in ("l1", "l2"):
            error: Tensor = x - reconstructed
            return error.abs().sum(dim=1) if self.score_by == "l1" else error.square().sum(dim=1).sqrt()
        cycle = self.part("cycle")
        if self.score_by == "logits":
            return functional.softplus(-cycle(torch.cat([x, reconstructed], dim=1))).view(-1)
        hidden = cycle[:-1]
        difference = hidden(torch.cat([x, x], dim=1)) - hidden(torch.cat([x, reconstructed], dim=1))
        distance: Tensor = difference.abs().sum(dim=1)
        return distance

    def program(self) -> Program:
        """The same in array operations."""
        from harness.training.nets import layers_of

        builder = Builder(self.n_features_in_)
        code = builder.chain(ROWS, layers_of(self.part("encoder")))
        reconstructed = builder.chain(code, layers_of(self.part("generator")))
        cycle = layers_of(self.part("cycle"))
        match self.score_by:
            case "l1" | "l2":
                error = builder.elementwise("subtract", ROWS, reconstructed)
                return builder.finish(builder.reduce("abs_sum" if self.score_by == "l1" else "l2", error))
            case "logits":
                logit = builder.chain(builder.concat(ROWS, reconstructed), cycle)
                return builder.finish(builder.activation(builder.with_constant("multiply", logit, -1.0), "softplus"))
            case "feature-matching":
                true = builder.chain(builder.concat(ROWS, ROWS), cycle[:-1])
                false = builder.chain(builder.concat(ROWS, reconstructed), cycle[:-1])
                return builder.finish(builder.reduce("abs_sum", builder.elementwise("subtract", true, false)))

    def _hidden(self, sizes: Sequence[int], dropout: float) -> nn.Sequential:
        from torch import nn

        parts: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            parts += [nn.Linear(inputs, outputs), nn.LeakyReLU(self.slope), nn.Dropout(dropout)]
        return nn.Sequential(*parts)

    def _discriminator(self, sizes: Sequence[int], dropout: float) -> nn.Sequential:
        """Hidden layers and a logit."""
        from torch import nn

        return nn.Sequential(*self._hidden(sizes, dropout), nn.Linear(sizes[-1], 1))
