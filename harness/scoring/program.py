"""The scoring of a detector as a list of array operations, which ONNX Runtime, native kernels or NumPy can run.

A program needs no torch. It is a straight line of steps over named values; the value ``rows`` (n, d) comes from outside
and the value ``score`` (n,) goes out. Steps are plain data and name the arrays they use, which the program holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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


Step = (
    Dense | Activate | Elementwise | WithConstant | Reduce | Concat | Columns | Convert | Trees | Neighbour
    | Normalise | Transform | Convolve | Cell | Hidden | Lstm
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """Steps in order, and the arrays they name; the last writes ``score``, a matrix (n, 1) that backends flatten."""

    n_features: int
    steps: tuple[Step, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def macs_per_row(self) -> int:
        """Multiply-accumulates of dense steps, transformers, convolutions and LSTMs for one row."""
        return sum(self._macs(step) for step in self.steps)

    @property
    def weights(self) -> int | None:
        """Numbers that every call reads, however many rows it scores; None with trees, of which a row meets few."""
        return None if any(isinstance(step, Trees) for step in self.steps) else sum(map(np.size, self.arrays.values()))

    def layer(self, step: Dense) -> DenseLayer:
        """The layer of a dense step, with its arrays."""
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
            case Transform():
                return self.transformer(step).macs
            case Convolve():
                return sum(layer.weight.size for layer in self.convolutions(step)) * step.positions
            case Lstm():
                of_inputs, of_hidden = (int(self.arrays[name].size) for name in step.arrays[:2])
                return step.steps * of_inputs + (step.steps - 1) * of_hidden - of_inputs // 4  # the first forget gate
            case _:
                return 0


@dataclass
class Builder:
    """Writes a program step by step; every method returns the name of the value it makes."""

    n_features: int
    steps: list[Step] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    _wide: set[str] = field(default_factory=set)  # values in float64
    _held: dict[tuple[object, ...], str] = field(default_factory=dict)  # names of arrays by their content

    def dense(self, x: str, layer: DenseLayer) -> str:
        """One layer."""
        weight, bias = (self._hold(array.astype(self._type(x), copy=False)) for array in (layer.weight, layer.bias))
        return self._add(Dense((x,), self._next(), weight, bias, layer.activation, layer.slope))

    def chain(self, x: str, layers: Sequence[DenseLayer]) -> str:
        """Layers in order."""
        for layer in layers:
            x = self.dense(x, layer)
        return x

    def activation(self, x: str, activation: Activation) -> str:
        """An activation on its own."""
        return self._add(Activate((x,), self._next(), activation))

    def elementwise(self, operator: Operator, a: str, b: str) -> str:
        """``a operator b``; a value of one feature is repeated over the other's."""
        return self._add(Elementwise((a, b), self._next(), operator))

    def with_constant(self, operator: Operator, a: str, constant: NDArray[np.floating[Any]] | float) -> str:
        """``a operator constant``, the constant being of shape (features,) or a number."""
        held = self._hold(np.atleast_1d(np.asarray(constant, dtype=self._type(a))))
        return self._add(WithConstant((a,), self._next(), operator, held))

    def reduce(self, reduction: Reduction, x: str) -> str:
        """One value per row from its features."""
        return self._add(Reduce((x,), self._next(), reduction))

    def trees(self, x: str, forest: Forest) -> str:
        """The sum over trees of the leaf values that the rows ``x`` reach."""
        return self._add(Trees((x,), self._next(), tuple(self._hold(array) for array in forest.arrays())))

    def neighbour_distance(self, x: str, neighbours: NDArray[np.float32], n_neighbors: int) -> str:
        """Euclidean distance of each row to its ``n_neighbors``-th nearest of ``neighbours`` (m, d)."""
        return self._add(Neighbour((x,), self._next(), self._hold(neighbours), n_neighbors))

    def normalise(self, x: str) -> str:
        """Features of mean 0 and variance 1 within the row."""
        return self._add(Normalise((x,), self._next()))

    def transform(self, x: str, net: Transformer) -> str:
        """What the last attention of ``net`` takes in: the first token, and then a mean of tokens for every head."""
        arrays = tuple(self._hold(array) for array in net.arrays())
        return self._add(Transform((x,), self._next(), arrays, net.heads, net.gated, net.plain_first))

    def convolve(
        self, x: str, positions: int, layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    ) -> str:
        """The largest values over ``positions`` of the last of several convolutions: weight (outputs, inputs, taps) and
        bias (outputs,) of each.
        """
        arrays = []
        for weight, bias in layers:
            arrays += [weight.transpose(0, 2, 1).reshape(len(weight), -1), bias]
        held, channels = tuple(self._hold(array) for array in arrays), layers[0][0].shape[1]
        return self._add(Convolve((x,), self._next(), held, positions, channels))

    def lstm(self, x: str, steps: int, gates: tuple[NDArray[np.float32], ...], *, backwards: bool = False) -> str:
        """The hidden values of a layer of an LSTM after each of ``steps``: `Lstm` of these arrays."""
        return self._add(Lstm((x,), self._next(), tuple(self._hold(array) for array in gates), steps, backwards))

    def recur(self, gates: str, before: str | None = None) -> tuple[str, str]:
        """An LSTM's cell and hidden values from linear gates in the order i, f, o, g, and the cell before."""
        cell = self._add(Cell((gates,) if before is None else (gates, before), self._next()))
        return cell, self._add(Hidden((gates, cell), self._next()))

    def concat(self, *values: str) -> str:
        """Features side by side."""
        return self._add(Concat(values, self._next()))

    def columns(self, x: str, numbers: Sequence[int] | NDArray[np.int64]) -> str:
        """The features of those numbers, in that order."""
        return self._add(Columns((x,), self._next(), self._hold(np.asarray(numbers, dtype=np.int64))))

    def convert(self, x: str, precision: Literal["float64", "rows"]) -> str:
        """The value in float64, for what later steps would magnify the rounding errors of, or back."""
        return self._add(Convert((x,), self._next(), precision))

    def copy(self, step: Step, inputs: Sequence[str]) -> str:
        """A step of another program, whose arrays are held, over these values."""
        wiring: dict[str, Any] = {"inputs": tuple(inputs), "output": self._next()}
        return self._add(replace(step, **wiring))

    def finish(self, score: str) -> Program:
        """The program whose score is the value ``score`` (n, 1)."""
        assert self.steps[-1].output == score, "the score must be the last value made"
        return Program(self.n_features, (*self.steps[:-1], replace(self.steps[-1], output=SCORE)), self.arrays)

    def _type(self, x: str) -> type[np.float32] | type[np.float64]:
        """What constants and weights of a step on the value ``x`` are."""
        return np.float64 if x in self._wide else np.float32

    def _hold(self, array: NDArray[Any]) -> str:
        """The name of the array, or of an equal one that is held."""
        array = np.ascontiguousarray(array)
        content = array.dtype.str, array.shape, hashlib.blake2b(array.tobytes()).digest()
        name = self._held.setdefault(content, f"a{len(self.arrays)}")
        self.arrays.setdefault(name, array)
        return name

    def _next(self) -> str:
        return f"v{len(self.steps)}"

    def _add(self, step: Step) -> str:
        self.steps.append(step)
        wide = step.precision == "float64" if isinstance(step, Convert) else step.inputs[0] in self._wide
        if wide:
            self._wide.add(step.output)
        return step.output


def score_of_chain(layers: Sequence[DenseLayer]) -> Program:
    """The program of a net whose one output is the score."""
    builder = Builder(layers[0].weight.shape[1])
    return builder.finish(builder.chain(ROWS, layers))


def reconstruction_error(layers: Sequence[DenseLayer]) -> Program:
    """The program of an autoencoder: the mean over features of the squared difference to its input."""
    builder = Builder(layers[0].weight.shape[1])
    error = builder.elementwise("subtract", builder.chain(ROWS, layers), ROWS)
    return builder.finish(builder.reduce("square_mean", error))
