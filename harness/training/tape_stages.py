"""Layers of a convolutional net on a tape with what follows them: normalisation, activation, dropout. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from harness.training.nets import activation_of
from harness.training.tape import Value, apart, word_of
from harness.training.tape_layers import Layer
from harness.training.tape_placed import Placed, PlacedSide


class Normed:
    """Batch normalisation over the rows of a value, or of each of its blocks.

    Args:
        side: of its parameters.
        part: torch's.
        weight: (blocks, columns).
        bias: (blocks, columns).
    """

    def __init__(self, side: PlacedSide, part: nn.BatchNorm1d | nn.BatchNorm2d, weight: Placed, bias: Placed) -> None:
        assert weight.gradient is not None
        assert bias.gradient is not None
        assert part.running_mean is not None
        assert part.running_var is not None
        self.weight, self.bias = weight.value, bias.value
        self._writer, self.blocks = side.writer, weight.value.rows
        self._gradients = tuple(side.sums(each) for each in (weight.gradient, bias.gradient))
        self._running = [side.statistic(each, weight.places) for each in (part.running_mean, part.running_var)]
        self._reals = (part.momentum or 0.0, part.eps)

    def forward(self, plain: Value, to: Value) -> list[int]:
        """The normalised rows; for `backward`, where it leaves what it found."""
        writer, saved = self._writer, []
        for at in range(self.blocks):
            columns = plain.columns
            numbers = [self._row(each, at).number for each in self._running]
            for _ in range(4):
                writer.value(1, columns)
            for each in self._gradients:
                self._row(each, at)
            saved.append(numbers[0])
            self._write("norm", plain, to, at, saved[-1])
        return saved

    def backward(self, plain: Value, g: Value, saved: Sequence[int], learn: bool) -> None:
        """``g`` becomes the gradient by the plain rows."""
        for at in range(self.blocks):
            self._write("norm_gradient", plain, g, at, saved[at], word=int(learn))

    def _write(self, kind: str, plain: Value, to: Value, at: int, number: int, word: int = 0) -> None:
        operands = (
            self._block(plain, at), self._row(self.weight, at), self._block(to, at), self._row(self.bias, at)
        )  # fmt: skip
        self._writer.operation(kind, operands, number=number, word=word, reals=self._reals)

    def _row(self, whole: Value, at: int) -> Value:
        return self._writer.rows_of(whole, at, at + 1)

    def _block(self, whole: Value, at: int) -> Value:
        rows = whole.rows // self.blocks
        return self._writer.rows_of(whole, at * rows, (at + 1) * rows)


@dataclass(frozen=True)
class Passed:
    """What the way forward leaves of a stage: what was read, what was normalised, the output, numbers for both."""

    read: Value
    plain: Value
    output: Value
    norm: Sequence[int] = ()
    mask: int = 0


@dataclass(frozen=True)
class Stage:
    """A layer with what follows it.

    Attributes:
        layer: the products.
        bias: gradient of the bias, where it has one of its own.
        norm: before the activation.
        activation: name and slope.
        dropout: share that is dropped; None for no dropout.
    """

    layer: Layer
    bias: Value | None = None
    norm: Normed | None = None
    activation: tuple[str, float] = ("identity", 0.0)
    dropout: float | None = None

    @classmethod
    def of(cls, layer: Layer, bias: Placed | None, follow: Iterable[nn.Module], norm: Normed | None = None) -> Stage:
        """With the modules that follow it. A bias that is normalised away learns nothing."""
        gradient = None if bias is None or norm is not None else bias.gradient
        made = cls(layer, gradient, norm)
        for part in follow:
            match part:
                case nn.BatchNorm1d() | nn.BatchNorm2d():
                    pass
                case nn.Dropout():
                    made = replace(made, dropout=part.p)
                case _:
                    made = replace(made, activation=activation_of(part))
        return made

    def forward(self, x: Value, to: Value | None = None) -> Passed:
        """The output, into ``to`` if given."""
        writer, (name, slope) = self.layer.side.writer, self.activation
        word = word_of(name)
        output = writer.value(*self.layer.shape, spare=apart(self.layer.shape[1])) if to is None else to
        read = self.layer.given(x)
        passed = Passed(read, output, output)
        if self.norm is None:
            self.layer.forward(read, output, word, slope)
        else:
            plain = writer.like(output)
            self.layer.forward(read, plain, 0, 0.0)
            passed = Passed(read, plain, output, self.norm.forward(plain, output))
            writer.operation("activate", (None, None, output), word=word, reals=(slope,))
        if self.dropout is None:
            return passed
        mask = writer.mask(output.rows, output.columns)
        writer.operation("drop", (None, None, output), number=mask, reals=(self.dropout,))
        return replace(passed, mask=mask)

    def backward(self, passed: Passed, g: Value, *, learn: bool = True, to: Value | None = None) -> None:
        """Send the gradient ``g`` of the output back, whose memory is taken; that of the input goes ``to``."""
        self.unfinish(passed, g, learn=learn)
        received = self.layer.received(g)
        if learn:
            self.learn(passed.read, g, received)
        if to is not None:
            self.layer.back(received, to)

    def unfinish(self, passed: Passed, g: Value, *, learn: bool) -> None:
        """The gradient of the output becomes that of the products."""
        writer, (name, slope) = self.layer.side.writer, self.activation
        if self.dropout is not None:
            writer.operation("drop", (None, None, g), number=passed.mask, reals=(self.dropout,))
        if name != "identity":
            writer.operation("gate", (passed.output, None, g), word=word_of(name), reals=(slope,))
        if self.norm is not None:
            self.norm.backward(passed.plain, g, passed.norm, learn)

    def learn(self, read: Value, g: Value, received: Value | None = None) -> None:
        """The gradients of weights and bias, given that of the products."""
        if self.bias is not None:
            self._sum(g, self.bias)
        self.layer.learn(read, g if received is None else received)

    def _sum(self, g: Value, to: Value) -> None:
        """The gradient of the bias: a number for each column, or a single one."""
        writer, number = self.layer.side.writer, self.layer.side.addition(to)
        if to.columns == g.columns:
            writer.operation("sums", (g, None, to), number=number)
            return
        sums = writer.value(1, g.columns)
        writer.operation("sums", (g, None, sums))
        writer.operation("sums", (sums, None, to), number=number)
