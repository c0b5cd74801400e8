"""The scoring of a detector as a list of array operations, which ONNX Runtime, native kernels or NumPy can run.

A program needs no torch. It is a straight line of steps over named values; the value ``rows`` (n, d) comes from outside
and the value ``score`` (n,) goes out. Steps are plain data and name the arrays they use, which the program holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.scoring.forest import Forest
from harness.scoring.tokens import Transformer

ROWS, SCORE = "rows", "score"

Activation = Literal["identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "exp", "abs", "gelu"]
Operator = Literal["add", "subtract", "multiply", "divide"]
Reduction = Literal["mean", "sum", "abs_sum", "square_sum", "square_mean", "l2", "min", "max", "log_sum_exp"]

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
OPERATORS: tuple[Operator, ...] = get_args(Operator)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DenseLayer:
    """``activation(x @ weight.T + bias)`` with weight (out, in) and bias (out,); ``slope`` is leaky ReLU's.

    They are float32, or float64 for values in float64.
    """

    weight: Array
    bias: Array
    activation: Activation = "identity"
    slope: float = 0.0


@dataclass(frozen=True)
class _Unary:
    inputs: tuple[str]
    output: str


@dataclass(frozen=True)
class Dense(_Unary):
    """A layer: ``activation(x @ weight.T + bias)``; ``weight`` and ``bias`` name arrays."""

    weight: str
    bias: str
    activation: Activation = "identity"
    slope: float = 0.0  # of a leaky ReLU
    kind: Literal["dense"] = "dense"


@dataclass(frozen=True)
class Activate(_Unary):
    """An activation without a layer."""

    activation: Activation
    kind: Literal["activation"] = "activation"


@dataclass(frozen=True)
class Elementwise:
    """``a operator b``; a value of one feature is repeated over the other's."""

    inputs: tuple[str, str]
    output: str
    operator: Operator
    kind: Literal["elementwise"] = "elementwise"


@dataclass(frozen=True)
class WithConstant(_Unary):
    """``x operator constant``, an array (features,) or (1,)."""

    operator: Operator
    constant: str
    kind: Literal["constant"] = "constant"


@dataclass(frozen=True)
class Reduce(_Unary):
    """One value per row from its features; the feature axis stays, so that every value is a matrix."""

    reduction: Reduction
    kind: Literal["reduce"] = "reduce"


@dataclass(frozen=True)
class Concat:
    """Features side by side."""

    inputs: tuple[str, ...]
    output: str
    kind: Literal["concat"] = "concat"


@dataclass(frozen=True)
class Columns(_Unary):
    """Features by their numbers, an int64 array."""

    numbers: str
    kind: Literal["columns"] = "columns"


@dataclass(frozen=True)
class Convert(_Unary):
    """The value in float64, or back in the precision of the rows."""

    precision: Literal["float64", "rows"]
    kind: Literal["convert"] = "convert"


@dataclass(frozen=True)
class Trees(_Unary):
    """Sum over trees of the leaf values that the rows reach; ``arrays`` are a `Forest`'s, in order."""

    arrays: tuple[str, ...]
    kind: Literal["trees"] = "trees"


@dataclass(frozen=True)
class Neighbour(_Unary):
    """Euclidean distance of each row to its ``n_neighbors``-th nearest of the rows ``neighbours`` (m, d)."""

    neighbours: str
    n_neighbors: int
    kind: Literal["neighbour"] = "neighbour"


@dataclass(frozen=True)
class Normalise(_Unary):
    """Features of mean 0 and variance 1 within the row: ``(x - mean) / sqrt(variance + 1e-5)``."""

    kind: Literal["normalise"] = "normalise"


@dataclass(frozen=True)
class Transform(_Unary):
    """Tokens of the features through blocks of attention; ``arrays`` are a `Transformer`'s, in order."""

    arrays: tuple[str, ...]
    heads: int
    gated: bool  # the inner net is a ReGLU, not one of GELU
    plain_first: bool  # the first attention reads tokens that are not normalised
    kind: Literal["transformer"] = "transformer"


@dataclass(frozen=True)
class Convolve(_Unary):
    """Convolutions with ReLU along positions, one after the other, and the largest of every channel over them.

    A value has the channels of a position side by side. ``arrays`` are weight (outputs, taps * inputs) and bias of
    every convolution, in order; taps are odd in number, and beyond the ends there are zeros.
    """

    arrays: tuple[str, ...]
    positions: int
    channels: int
    kind: Literal["convolution"] = "convolution"


