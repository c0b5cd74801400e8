"""Nets of dense layers on a tape: their parameters in one block, the way forward, and the way back written out.

The operations are those of `harness.training.fused_chain`, in the same order. Imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.training.adam import EPS
from harness.training.nets import activation_of
from harness.training.tape import ADDED, TURNED, Value, Writer, view, word_of

Parts = Sequence[Value]
"""Columns of an input that lie apart; the weights are those of all of them, one behind the other."""


@dataclass(frozen=True)
class Parameter:
    """A parameter's value and its gradient, and the names of what they are of."""

    name: str
    value: Value
    gradient: Value


@dataclass(frozen=True)
class Norm:
    """Batch normalisation: weight, bias, running mean and variance; momentum and epsilon."""

    weight: Parameter
    bias: Parameter
    name: str
    running: tuple[Value, Value]
    reals: tuple[float, float]

    def values(self, writer: Writer) -> int:
        """The eight values that a pass takes, whose numbers follow each other; that of the first."""
        columns = self.weight.value.columns
        first = writer.at(self.running[0].offset, 1, columns).number
        writer.at(self.running[1].offset, 1, columns)
        for _ in range(4):
            writer.value(1, columns)
        for parameter in (self.weight, self.bias):
            writer.at(parameter.gradient.offset, 1, columns)
        return first


@dataclass
class Layer:
    """A linear layer with what follows it."""

    weight: Parameter
    bias: Parameter
    norm: Norm | None = None
    activation: str = "identity"
    slope: float = 0.0
    dropout: float | None = None
    turned: Value | None = None  # the weights transposed, where the gradient of the input is wanted

    @property
    def single(self) -> bool:
        """Whether it has one output: weights and outputs are then rows."""
        return self.weight.value.rows == 1 and self.bias.value.columns == 1

    @property
    def inputs(self) -> int:
        """Features that it takes."""
        return self.weight.value.columns if self.single else self.weight.value.rows


@dataclass(frozen=True)
class Passed:
    """What the way forward leaves of a layer.

    Attributes:
        blocks: its inputs, blocks of rows.
        plain: what was normalised, or the output.
        output: of the layer.
        norm: number of the first value of the normalisation.
        mask: where its bits are.
    """

    blocks: Sequence[Parts]
    plain: Value
    output: Value
    norm: int = 0
    mask: int = 0


