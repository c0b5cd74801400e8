"""Parameters on a tape whose numbers lie in another order than torch's. Imports torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from harness.training.adam import EPS
from harness.training.tape import ADDED, Value, Writer, apart, view
from harness.training.tape_pixels import Numbers


@dataclass(frozen=True, eq=False)
class Placed:
    """A parameter, or a running statistic.

    Attributes:
        tensor: torch's.
        places: of each number of the value, by rows and columns, its place in the flat tensor.
        value: on the tape.
        gradient: of a parameter.
    """

    tensor: torch.Tensor
    places: Numbers
    value: Value
    gradient: Value | None = None


class PlacedSide:
    """What one optimiser trains. `parameters` takes all of them, before anything else of the side.

    Args:
        writer: of the tape.
        learning_rate: Adam's.
        betas: Adam's.
        ema_decay: of the moving averages of the parameters; 0 for the parameters themselves.
    """

    def __init__(self, writer: Writer, learning_rate: float, betas: tuple[float, float], ema_decay: float) -> None:
        self.writer = writer
        self._reals, self._decay = (learning_rate, *betas, EPS), ema_decay
        self.kept: list[Placed] = []
        self._of_parameters: list[Value] = []  # they, gradient, both moments, moving average
        self._turned: list[tuple[Value, Value]] = []
        self._summed: list[Value] = []  # gradients that are added to from the first on
        self._written: set[int] = set()  # where gradients begin that the step has written

    def parameters(self, *wanted: tuple[torch.Tensor, Numbers]) -> list[Placed]:
        """Those of torch, each with its places."""
        writer, start = self.writer, self.writer.mark()
        made = [
            Placed(tensor, places, writer.value(places.shape[0], places.shape[1], apart(places.shape[1])))
            for tensor, places in wanted
        ]
        count = writer.mark() - start
        flat, (gradient, mean, square) = writer.at(start, 1, count), (writer.value(1, count) for _ in range(3))
        self._of_parameters = [flat, gradient, mean, square, writer.value(1, count) if self._decay else flat]
        offset = gradient.offset - start
        self.kept = [replace(each, gradient=writer.moved(each.value, offset)) for each in made]
        return list(self.kept)

    def statistic(self, buffer: torch.Tensor, places: Numbers) -> Value:
        """The running statistic of a normalisation."""
        self.kept.append(Placed(buffer, places, self.writer.value(*places.shape)))
        return self.kept[-1].value

    def turned(self, weight: Value, blocks: int = 1) -> Value:
        """Each block of the weights transposed, after every step too."""
        inputs, outputs = weight.rows // blocks, weight.columns
        made = self.writer.value(blocks * outputs, inputs, spare=apart(inputs))
        for at in range(blocks):
            block = self.writer.rows_of(weight, at * inputs, (at + 1) * inputs)
            self._turned.append((block, self.writer.rows_of(made, at * outputs, (at + 1) * outputs)))
        return made

    def sums(self, gradient: Value) -> Value:
        """A gradient that operations add to, zero at the beginning of every step."""
        self._summed.append(gradient)
        return gradient

    def begin(self) -> None:
        """Before the gradients of a step."""
        self._written.clear()
        for gradient in self._summed:
            self.writer.operation("clear", (None, None, gradient))

    def addition(self, gradient: Value) -> int:
        """The bit that adds to a gradient, unless the step has not written it yet."""
        number = ADDED if gradient.offset in self._written else 0
        self._written.add(gradient.offset)
        return number

    def step(self) -> None:
        """One of Adam and of the moving average."""
        *moved, average = self._of_parameters
        self.writer.operation("adam", moved, reals=self._reals)
        if self._decay:
            self.writer.operation("follow", (moved[0], None, average), reals=(1.0 - self._decay,))
        for weight, turned in self._turned:
            self.writer.operation("turn", (weight, None, turned))

    def load(self, memory: NDArray[np.float32]) -> None:
        """Torch's numbers into the memory."""
        for each in self.kept:
            view(memory, each.value)[:] = each.tensor.detach().numpy().ravel()[each.places]
        flat, *_, average = self._of_parameters
        view(memory, average)[:] = view(memory, flat)
        for weight, turned in self._turned:
            view(memory, turned)[:] = view(memory, weight).T

    def write_back(self, memory: NDArray[np.float32]) -> None:
        """The moving averages to torch, and the running statistics as they are."""
        flat, *_, average = self._of_parameters
        for each in self.kept:
            offset = 0 if each.gradient is None else average.offset - flat.offset
            made = np.empty(each.places.size, np.float32)
            made[each.places] = view(memory, replace(each.value, offset=each.value.offset + offset))
            with torch.no_grad():
                each.tensor.copy_(torch.from_numpy(made).view_as(each.tensor))