@dataclass(frozen=True)
class Cell:
    """An LSTM's cell from linear gates in the order i, f, o, g, and the cell before it unless that is 0."""

    inputs: tuple[str, ...]
    output: str
    kind: Literal["cell"] = "cell"


@dataclass(frozen=True)
class Hidden:
    """An LSTM's hidden values from linear gates in the order i, f, o, g, and the cell."""

    inputs: tuple[str, str]
    output: str
    kind: Literal["hidden"] = "hidden"


@dataclass(frozen=True)
class Lstm(_Unary):
    """A layer of an LSTM over time steps side by side, as its hidden values after each of them.

    ``arrays`` are weights of the inputs (4 h, d) and of the hidden values (4 h, h) and the bias (4 h,), of the gates in
    torch's order: input, forget, candidate, output. There are neither hidden values nor a cell before the first step.
    """

    arrays: tuple[str, ...]
    steps: int
    backwards: bool  # from the last step to the first
    kind: Literal["lstm"] = "lstm"


@dataclass(frozen=True)
class Patches(_Unary):
    """A layer over patches of pixels, ``activation(patch @ weight.T + bias)``, outputs of the patches side by side.

    ``pixels``, an int64 array (patches, taps), numbers the pixels that a patch reads, -1 for zeros; a pixel has
    ``channels`` features side by side. Convolutions and transposed ones of images are such layers.
    """

    weight: str
    bias: str
    pixels: str
    channels: int
    activation: Activation = "identity"
    slope: float = 0.0  # of a leaky ReLU
    kind: Literal["patches"] = "patches"


Step = (
    Dense | Activate | Elementwise | WithConstant | Reduce | Concat | Columns | Convert | Trees | Neighbour
    | Normalise | Transform | Convolve | Cell | Hidden | Lstm | Patches
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """Steps in order, and the arrays they name; the last writes ``score``, a matrix (n, 1) that backends flatten."""

    n_features: int
    steps: tuple[Step, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def macs_per_row(self) -> int:
        """Multiply-accumulates of dense steps, patches, transformers, convolutions and LSTMs of a row."""
        return sum(self._macs(step) for step in self.steps)

    @property
    def weights(self) -> int | None:
        """Numbers that every call reads, however many rows it scores; None with trees, of which a row meets few."""
        return None if any(isinstance(step, Trees) for step in self.steps) else sum(map(np.size, self.arrays.values()))

    def layer(self, step: Dense | Patches) -> DenseLayer:
        """The layer of a step, with its arrays."""
        return DenseLayer(self.arrays[step.weight], self.arrays[step.bias], step.activation, step.slope)

    def forest(self, step: Trees) -> Forest:
        """The trees of a step."""
        return Forest(*(self.arrays[name] for name in step.arrays))

    def convolutions(self, step: Convolve) -> list[DenseLayer]:
        """The convolutions of a step, each a layer over what it reads at a position."""
        arrays = [self.arrays[name] for name in step.arrays]
        return [DenseLayer(weight, bias, "relu") for weight, bias in zip(arrays[::2], arrays[1::2], strict=True)]

    def transformer(self, step: Transform) -> Transformer:
        """The transformer of a step."""
        tokens, columns, blocks, last = (self.arrays[name] for name in step.arrays)
        return Transformer(tokens, columns, blocks, last, step.heads, step.gated, step.plain_first)

    def recurrence(self, step: Lstm) -> tuple[DenseLayer, DenseLayer]:
        """The layers of inputs, with the bias, and of hidden values; gates in the order of `Cell`."""
        of_inputs, of_hidden, bias = (self.arrays[name] for name in step.arrays)
        order = np.arange(len(bias)).reshape(4, -1)[[0, 1, 3, 2]].ravel()
        return DenseLayer(of_inputs[order], bias[order]), DenseLayer(of_hidden[order], np.zeros_like(bias))

    def _macs(self, step: Step) -> int:
        match step:
            case Dense():
                return int(self.arrays[step.weight].size)
            case Patches():
                return len(self.arrays[step.pixels]) * int(self.arrays[step.weight].size)
            case Transform():
                return self.transformer(step).macs
            case Convolve():
                return sum(layer.weight.size for layer in self.convolutions(step)) * step.positions
            case Lstm():
                of_inputs, of_hidden = (int(self.arrays[name].size) for name in step.arrays[:2])
                return step.steps * of_inputs + (step.steps - 1) * of_hidden - of_inputs // 4  # the first forget gate
            case _:
                return 0