class Side:
    """Nets that one optimiser trains.

    Args:
        writer: of the tape.
        modules: by path, of linear layers, activations, batch normalisation and dropout.
        learning_rate: Adam's.
        betas: Adam's.
        ema_decay: of the moving averages of the parameters; 0 for the parameters themselves.
        logits: whether a layer with one output makes a row of logits, not a column.
    """

    def __init__(
        self,
        writer: Writer,
        modules: Mapping[str, nn.Sequential],
        learning_rate: float,
        betas: tuple[float, float],
        ema_decay: float,
        *,
        logits: bool = True,
    ) -> None:
        self.writer, self.modules, self._logits = writer, modules, logits
        self._reals = (learning_rate, *betas, EPS)
        self._decay = ema_decay
        count = sum(self._room(tensor.shape) for module in modules.values() for tensor in module.parameters())
        self._flat, self._gradient, self._mean, self._square = (writer.value(1, count) for _ in range(4))
        self._average = writer.value(1, count) if ema_decay else self._flat
        self._taken = 0
        self._parameters: list[Parameter] = []
        self._norms: list[Norm] = []
        self.nets = {path: self._net(path, module) for path, module in modules.items()}
        self.fresh: set[int] = set()  # gradients that the step has not written yet

    def begin(self) -> None:
        """Before the gradients of a step."""
        self.fresh = {parameter.gradient.number for parameter in self._parameters}
        for norm in self._norms:
            for parameter in (norm.weight, norm.bias):
                self.writer.operation("clear", (None, None, parameter.gradient))

    def step(self) -> None:
        """One of Adam and of the moving average."""
        write = self.writer.operation
        write("adam", (self._flat, self._gradient, self._mean, self._square), reals=self._reals)
        if self._average is not self._flat:
            write("follow", (self._flat, None, self._average), reals=(1.0 - self._decay,))
        for layer in self._turned():
            write("turn", (layer.weight.value, None, layer.turned))

    def load(self, memory: NDArray[np.float32]) -> None:
        """The modules' numbers into the memory."""
        for tensor, parameter in self._tensors():
            source = tensor.detach().numpy()
            view(memory, parameter.value)[:] = source.T if self._is_turned(tensor.shape) else source
        for norm in self._norms:
            module = self._module(norm.name)
            for value, buffer in zip(norm.running, module.buffers(), strict=False):
                view(memory, value)[:] = buffer.numpy()
        view(memory, self._average)[:] = view(memory, self._flat)
        for layer in self._turned():
            assert layer.turned is not None
            view(memory, layer.turned)[:] = view(memory, layer.weight.value).T

    def write_back(self, memory: NDArray[np.float32]) -> None:
        """The moving averages into the modules, and the statistics of their normalisations as they are."""
        averages = view(memory, self._average)[0]
        with torch.no_grad():
            for tensor, parameter in self._tensors():
                at = parameter.value.offset - self._flat.offset
                rows = averages[at : at + parameter.value.rows * parameter.value.ld].reshape(parameter.value.rows, -1)
                averaged = torch.from_numpy(rows[:, : parameter.value.columns].copy())
                tensor.copy_(averaged.t() if self._is_turned(tensor.shape) else averaged.view_as(tensor))
            for norm in self._norms:
                statistics = self._module(norm.name).buffers()  # mean and variance, and a count of batches
                for value, buffer in zip(norm.running, statistics, strict=False):
                    buffer.copy_(torch.from_numpy(view(memory, value)[0].copy()))
        for part in self.modules.values():
            part.eval()

    def _module(self, name: str) -> nn.BatchNorm1d:
        path, index = name.rsplit("/", 1)
        module = self.modules[path][int(index)]
        assert isinstance(module, nn.BatchNorm1d)
        return module

    def _tensors(self) -> list[tuple[torch.Tensor, Parameter]]:
        tensors = {
            f"{path}/{name}": tensor
            for path, module in self.modules.items()
            for name, tensor in module.named_parameters()
        }
        return [(tensors[each.name], each) for each in self._parameters]

    def _turned(self) -> list[Layer]:
        return [layer for net in self.nets.values() for layer in net.layers if layer.turned is not None]

    def _parameter(self, name: str, rows: int, columns: int) -> Parameter:
        offset = self._taken
        value, gradient = (
            self.writer.at(whole.offset + offset, rows, columns) for whole in (self._flat, self._gradient)
        )
        self._taken += value.rows * value.ld
        made = Parameter(name, value, gradient)
        self._parameters.append(made)
        return made

    def _net(self, path: str, module: nn.Sequential) -> TapeNet:
        layers: list[Layer] = []
        for index, part in enumerate(module):
            name = f"{path}/{index}"
            match part:
                case nn.Linear():
                    single = self._logits and part.out_features == 1
                    shape = (1, part.in_features) if single else (part.in_features, part.out_features)
                    weight = self._parameter(f"{name}.weight", *shape)
                    layers.append(Layer(weight, self._parameter(f"{name}.bias", 1, part.out_features)))
                    if not single:
                        layers[-1].turned = self.writer.value(part.out_features, part.in_features)
                case nn.BatchNorm1d():
                    layers[-1].norm = self._norm(name, part)
                case nn.Dropout():
                    layers[-1].dropout = part.p
                case _:
                    layers[-1].activation, layers[-1].slope = activation_of(part)
        return TapeNet(self, layers)

    def _is_turned(self, shape: Sequence[int]) -> bool:
        """Weights (outputs, inputs) lie as (inputs, outputs), but for logits."""
        return len(shape) == 2 and not (self._logits and shape[0] == 1)

    def _room(self, shape: Sequence[int]) -> int:
        """Floats of a parameter with its padding."""
        rows, columns = (shape[1], shape[0]) if self._is_turned(shape) else (1, shape[-1])
        return rows * (-(-columns // 16) * 16)

    def _norm(self, name: str, part: nn.BatchNorm1d) -> Norm:
        columns = part.num_features
        weight, bias = (self._parameter(f"{name}.{each}", 1, columns) for each in ("weight", "bias"))
        running = self.writer.value(1, columns), self.writer.value(1, columns)
        made = Norm(weight, bias, name, running, (part.momentum or 0.0, part.eps))
        self._norms.append(made)
        return made


@dataclass(frozen=True)
class TapeNet:
    """A net of a side."""

    side: Side
    layers: list[Layer] = field(default_factory=list)

    def forward(self, blocks: Sequence[Parts], out: Value | None = None) -> tuple[Value, list[Passed]]:
        """The output for rows that lie in ``blocks``, into ``out`` if given, and what `backward` needs."""
        writer, saved = self.side.writer, []
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            rows = sum(block[0].rows for block in blocks)
            columns = layer.bias.value.columns
            to = out if index == last and out is not None else None
            if layer.single:
                assert len(blocks) == 1
                (whole,) = blocks[0]
                output = plain = to or writer.value(1, rows, spare=16)
                writer.operation("dots", (whole, layer.weight.value, output, layer.bias.value))
                saved.append(Passed(blocks, plain, output))
            else:
                output = to or writer.value(rows, columns)
                plain = output if layer.norm is None else writer.like(output)
                self._product(layer, blocks, plain)
                saved.append(self._finish(layer, Passed(blocks, plain, output)))
            blocks = [[output]]
        return output, saved

    def backward(
        self,
        saved: Sequence[Passed],
        g: Value,
        *,
        learn: bool = True,
        rows: tuple[int, int] | None = None,
        wanted: Mapping[tuple[int, int], tuple[Value, bool]] | None = None,
    ) -> None:
        """Send the gradient ``g`` of the output back, whose memory is taken.

        Args:
            saved: of `forward`.
            g: of ``rows``, all by default.
            learn: add the gradients of the parameters.
            rows: start and stop, within one block if the input's gradient is ``wanted``.
            wanted: by block and part of the input, where its gradient goes, and whether it is added there.
        """
        writer = self.side.writer
        for index in range(len(self.layers) - 1, -1, -1):
            layer, passed = self.layers[index], saved[index]
            if not layer.single:
                self._unfinish(layer, passed, g, rows, learn)
            if learn:
                self._learn(layer, passed, g, rows)
            if index:
                below = writer.value(g.columns if layer.single else g.rows, layer.inputs)
                self._input(layer, g, (0, layer.inputs), below, False)
                g = below
            for (block, part), (to, added) in (wanted or {}).items() if not index else ():
                start = sum(each.columns for each in passed.blocks[block][:part])
                of_block = self._of_block(passed, g, block, rows)
                self._input(layer, of_block, (start, start + to.columns), to, added)

    def _product(self, layer: Layer, blocks: Sequence[Parts], plain: Value) -> None:
        writer, weight = self.side.writer, layer.weight.value
        word = 0 if layer.norm is not None else word_of(layer.activation)
        start = 0
        for block in blocks:
            stop = start + block[0].rows
            of_block = plain if len(blocks) == 1 else writer.rows_of(plain, start, stop)
            ends = np.cumsum([0, *(part.columns for part in block)]).tolist()
            for at, (part, (first, behind)) in enumerate(zip(block, pairwise(ends), strict=True)):
                final = at == len(block) - 1
                of_part = weight if len(block) == 1 else writer.rows_of(weight, first, behind)
                writer.operation(
                    "product", (part, of_part, of_block, layer.bias.value if final else None),
                    word=word if final else 0, number=ADDED if at else 0, reals=(layer.slope,),
                )  # fmt: skip
            start = stop

    def _finish(self, layer: Layer, passed: Passed) -> Passed:
        writer, norm, output = self.side.writer, layer.norm, passed.output
        if norm is not None:
            passed = replace(passed, norm=norm.values(writer))
            writer.operation(
                "norm", (passed.plain, norm.weight.value, output, norm.bias.value), number=passed.norm, reals=norm.reals
            )
            writer.operation("activate", (None, None, output), word=word_of(layer.activation), reals=(layer.slope,))
        if layer.dropout is None:
            return passed
        mask = writer.mask(output.rows, output.columns)
        writer.operation("drop", (None, None, output), number=mask, reals=(layer.dropout,))
        return replace(passed, mask=mask)

    def _unfinish(self, layer: Layer, passed: Passed, g: Value, rows: tuple[int, int] | None, learn: bool) -> None:
        writer = self.side.writer
        output = passed.output if rows is None else writer.rows_of(passed.output, *rows)
        first = 0 if rows is None else rows[0]
        if layer.dropout is not None:
            mask = passed.mask + first * passed.output.columns
            writer.operation("drop", (None, None, g), number=mask, reals=(layer.dropout,))
        if layer.activation != "identity":
            writer.operation("gate", (output, None, g), word=word_of(layer.activation), reals=(layer.slope,))
        if layer.norm is not None:
            assert rows is None, "normalisation is over all rows"
            norm = layer.norm
            writer.operation(
                "norm_gradient", (passed.plain, norm.weight.value, g, norm.bias.value), word=int(learn),
                number=passed.norm, reals=norm.reals,
            )  # fmt: skip

    def _learn(self, layer: Layer, passed: Passed, g: Value, rows: tuple[int, int] | None) -> None:
        assert rows is None, "parameters learn from all rows"
        writer = self.side.writer
        writer.operation("sums", (g, None, layer.bias.gradient), number=self._addition(layer.bias))
        if layer.single:
            (whole,) = passed.blocks[0]
            writer.operation("product", (g, whole, layer.weight.gradient), number=self._addition(layer.weight))
            return
        addition = self._addition(layer.weight)
        start = 0
        for block in passed.blocks:
            stop = start + block[0].rows
            of_block = g if len(passed.blocks) == 1 else writer.rows_of(g, start, stop)
            ends = np.cumsum([0, *(part.columns for part in block)]).tolist()
            for part, (first, behind) in zip(block, pairwise(ends), strict=True):
                gradient = layer.weight.gradient
                to = gradient if len(block) == 1 else writer.rows_of(gradient, first, behind)
                writer.operation("product", (part, of_block, to), number=TURNED | addition)
            start, addition = stop, ADDED

    def _addition(self, parameter: Parameter) -> int:
        """The bit that adds to its gradient, unless the step has not written it yet."""
        number = parameter.gradient.number
        addition = 0 if number in self.side.fresh else ADDED
        self.side.fresh.discard(number)
        return addition

    def _of_block(self, passed: Passed, g: Value, block: int, rows: tuple[int, int] | None) -> Value:
        """The rows of a gradient that are of a block."""
        if len(passed.blocks) == 1 or rows is not None:
            return g
        start = sum(each[0].rows for each in passed.blocks[:block])
        return self.side.writer.rows_of(g, start, start + passed.blocks[block][0].rows)

    def _input(self, layer: Layer, g: Value, columns: tuple[int, int], to: Value, added: bool) -> None:
        writer, number = self.side.writer, ADDED if added else 0
        weights = layer.weight.value if layer.single else layer.turned
        assert weights is not None
        if columns != (0, weights.columns):
            weights = writer.columns_of(weights, *columns)
        writer.operation("product", (g, weights, to), number=number | (TURNED if layer.single else 0))
