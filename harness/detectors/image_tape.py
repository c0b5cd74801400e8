"""The rounds of EGBAD for images on a tape of the native kernels: those of `image_nets.Game`. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from harness.detectors.adversarial_tape import Game, Losses
from harness.detectors.image_nets import Discriminator, Encoder, Generator, Nets
from harness.detectors.net_detector import NetDetector
from harness.training.adam import BETAS
from harness.training.tape import TURNED, Value, Writer, apart, word_of
from harness.training.tape_layers import Dense, FromPixels, Linked, Pixels, ToPixels
from harness.training.tape_pixels import Numbers, enlarging, links_of, pixel_by_pixel, tap_by_tap, taps
from harness.training.tape_placed import Placed, PlacedSide
from harness.training.tape_stages import Normed, Passed, Stage

Multiplies = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


@dataclass(frozen=True)
class Group:
    """A layer of torch with what follows it up to the next, and where its numbers are.

    Attributes:
        part: convolution or linear layer.
        follow: the others.
        places: of the weights.
        pixels: places (pixels, channels) where the outputs are an image that was flat; None: they are a row.
    """

    part: Multiplies
    follow: Sequence[nn.Module]
    places: Numbers
    pixels: Numbers | None = None

    @property
    def norm(self) -> nn.BatchNorm1d | nn.BatchNorm2d | None:
        """The normalisation that follows."""
        return next((each for each in self.follow if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)), None)

    def tensors(self) -> Iterator[tuple[torch.Tensor, Numbers]]:
        """Its parameters with their places."""
        yield self.part.weight, self.places
        for part in (self.part, self.norm):
            for each in () if part is None else part.parameters():
                if each is not self.part.weight:
                    yield each, np.arange(each.numel())[None] if self.pixels is None else self.pixels


@dataclass(frozen=True)
class Judged:
    """What judging pairs leaves behind: of both halves, the real and the generated, or of all."""

    images: Sequence[Sequence[Passed]]
    of_images: Value
    codes: Passed
    joint: Value
    mask: int
    logits: Value


class ImageRecorder:
    """Takes down a round.

    Args:
        detector: whose `Nets` are trained; built.
        game: how.
        rows: of a batch.
    """

    def __init__(self, detector: NetDetector, game: Game, rows: int) -> None:
        nets, side = detector.net_as(Nets), math.isqrt(detector.n_features_in_)
        self.rows, self._side, self._latent = rows, side, game.latent
        self.writer = Writer(side**2, rows)
        self._placed: dict[int, Placed] = {}
        encoder, generator, discriminator = (
            list(made)
            for made in (
                _of_encoder(nets.encoder, side),
                _of_generator(nets.generator, side),
                _of_discriminator(nets.discriminator, side),
            )
        )
        self.discriminators, self.generators = (
            self._side_of(groups, detector.learning_rate, game) for groups in (discriminator, [*encoder, *generator])
        )
        self._encoder = self._encoding(encoder)
        self._generator = self._generating(generator)
        self._judge(discriminator)

    @property
    def sides(self) -> tuple[PlacedSide, PlacedSide]:
        """Discriminator, and generator with encoder."""
        return self.discriminators, self.generators

    def _side_of(self, groups: Sequence[Group], learning_rate: float, game: Game) -> PlacedSide:
        side = PlacedSide(self.writer, learning_rate, (game.beta_1, BETAS[1]), game.ema_decay)
        tensors = [each for group in groups for each in group.tensors()]
        for (tensor, _), placed in zip(tensors, side.parameters(*tensors), strict=True):
            self._placed[id(tensor)] = placed
        return side

    def _of(self, group: Group) -> tuple[Placed, Placed]:
        """Weights and bias."""
        return self._placed[id(group.part.weight)], self._placed[id(group.part.bias)]

    def _stage(self, group: Group, layer: Dense | Linked | FromPixels | ToPixels) -> Stage:
        part, normed = group.norm, None
        if part is not None:
            normed = Normed(layer.side, part, self._placed[id(part.weight)], self._placed[id(part.bias)])
        return Stage.of(layer, self._of(group)[1], group.follow, normed)

    def _convolution(self, group: Group, side: int, owner: PlacedSide) -> Stage:
        """Of images with that many pixels a side, which a transposed one makes."""
        part = group.part
        assert isinstance(part, nn.Conv2d | nn.ConvTranspose2d)
        reads = taps(side, part)
        if part.in_channels == 1 or part.out_channels == 1:
            kind = FromPixels if isinstance(part, nn.Conv2d) else ToPixels
            return self._stage(group, kind(owner, *self._of(group), Pixels(self.writer, reads, self.rows)))
        links = links_of(reads) if isinstance(part, nn.Conv2d) else enlarging(reads)
        return self._stage(group, Linked(owner, *self._of(group), links, self.rows, part.in_channels))

    def _encoding(self, groups: Sequence[Group]) -> list[Stage]:
        *convolutions, last = groups
        stages = [
            self._convolution(group, side, self.generators)
            for group, side in zip(convolutions, (self._side, self._side, self._side // 2), strict=True)
        ]
        links = _links((0, each, each) for each in range((self._side // 4) ** 2))
        channels = convolutions[-1].part.weight.shape[0]
        return [*stages, self._stage(last, Linked(self.generators, *self._of(last), links, self.rows, channels))]

    def _generating(self, groups: Sequence[Group]) -> list[Stage]:
        first, second, *convolutions = groups
        links = _links((each, 0, each) for each in range((self._side // 4) ** 2))
        inputs = second.part.weight.shape[1]
        return [
            self._stage(first, Dense(self.generators, *self._of(first), self.rows)),
            self._stage(second, Linked(self.generators, *self._of(second), links, self.rows, inputs)),
            *(
                self._convolution(group, side, self.generators)
                for group, side in zip(convolutions, (self._side // 2, self._side), strict=True)
            ),
        ]

    def _judge(self, groups: Sequence[Group]) -> None:
        first, second, codes, joint, out = groups
        owner, pixels = self.discriminators, (self._side // 4) ** 2
        self._of_images = [
            self._convolution(group, side, owner) for group, side in ((first, self._side), (second, self._side // 2))
        ]
        self._of_codes = self._stage(codes, Dense(owner, *self._of(codes), 2 * self.rows))
        weight, bias = self._of(joint)
        channels = second.part.weight.shape[0]
        links = _links((half, half * pixels + each, each) for each in range(pixels) for half in range(2))
        self._joint_images = Linked(owner, weight, None, links, self.rows, channels)
        self._joint_codes = Dense(owner, weight, bias, 2 * self.rows, (pixels * channels, weight.value.rows))
        self._joint = Stage.of(self._joint_codes, bias, joint.follow)
        self._half_back = 4 * self.writer.table(_links((each, 0, each) for each in range(pixels)), self.rows)
        self._out = self._of(out)

    def round(self) -> Losses:
        """A step of the discriminator and one of generator and encoder; their losses."""
        writer, mark = self.writer, self.writer.mark()
        real, codes = self._batch(0)
        fake = writer.value(self._side**2, self.rows)
        inner = writer.mark()
        forward(self._encoder, real, self._half(codes, 0))
        writer.release(inner)
        forward(self._generator, self._half(codes, 1), fake)
        writer.release(inner)
        judged = self._judged(real, fake, codes, (0, 1))
        g, of_discriminator = self._loss(judged.logits, 1.0)
        self.discriminators.begin()
        self._learn(judged, g)
        self.discriminators.step()

        writer.release(mark)
        real, codes = self._batch(1)
        generated = forward(self._generator, self._half(codes, 1))
        encoded = forward(self._encoder, real, self._half(codes, 0))
        judged = self._judged(real, generated[-1].output, codes, (1, 0))
        g, of_both = self._loss(judged.logits, 0.0)
        of_fake, of_inferred = self._pass_on(judged, g)
        self.generators.begin()
        backward(self._generator, generated, of_fake)
        backward(self._encoder, encoded, of_inferred)
        self.generators.step()
        return (of_discriminator, of_discriminator + 1), (of_both + 1,), (of_both,)

    def _half(self, whole: Value, which: int) -> Value:
        count = whole.rows // 2
        return self.writer.rows_of(whole, which * count, (which + 1) * count)

    def _batch(self, order: int) -> tuple[Value, Value]:
        """Real images, and codes of which the second half is drawn."""
        writer = self.writer
        codes, rows = writer.value(2 * self.rows, self._latent), writer.value(self.rows, self._side**2)
        real = writer.value(self._side**2, self.rows)
        writer.gather(rows, order)
        writer.operation("turn", (rows, None, real))
        writer.normal(self._half(codes, 1))
        return real, codes

    def _judged(self, real: Value, fake: Value, codes: Value, order: tuple[int, int]) -> Judged:
        """Of the real images and of the generated ones, which are normalised apart, in this order."""
        writer = self.writer
        rows, columns = self._of_images[-1].layer.shape
        of_images, images = writer.value(2 * rows, columns), [list[Passed](), list[Passed]()]
        for half in order:
            images[half] = forward(self._of_images, (real, fake)[half], self._half(of_images, half))
        of_codes = self._of_codes.forward(codes)
        joint = writer.value(*self._joint_codes.shape, spare=apart(self._joint_codes.shape[1]))
        self._joint_codes.forward(of_codes.output, joint, 0, 0.0)
        name, slope = self._joint.activation
        self._joint_images.forward(of_images, joint, word_of(name), slope)
        mask = writer.mask(joint.rows, joint.columns)
        writer.operation("drop", (None, None, joint), number=mask, reals=(self._joint.dropout or 0.0,))
        logits, (weight, bias) = writer.value(1, joint.rows, spare=16), self._out
        writer.operation("dots", (joint, weight.value, logits, bias.value))
        return Judged(images, of_images, of_codes, joint, mask, logits)

    def _loss(self, logits: Value, first: float) -> tuple[Value, int]:
        """The gradient of two cross-entropies, of the real half, which should say ``first``, and of the other."""
        g, number = self.writer.like(logits), self.writer.loss(2)
        self.writer.operation("pair", (logits, None, g), number=number, reals=(first,))
        return g, number

    def _of_joint(self, judged: Judged, g: Value) -> Value:
        """The gradient by the sums of the joint layer."""
        made, (weight, _) = self.writer.like(judged.joint), self._out
        self.writer.operation("product", (g, weight.value, made), number=TURNED)
        passed = Passed(judged.codes.output, judged.joint, judged.joint, mask=judged.mask)
        self._joint.unfinish(passed, made, learn=False)
        return made

    def _learn(self, judged: Judged, g: Value) -> None:
        """The gradients of the discriminator's parameters."""
        writer, side = self.writer, self.discriminators
        weight, bias = self._out
        assert weight.gradient is not None
        assert bias.gradient is not None
        writer.operation("sums", (g, None, bias.gradient), number=side.addition(bias.gradient))
        writer.operation("product", (g, judged.joint, weight.gradient), number=side.addition(weight.gradient))
        of_joint = self._of_joint(judged, g)
        self._joint.learn(judged.codes.output, of_joint)
        self._joint_images.learn(judged.of_images, of_joint)
        of_images, of_codes = writer.like(judged.of_images), writer.like(judged.codes.output)
        self._joint_images.back(of_joint, of_images)
        self._joint_codes.back(of_joint, of_codes)
        for half in range(2):
            backward(self._of_images, judged.images[half], self._half(of_images, half))
        self._of_codes.backward(judged.codes, of_codes)

    def _pass_on(self, judged: Judged, g: Value) -> tuple[Value, Value]:
        """The gradients of the generated images and of the inferred codes."""
        writer = self.writer
        of_joint = self._of_joint(judged, g)
        of_images = writer.value(*self._of_images[-1].layer.shape)
        operands = (self._half(of_joint, 1), self._joint_images.turned, of_images)
        writer.operation("blocks", operands, number=self._half_back)
        of_fake = writer.value(self._side**2, self.rows)
        backward(self._of_images, judged.images[1], of_images, learn=False, to=of_fake)
        passed, of_code = judged.codes, self._half(writer.like(judged.codes.output), 0)
        self._joint_codes.back(self._half(of_joint, 0), of_code)
        of_inferred = writer.value(self.rows, self._latent)
        inferred = Passed(passed.read, passed.plain, self._half(passed.output, 0), mask=passed.mask)
        self._of_codes.backward(inferred, of_code, learn=False, to=of_inferred)
        return of_fake, of_inferred


