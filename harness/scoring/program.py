"""The scoring of a detector as a list of array operations, which ONNX Runtime, native kernels or NumPy can run.

A program needs no torch. It is a straight line of `Step`s over named values; the value ``rows`` (n, d) comes from
outside and the value ``score`` (n,) goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.scoring.forest import Forest

ROWS, SCORE = "rows", "score"

Activation = Literal["identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "exp", "abs"]
Elementwise = Literal["add", "subtract", "multiply", "divide"]
Reduction = Literal["mean", "sum", "abs_sum", "square_sum", "square_mean", "l2", "min", "max", "log_sum_exp"]

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
ELEMENTWISE: tuple[Elementwise, ...] = get_args(Elementwise)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)

Operation = Literal[
    "dense", "activation", "elementwise", "constant", "reduce", "concat", "columns", "trees", "neighbour"
]


@dataclass(frozen=True)
class DenseLayer:
    """``activation(x @ weight.T + bias)`` with weight (out, in) and bias (out,), float32; ``slope`` is leaky ReLU's."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: Activation = "identity"
    slope: float = 0.0


@dataclass(frozen=True)
class Step:
    """One operation. ``kind`` is the activation, the elementwise operator, or the reduction over features.

    ``parameter`` is the slope of a leaky ReLU, or which neighbour's distance is wanted (1 = the nearest). ``trees`` has
    the arrays of a `harness.scoring.forest.Forest`; ``neighbour`` the reference rows (m, d).
    ``dense`` has ``arrays`` weight and bias. ``elementwise`` with one input has a second operand ``arrays[0]``
    (features,) or (1,). ``columns`` has their numbers, int64. A reduction keeps a feature axis of one, so every value
    is a matrix until the score.
    """

    operation: Operation
    kind: str
    inputs: tuple[str, ...]
    output: str
    arrays: tuple[NDArray[Any], ...] = ()
    parameter: float = 0.0


@dataclass(frozen=True)
class Program:
    """Steps in order; the last one writes ``score``, a matrix (n, 1) that the backends flatten."""

    n_features: int
    steps: tuple[Step, ...]

    @property
    def macs_per_row(self) -> int:
        """Multiply-accumulates of the dense steps for one row."""
        return sum(int(step.arrays[0].size) for step in self.steps if step.operation == "dense")


@dataclass
class Builder:
    """Writes a program step by step; every method returns the name of the value it makes."""

    n_features: int
    steps: list[Step] = field(default_factory=list)

    def dense(self, x: str, layer: DenseLayer) -> str:
        """One layer."""
        kind = layer.activation
        return self._add("dense", kind, (x,), (layer.weight, layer.bias), layer.slope)

    def chain(self, x: str, layers: Sequence[DenseLayer]) -> str:
        """Layers in order."""
        for layer in layers:
            x = self.dense(x, layer)
        return x

    def activation(self, x: str, kind: Activation) -> str:
        """An activation on its own."""
        return self._add("activation", kind, (x,))

    def elementwise(self, kind: Elementwise, a: str, b: str) -> str:
        """``a kind b``; a value of one feature is repeated over the other's."""
        return self._add("elementwise", kind, (a, b))

    def with_constant(self, kind: Elementwise, a: str, constant: NDArray[np.floating[Any]] | float) -> str:
        """``a kind constant``, the constant being of shape (features,) or a number."""
        return self._add("constant", kind, (a,), (np.atleast_1d(np.asarray(constant, dtype=np.float32)),))

    def reduce(self, kind: Reduction, x: str) -> str:
        """One value per row from its features."""
        return self._add("reduce", kind, (x,))

    def trees(self, x: str, forest: Forest) -> str:
        """The sum over trees of the leaf values that the rows ``x`` reach."""
        return self._add("trees", "", (x,), forest.arrays())

    def neighbour_distance(self, x: str, references: NDArray[np.float32], k: int) -> str:
        """Euclidean distance of each row to its ``k``-th nearest reference row."""
        return self._add("neighbour", "", (x,), (references,), float(k))

    def concat(self, *values: str) -> str:
        """Features side by side."""
        return self._add("concat", "", values)

    def columns(self, x: str, numbers: Sequence[int] | NDArray[np.int64]) -> str:
        """The features of those numbers, in that order."""
        return self._add("columns", "", (x,), (np.asarray(numbers, dtype=np.int64),))

    def finish(self, score: str) -> Program:
        """The program whose score is the value ``score`` (n, 1)."""
        last = self.steps[-1]
        assert last.output == score, "the score must be the last value made"
        self.steps[-1] = Step(last.operation, last.kind, last.inputs, SCORE, last.arrays, last.parameter)
        return Program(self.n_features, tuple(self.steps))

    def _add(
        self,
        operation: Operation,
        kind: str,
        inputs: tuple[str, ...],
        arrays: tuple[NDArray[Any], ...] = (),
        parameter: float = 0.0,
    ) -> str:
        name = f"v{len(self.steps)}"
        self.steps.append(Step(operation, kind, inputs, name, arrays, parameter))
        return name


