"""EGBAD: anomaly detection with a bidirectional GAN, after Zenati et al. 2018 (arXiv 1802.06222) and its code.

A generator, an encoder and a discriminator of pairs (row, code) learn from normal rows. The score of a row weighs how
badly it is reconstructed through code and generator, and what the discriminator makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from harness.detectors.adversarial import Reconstructing
from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, DenseLayer, Program

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.detectors.adversarial_tape import Losses, Recorder
    from harness.detectors.adversarial_training import Players

_BRANCHES = ("discriminator.x", "discriminator.z", "discriminator.joint", "discriminator.out")


ScoreBy = Literal["cross-entropy", "feature-matching"]


def weighed(
    builder: Builder, reconstructed: str, features: Callable[[str], str], out: Sequence[DenseLayer], score_by: ScoreBy,
    weight: float,
) -> Program:  # fmt: skip
    """The program whose score is the L1 error of ``reconstructed`` and the discriminator's term, weighed.

    Args:
        features: writes the discriminator's last hidden layer for rows, or for reconstructed ones.
        out: the discriminator's layers after it.
        weight: of the discriminator's term.
    """
    error = builder.reduce("abs_sum", builder.elementwise("subtract", ROWS, reconstructed))
    weighted = builder.with_constant("multiply", error, 1.0 - weight)
    if score_by == "cross-entropy":
        logit = builder.chain(features(reconstructed), out)
        term = builder.activation(builder.with_constant("multiply", logit, -1.0), "softplus")
    else:
        difference = builder.elementwise("subtract", features(ROWS), features(reconstructed))
        term = builder.reduce("abs_sum", difference)
    return builder.finish(builder.elementwise("add", weighted, builder.with_constant("multiply", term, weight)))


@dataclass
class EGBAD(Reconstructing):
    """Score is (1 - ``weight``) times the L1 reconstruction error plus ``weight`` times the discriminator's term.

    The defaults are the published ones for KDD99; ``ema_decay`` averages the weights that score.

    Args:
        score_by: the discriminator's term, default ``cross-entropy`` (of its calling the reconstruction real, as the
            code has it; the paper's text takes the row), or ``feature-matching`` (the L1 distance between its last
            hidden layers). It is a rule of scoring only; the training is the same.
        weight: float in [0, 1], default 0.1. Share of that term in the score.
        encoder: widths of the encoder's hidden layers.
        generator: widths of the generator's hidden layers.
        discriminator: int >= 1, default 128. Width of the discriminator's layers.
        slope: float >= 0, default 0.1. Slope of leaky ReLU below zero.
        dropout: float in [0, 1), default 0.2. Share of the discriminator's units dropped.
    """

    name: ClassVar[str] = "egbad"

    score_by: ScoreBy = "cross-entropy"
    weight: float = 0.1
    encoder: tuple[int, ...] = (64,)
    generator: tuple[int, ...] = (64, 128)
    discriminator: int = 128
    slope: float = 0.1
    dropout: float = 0.2

    def round(self, players: Players) -> Callable[..., Tensor]:
        """The discriminator's step, and one of generator and encoder together."""
        import torch

        from harness.detectors.adversarial_training import pair_losses

        encode, generate = (players.generators.net(name) for name in self.generators)
        pairs = players.pair_discriminator(*_BRANCHES)

        @torch.inference_mode()
        def step(for_discriminator: Tensor, for_generators: Tensor) -> Tensor:
            real, codes = players.batch(for_discriminator)
            fake, inferred = generate.forward(codes)[0], encode.forward(real)[0]
            logits, state = pairs.forward(real, inferred, fake, codes)
            discriminator_losses, g = pair_losses(logits, 1.0)
            players.discriminators.zero()
            pairs.learn(state, g)
            players.discriminators.step()

            real, codes = players.batch(for_generators)
            (fake, generated), (inferred, encoded) = generate.forward(codes), encode.forward(real)
            logits, state = pairs.forward(real, inferred, fake, codes)
            losses, g = pair_losses(logits, 0.0)
            of_fake, of_inferred = pairs.pass_on(state, g)
            players.generators.zero()
            generate.backward(generated, of_fake)
            encode.backward(encoded, of_inferred)
            players.generators.step()
            return torch.stack([discriminator_losses.sum(dim=1), losses[:, 1], losses[:, 0]], dim=1)

        return step

    def record(self, recorder: Recorder) -> Losses:
        """The same round as operations."""
        encode, generate = recorder.nets["encoder"], recorder.nets["generator"]
        pairs = recorder.pairs(*_BRANCHES)
        mark = recorder.writer.mark()
        codes = recorder.value(2, self.latent)
        inferred, drawn = recorder.half(codes, 0), recorder.half(codes, 1)
        real = recorder.batch(0, drawn)
        fake = generate.forward([[drawn]])[0]
        encode.forward([[real]], inferred)
        judged = recorder.judge(pairs, real, fake, codes)
        g, of_discriminator = recorder.loss(judged.logits, 1.0)
        recorder.discriminators.begin()
        recorder.learn(pairs, judged, g)
        recorder.discriminators.step()

        recorder.writer.release(mark)
        codes = recorder.value(2, self.latent)
        inferred, drawn = recorder.half(codes, 0), recorder.half(codes, 1)
        real = recorder.batch(1, drawn)
        fake, generated = generate.forward([[drawn]])
        encoded = encode.forward([[real]], inferred)[1]
        judged = recorder.judge(pairs, real, fake, codes)
        g, of_both = recorder.loss(judged.logits, 0.0)
        of_fake, of_inferred = recorder.writer.like(fake), recorder.value(1, self.latent)
        recorder.pass_on(pairs, judged, g, of_fake, of_inferred)
        recorder.generators.begin()
        generate.backward(generated, of_fake)
        encode.backward(encoded, of_inferred)
        recorder.generators.step()
        return (of_discriminator, of_discriminator + 1), (of_both + 1,), (of_both,)

    def parts(self) -> dict[str, nn.Module]:
        """Encoder, generator, and the discriminator's branches."""
        from torch import nn

        from harness.training.nets import stack

        def branch(inputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(inputs, self.discriminator), nn.LeakyReLU(self.slope), nn.Dropout(self.dropout)
            )

        n_features = self.n_features_in_
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

    def score_tensor(self, x: Tensor) -> Tensor:
        """Anomaly score per row."""
        from torch.nn import functional

        code = self.part("encoder")(x)
        reconstructed = self.part("generator")(code)
        error: Tensor = (x - reconstructed).abs().sum(dim=1)
        if self.score_by == "cross-entropy":
            logit = self.part("discriminator.out")(self._features(reconstructed, code)).view(-1)
            term = functional.softplus(-logit)
        else:
            term = (self._features(x, code) - self._features(reconstructed, code)).abs().sum(dim=1)
        return (1.0 - self.weight) * error + self.weight * term

    def program(self) -> Program:
        """The same in array operations."""
        from harness.training.nets import layers_of

        encoder, generator, of_rows, of_codes, joint, out = (
            layers_of(self.part(path)) for path in ("encoder", "generator", *_BRANCHES)
        )
        builder = Builder(self.n_features_in_)
        code = builder.chain(ROWS, encoder)
        reconstructed = builder.chain(code, generator)
        of_code = builder.chain(code, of_codes)

        def features(x: str) -> str:
            return builder.chain(builder.concat(builder.chain(x, of_rows), of_code), joint)

        return weighed(builder, reconstructed, features, out, self.score_by, self.weight)

    def _features(self, x: Tensor, code: Tensor) -> Tensor:
        import torch

        of_rows, of_codes, joint = (self.part(path) for path in _BRANCHES[:3])
        hidden: Tensor = joint(torch.cat([of_rows(x), of_codes(code)], dim=1))
        return hidden