def forward(stages: Sequence[Stage], x: Value, to: Value | None = None) -> list[Passed]:
    """Through all, the last ``to``."""
    saved = list[Passed]()
    for at, stage in enumerate(stages):
        saved.append(stage.forward(x, to if at == len(stages) - 1 else None))
        x = saved[-1].output
    return saved


def backward(
    stages: Sequence[Stage], saved: Sequence[Passed], g: Value, *, learn: bool = True, to: Value | None = None
) -> None:
    """Through all, from the last on; the gradient of the input goes ``to``."""
    for at in range(len(stages) - 1, -1, -1):
        below = stages[0].layer.side.writer.like(saved[at - 1].output) if at else to
        stages[at].backward(saved[at], g, learn=learn, to=below)
        if below is not None:
            g = below


def _links(each: Iterator[tuple[int, int, int]]) -> Numbers:
    return np.array(list(each), dtype=np.int64)


def _groups(net: nn.Sequential) -> list[tuple[Multiplies, list[nn.Module]]]:
    """Each layer with what follows it up to the next, but reshaping."""
    made: list[tuple[Multiplies, list[nn.Module]]] = []
    for part in net:
        if isinstance(part, Multiplies):
            made.append((part, []))
        elif not isinstance(part, nn.Flatten | nn.Unflatten):
            made[-1][1].append(part)
    return made


