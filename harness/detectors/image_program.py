"""Convolutional nets of images as steps of a program, the channels of a pixel side by side. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from torch import nn

from harness.scoring.builder import Builder
from harness.scoring.program import DenseLayer
from harness.training.nets import array_of, bias_of, followed

Pixels = NDArray[np.int64]


@dataclass(frozen=True)
class Image:
    """A value that holds square images.

    Attributes:
        value: its name.
        pixels: (side, side); where each pixel is among those of the value.
        channels: of a pixel.
    """

    value: str
    pixels: Pixels
    channels: int

    @classmethod
    def of(cls, value: str, side: int, channels: int = 1) -> Image:
        """Pixels row by row."""
        return cls(value, np.arange(side**2).reshape(side, side), channels)

    def by_rows(self, builder: Builder) -> str:
        """The value with its pixels row by row; of one channel."""
        order = self.pixels.ravel()
        return self.value if np.array_equal(order, np.arange(order.size)) else builder.columns(self.value, order)


def convolve(builder: Builder, image: Image, parts: Iterable[nn.Module]) -> Image:
    """The image through convolutions, transposed ones, normalisations and activations, in evaluation mode.

    Raises:
        TypeError: a part is something else, or a transposed convolution does not enlarge by its stride.
    """
    for part, rest in _layers(parts):
        if isinstance(part, nn.ConvTranspose2d):
            image = _enlarged(builder, image, part, rest)
        else:
            image = _convolved(builder, image, part, rest)
    return image


def flattened(image: Image, layer: DenseLayer) -> DenseLayer:
    """A layer whose first columns read what torch flattens an image to, channel by channel, for the image's value."""
    order = np.empty(image.pixels.size * image.channels, dtype=np.int64)
    order.reshape(-1, image.channels)[image.pixels.ravel()] = _channel_by_channel(image.pixels.size, image.channels)
    columns = np.concatenate([order, np.arange(len(order), layer.weight.shape[1])])
    return replace(layer, weight=layer.weight[:, columns])


def unflattened(layer: DenseLayer, channels: int) -> DenseLayer:
    """A layer whose outputs torch takes for an image, channel by channel, with the channels of a pixel side by side."""
    order = _channel_by_channel(len(layer.weight) // channels, channels).ravel()
    return replace(layer, weight=layer.weight[order], bias=layer.bias[order])


def _channel_by_channel(pixels: int, channels: int) -> Pixels:
    return np.arange(pixels)[:, None] + pixels * np.arange(channels)


def _layers(parts: Iterable[nn.Module]) -> Iterator[tuple[nn.Conv2d | nn.ConvTranspose2d, list[nn.Module]]]:
    """Each convolution with what follows it up to the next."""
    part: nn.Conv2d | nn.ConvTranspose2d | None = None
    rest: list[nn.Module] = []
    for each in parts:
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d):
            if part is not None:
                yield part, rest
            part, rest = each, []
        else:
            rest.append(each)
    if part is not None:
        yield part, rest


def _padding(part: nn.Conv2d | nn.ConvTranspose2d) -> int:
    size = part.padding[0]
    if not isinstance(size, int):
        raise TypeError(f"a convolution with {part.padding} padding has no program")
    return size


def _convolved(builder: Builder, image: Image, part: nn.Conv2d, rest: Iterable[nn.Module]) -> Image:
    weight = array_of(part.weight).transpose(0, 2, 3, 1)
    layer = DenseLayer(weight.reshape(len(weight), -1), bias_of(part))
    padded = np.pad(image.pixels, _padding(part), constant_values=-1)
    step = part.stride[0]
    read = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[1:3])[::step, ::step]
    made = builder.patches(
        image.value, reduce(followed, rest, layer), read.reshape(-1, weight[0, :, :, 0].size), image.channels
    )
    return Image.of(made, len(read), len(weight))


def _phases(part: nn.ConvTranspose2d, side: int) -> Iterator[tuple[tuple[int, int], Pixels, Pixels]]:
    """Of a stride s, what makes the pixels (s y + a, s x + b): a and b, the numbers of the taps (n,), and of each pixel
    and tap the number of the pixel of the image that it reads (side, side, n), -1 for none.
    """
    step, taps, padding = part.stride[0], part.kernel_size[0], _padding(part)
    if taps != step + 2 * padding:
        raise TypeError("a transposed convolution whose outputs are not its stride times its inputs has no program")
    padded = np.pad(np.arange(side**2).reshape(side, side), taps, constant_values=-1)
    for a in range(step):
        for b in range(step):
            down, across = (np.arange((at + padding) % step, taps, step) for at in (a, b))
            rows, columns = (
                taps + np.arange(side)[:, None] + (at + padding - each) // step for at, each in ((a, down), (b, across))
            )
            read = padded[rows[:, None, :, None], columns[None, :, None, :]]
            yield (a, b), (down[:, None] * taps + across).ravel(), read.reshape(side, side, -1)


def _enlarged(builder: Builder, image: Image, part: nn.ConvTranspose2d, rest: list[nn.Module]) -> Image:
    """The pixels of each phase are a convolution of their own."""
    side, step = len(image.pixels), part.stride[0]
    weight = array_of(part.weight).transpose(1, 2, 3, 0)
    if len(weight) == 1 and image.channels > 1:
        return _summed(builder, image, part, rest)
    of_taps = weight.reshape(len(weight), -1, image.channels)
    made, pixels = list[str](), np.empty((step * side, step * side), dtype=np.int64)
    for (a, b), numbers, read in _phases(part, side):
        own = of_taps[:, numbers].reshape(len(weight), -1)
        layer = reduce(followed, rest, DenseLayer(own, bias_of(part)))
        places = np.where(read < 0, -1, image.pixels.ravel()[read]).reshape(side**2, -1)
        pixels[a::step, b::step] = len(made) * side**2 + np.arange(side**2).reshape(side, side)
        made.append(builder.patches(image.value, layer, places, image.channels))
    return Image(builder.concat(*made), pixels, len(weight))


def _summed(builder: Builder, image: Image, part: nn.ConvTranspose2d, rest: list[nn.Module]) -> Image:
    """A single channel of many: every pixel is multiplied by all taps, and the products are summed where they meet.

    It is as much arithmetic as phases are, but nothing is gathered for it but single numbers.
    """
    side, step = len(image.pixels), part.stride[0]
    weight = array_of(part.weight).transpose(1, 2, 3, 0).reshape(-1, image.channels)
    products = DenseLayer(weight, np.zeros(len(weight), np.float32))
    value = builder.patches(image.value, products, image.pixels.reshape(-1, 1), image.channels)
    phases = list(_phases(part, side))
    terms = np.full((side, step, side, step, max(len(numbers) for _, numbers, _ in phases)), -1, dtype=np.int64)
    for (a, b), numbers, read in phases:
        terms[:, a, :, b, : len(numbers)] = np.where(read < 0, -1, read * len(weight) + numbers)
    layer = reduce(followed, rest, DenseLayer(np.ones((1, terms.shape[-1]), np.float32), bias_of(part)))
    return Image.of(builder.patches(value, layer, terms.reshape((step * side) ** 2, -1), 1), step * side)