def score_of_chain(layers: Sequence[DenseLayer]) -> Program:
    """The program of a net whose one output is the score."""
    builder = Builder(layers[0].weight.shape[1])
    return builder.finish(builder.chain(ROWS, layers))


def reconstruction_error(layers: Sequence[DenseLayer]) -> Program:
    """The program of an autoencoder: the mean over features of the squared difference to its input."""
    builder = Builder(layers[0].weight.shape[1])
    error = builder.elementwise("subtract", builder.chain(ROWS, layers), ROWS)
    return builder.finish(builder.reduce("square_mean", error))


Array = NDArray[np.floating[Any]]
Dense = Callable[[Array, Step], Array]


def evaluate(program: Program, X: Array, dense: Dense | None = None) -> Array:
    """Run ``program`` over ``X`` (n, d) with NumPy, in the precision of ``X``; shape (n,).

    Args:
        program: what to run.
        X: rows; float64 rows make this the check of every float32 backend.
        dense: runs a dense step instead of NumPy's matrix product.
    """
    values: dict[str, Array] = {ROWS: X}
    for step in program.steps:
        operands = [values[name] for name in step.inputs]
        match step.operation:
            case "dense":
                values[step.output] = (dense or dense_layer)(operands[0], step)
            case "activation":
                values[step.output] = activate(operands[0], step.kind, step.parameter)
            case "elementwise":
                values[step.output] = _OPERATORS[step.kind](operands[0], operands[1])
            case "constant":
                values[step.output] = _OPERATORS[step.kind](operands[0], step.arrays[0].astype(X.dtype))
            case "reduce":
                values[step.output] = _REDUCERS[step.kind](operands[0])[:, None]
            case "concat":
                values[step.output] = np.concatenate(operands, axis=1)
            case "columns":
                values[step.output] = operands[0][:, step.arrays[0]]
            case "trees":
                values[step.output] = Forest(*step.arrays).sums(operands[0])[:, None].astype(X.dtype)
            case "neighbour":
                values[step.output] = kth_distance(operands[0], step.arrays[0], int(step.parameter))[:, None]
    score: Array = values[SCORE][:, 0]
    return score


def activate(x: Array, kind: str, slope: float) -> Array:
    """The activation ``kind`` of ``x``."""
    match kind:
        case "relu":
            return np.maximum(x, 0)
        case "leaky_relu":
            return np.maximum(x, 0) + x.dtype.type(slope) * np.minimum(x, 0)
        case "tanh":
            return np.tanh(x)
        case "sigmoid":
            half: Array = np.tanh(0.5 * x)
            return 0.5 * (1 + half)
        case "softplus":
            return np.logaddexp(x, 0)
        case "exp":
            return np.exp(x)
        case "abs":
            return np.abs(x)
        case _:
            return x


def kth_distance(x: Array, references: Array, k: int, rows: int = 256) -> Array:
    """Euclidean distance of each row of ``x`` (n, d) to its ``k``-th nearest of ``references`` (m, d); shape (n,).

    Computed in float64: the expanded square loses the digits of a small distance in float32.
    """
    wide = references.astype(np.float64)
    norms = np.square(wide).sum(axis=1)
    out = np.empty(len(x), dtype=x.dtype)
    for start in range(0, len(x), rows):
        part = x[start : start + rows].astype(np.float64)
        squares = norms - 2.0 * (part @ wide.T) + np.square(part).sum(axis=1)[:, None]
        nearest = np.partition(squares, k - 1, axis=1)[:, k - 1]
        out[start : start + rows] = np.sqrt(np.maximum(nearest, 0.0))
    return out


def dense_layer(x: Array, step: Step) -> Array:
    """One dense step on ``x`` (n, inputs), by NumPy; shape (n, outputs)."""
    weight, bias = (array.astype(x.dtype, copy=False) for array in step.arrays)
    return activate(x @ weight.T + bias, step.kind, step.parameter)


def _log_sum_exp(x: Array) -> Array:
    top = x.max(axis=1)
    found: Array = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
    return found


_OPERATORS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
}
_REDUCERS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda x: x.mean(axis=1),
    "sum": lambda x: x.sum(axis=1),
    "abs_sum": lambda x: np.abs(x).sum(axis=1),
    "square_sum": lambda x: np.square(x).sum(axis=1),
    "square_mean": lambda x: np.square(x).mean(axis=1),
    "l2": lambda x: np.sqrt(np.square(x).sum(axis=1)),
    "min": lambda x: x.min(axis=1),
    "max": lambda x: x.max(axis=1),
    "log_sum_exp": _log_sum_exp,
}