def _columns(part: nn.Module, inputs: Numbers | None = None) -> Numbers:
    """Where a linear layer's weights (inputs, outputs) are, the inputs in this order or in torch's."""
    assert isinstance(part, nn.Linear)
    inputs = np.arange(part.in_features) if inputs is None else inputs
    return inputs[:, None] + part.in_features * np.arange(part.out_features)


def _of_encoder(encoder: Encoder, side: int) -> Iterator[Group]:
    *convolutions, (last, follow) = _groups(encoder.net)
    for part, rest in convolutions:
        yield Group(part, rest, tap_by_tap(part.weight))
    yield Group(
        last, follow, _columns(last, pixel_by_pixel((side // 4) ** 2, convolutions[-1][0].weight.shape[0]).ravel())
    )


def _of_generator(generator: Generator, side: int) -> Iterator[Group]:
    (first, rest), (second, more), (wide, others), (last, final) = _groups(generator.net)
    yield Group(first, rest, _columns(first))
    pixels = pixel_by_pixel((side // 4) ** 2, wide.weight.shape[0])
    inputs = second.weight.shape[1]
    places = pixels[:, None, :] * inputs + np.arange(inputs)[:, None]
    yield Group(second, more, places.reshape(-1, pixels.shape[1]), pixels)
    yield Group(wide, others, tap_by_tap(wide.weight, transposed=True))
    yield Group(last, final, tap_by_tap(last.weight))


def _of_discriminator(discriminator: Discriminator, side: int) -> Iterator[Group]:
    (first, rest), (second, more) = _groups(discriminator.of_images)
    yield Group(first, rest, tap_by_tap(first.weight))
    yield Group(second, more, tap_by_tap(second.weight))
    ((codes, others),) = _groups(discriminator.of_codes)
    yield Group(codes, others, _columns(codes))
    ((joint, final),) = _groups(discriminator.joint)
    pixels = pixel_by_pixel((side // 4) ** 2, second.weight.shape[0]).ravel()
    yield Group(joint, final, _columns(joint, np.concatenate([pixels, np.arange(len(pixels), joint.weight.shape[1])])))
    yield Group(discriminator.out, [], np.arange(joint.weight.shape[0])[None])
