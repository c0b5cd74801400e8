"""Layers of convolutional nets on a tape, over blocks of batch rows as of `harness.training.tape_pixels`.

Imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from harness.training.tape import ADDED, TURNED, Value, Writer
from harness.training.tape_pixels import Numbers, meeting
from harness.training.tape_placed import Placed, PlacedSide

_CACHED = 3 << 17  # bytes of gradients that stay in a second-level cache; more are made one tap after the other


class Layer(ABC):
    """What multiplies by weights of a side.

    Attributes:
        side: of the weights.
        shape: rows and columns of the output.
    """

    side: PlacedSide
    shape: tuple[int, int]

    def given(self, x: Value) -> Value:
        """What `forward` and `learn` read, of an input."""
        return x

    def received(self, g: Value) -> Value:
        """What `learn` and `back` read, of a gradient of the output."""
        return g

    @abstractmethod
    def forward(self, x: Value, to: Value, word: int, slope: float) -> None:
        """The products with bias, and an activation."""

    @abstractmethod
    def learn(self, x: Value, g: Value) -> None:
        """The gradients of the weights."""

    @abstractmethod
    def back(self, g: Value, to: Value) -> None:
        """The gradient of the input."""


class Dense(Layer):
    """A layer over the rows of a batch.

    Args:
        side: of the weights.
        weight: (inputs, outputs), or these rows of it.
        bias: a row.
        rows: of its input.
        part: rows of the weights, all by default.
    """

    def __init__(
        self, side: PlacedSide, weight: Placed, bias: Placed, rows: int, part: tuple[int, int] | None = None
    ) -> None:
        assert weight.gradient is not None
        start, stop = part or (0, weight.value.rows)
        self.side, self.shape, self._bias = side, (rows, weight.value.columns), bias.value
        self._weight, self._gradient = (
            side.writer.rows_of(each, start, stop) for each in (weight.value, weight.gradient)
        )
        self._turned = side.turned(self._weight)

    def forward(self, x: Value, to: Value, word: int, slope: float) -> None:
        """The products with bias, and an activation."""
        self.side.writer.operation("product", (x, self._weight, to, self._bias), word=word, reals=(slope,))

    def learn(self, x: Value, g: Value) -> None:
        """The gradients of the weights."""
        number = TURNED | self.side.addition(self._gradient)
        self.side.writer.operation("product", (x, g, self._gradient), number=number)

    def back(self, g: Value, to: Value) -> None:
        """The gradient of the input."""
        self.side.writer.operation("product", (g, self._turned, to))


class Linked(Layer):
    """Blocks of batch rows that are sums of products of other such blocks with blocks of weights.

    Args:
        side: of the weights.
        weight: block under block, from the first row on.
        bias: a row for all blocks, or one for each; None: it is added to what the output holds.
        links: (n, 3): the block that is made, the one that is read, that of the weights.
        batch: rows of a block.
        inputs: columns of what is read.
    """

    def __init__(
        self, side: PlacedSide, weight: Placed, bias: Placed | None, links: Numbers, batch: int, inputs: int
    ) -> None:
        assert weight.gradient is not None
        writer = side.writer
        made, _, blocks = (int(each) + 1 for each in links.max(axis=0))
        self.side, self.shape = side, (made * batch, weight.value.columns)
        self._bias = None if bias is None else bias.value
        self._weight, self._gradient = (
            writer.rows_of(each, 0, blocks * inputs) for each in (weight.value, weight.gradient)
        )
        many = 4 * self._gradient.rows * self._gradient.columns > _CACHED
        learning = links[np.argsort(links[:, 2], kind="stable")] if many else links
        self._forward, self._back, self._learn = (
            4 * writer.table(each, batch) for each in (links, links[:, [1, 0, 2]], learning[:, [2, 1, 0]])
        )
        self.turned = side.turned(self._weight, blocks)

    def forward(self, x: Value, to: Value, word: int, slope: float) -> None:
        """The products with bias, and an activation."""
        writer, bias = self.side.writer, self._bias
        number = self._forward + (ADDED if bias is None else 0)
        writer.operation("blocks", (x, self._weight, to, bias), word=word, number=number, reals=(slope,))

    def learn(self, x: Value, g: Value) -> None:
        """The gradients of the weights."""
        number = self._learn + TURNED + self.side.addition(self._gradient)
        self.side.writer.operation("blocks", (x, g, self._gradient), number=number)

    def back(self, g: Value, to: Value) -> None:
        """The gradient of the input."""
        self.side.writer.operation("blocks", (g, self.turned, to), number=self._back)


class Pixels:
    """Images of one channel (pixels, rows of the batch), and what their taps read: of each position (taps, rows)."""

    def __init__(self, writer: Writer, reads: Numbers, batch: int) -> None:
        self._writer, self.batch = writer, batch
        self.positions, self.taps = reads.shape
        self.count = int(reads.max()) + 1
        self._pick, self._collect = writer.table(reads.reshape(-1, 1)), writer.table(meeting(reads))

    def read(self, image: Value) -> Value:
        """What the taps read, zeros beyond the edges."""
        made = self._writer.value(self.positions * self.taps, self.batch)
        self._writer.operation("pick", (image, None, made), number=self._pick)
        return made

    def sum(self, x: Value, to: Value, bias: Value | None) -> None:
        """The numbers of taps (positions, rows of the batch; taps), summed where they meet."""
        self._writer.operation("collect", (x, None, to, bias), number=self._collect)


class _OfPixels(Layer):
    """The products of both layers between images of one channel and those of many."""

    def __init__(self, side: PlacedSide, weight: Placed, bias: Placed, pixels: Pixels) -> None:
        assert weight.gradient is not None
        self.side, self._pixels, self._bias = side, pixels, bias.value
        self._weight, self._gradient = weight.value, weight.gradient
        each, none = np.arange(pixels.positions), np.zeros(pixels.positions, np.int64)
        self._wide, self._sum = (
            4 * side.writer.table(np.stack(columns, axis=1), pixels.taps)
            for columns in ([each, each, none], [none, each, each])
        )
        self._turned = side.turned(self._weight)

    def _widen(self, read: Value, to: Value, bias: Value | None, word: int = 0, slope: float = 0.0) -> None:
        operands = (read, self._weight, to, bias)
        self.side.writer.operation("blocks", operands, word=word, number=self._wide + TURNED, reals=(slope,))

    def _narrow(self, x: Value, to: Value, bias: Value | None) -> None:
        made = self.side.writer.value(x.rows, self._pixels.taps)
        self.side.writer.operation("product", (x, self._turned, made))
        self._pixels.sum(made, to, bias)

    def _multiply(self, read: Value, wide: Value) -> None:
        number = self._sum + self.side.addition(self._gradient)
        self.side.writer.operation("blocks", (read, wide, self._gradient), number=number)


class FromPixels(_OfPixels):
    """A convolution of images of one channel."""

    def __init__(self, side: PlacedSide, weight: Placed, bias: Placed, pixels: Pixels) -> None:
        super().__init__(side, weight, bias, pixels)
        self.shape = pixels.positions * pixels.batch, weight.value.columns

    def given(self, x: Value) -> Value:
        """What the taps read."""
        return self._pixels.read(x)

    def forward(self, x: Value, to: Value, word: int, slope: float) -> None:
        """The products with bias, and an activation."""
        self._widen(x, to, self._bias, word, slope)

    def learn(self, x: Value, g: Value) -> None:
        """The gradients of the weights."""
        self._multiply(x, g)

    def back(self, g: Value, to: Value) -> None:
        """The gradient of the input."""
        self._narrow(g, to, None)


class ToPixels(_OfPixels):
    """A transposed convolution that makes images of one channel."""

    def __init__(self, side: PlacedSide, weight: Placed, bias: Placed, pixels: Pixels) -> None:
        super().__init__(side, weight, bias, pixels)
        self.shape = pixels.count, pixels.batch

    def forward(self, x: Value, to: Value, word: int, slope: float) -> None:
        """The products with bias, and an activation."""
        self._narrow(x, to, self._bias)
        if word:
            self.side.writer.operation("activate", (None, None, to), word=word, reals=(slope,))

    def received(self, g: Value) -> Value:
        """What the taps read of the gradient."""
        return self._pixels.read(g)

    def learn(self, x: Value, g: Value) -> None:
        """The gradients of the weights."""
        self._multiply(g, x)

    def back(self, g: Value, to: Value) -> None:
        """The gradient of the input."""
        self._widen(g, to, None)
