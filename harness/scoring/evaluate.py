"""A scoring program run by NumPy, in the precision of the rows; in float64 it is the check of every other backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add, mul, sub, truediv
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.scoring.program import (
    ROWS,
    SCORE,
    Activate,
    Activation,
    Cell,
    Columns,
    Concat,
    Convert,
    Convolve,
    Dense,
    DenseLayer,
    Elementwise,
    Hidden,
    Lstm,
    Neighbour,
    Normalise,
    Operator,
    Patches,
    Program,
    Reduce,
    Reduction,
    Step,
    Transform,
    Trees,
    WithConstant,
)  # fmt: skip
from harness.scoring.tokens import gelu, normalised

Array = NDArray[np.floating[Any]]
T = TypeVar("T")


def evaluate(program: Program, X: Array) -> Array:
    """Run ``program`` over ``X`` (n, d) with NumPy, in the precision of ``X``; shape (n,).

    Args:
        program: what to run.
        X: rows; float64 rows make this the check of every float32 backend.
    """
    values: dict[str, Array] = {ROWS: X}
    for step in program.steps:
        operands = [values[name] for name in step.inputs]
        values[step.output] = _value(program, step, operands, X.dtype)
    score: Array = values[SCORE][:, 0]
    return score


def _value(program: Program, step: Step, operands: Sequence[Array], dtype: np.dtype[Any]) -> Array:
    """What ``step`` makes of its inputs; ``dtype`` is that of the rows."""
    x = operands[0]
    match step:
        case Dense():
            return dense_layer(x, program.layer(step))
        case Activate():
            return activate(x, step.activation, 0.0)
        case Elementwise():
            return combine(step.operator, x, operands[1])
        case WithConstant():
            return combine(step.operator, x, program.arrays[step.constant].astype(x.dtype))
        case Reduce():
            return _REDUCERS[step.reduction](x)[:, None]
        case Concat():
            return np.concatenate(operands, axis=1)
        case Columns():
            return x[:, program.arrays[step.numbers]]
        case Convert():
            return x.astype(np.float64 if step.precision == "float64" else dtype)
        case Trees():
            return program.forest(step).sums(x)[:, None].astype(x.dtype)
        case Neighbour():
            return kth_distance(x, program.arrays[step.neighbours], step.n_neighbors)[:, None]
        case Normalise():
            return normalised(x)
        case Transform():
            return program.transformer(step).run(x)
        case Convolve():
            for layer in program.convolutions(step):
                x = dense_layer(neighbourhoods(x, step.positions, layer.weight.shape[1]), layer)
                x = x.reshape(len(operands[0]), step.positions * x.shape[1])
            largest: Array = x.reshape(len(x), step.positions, x.shape[1] // step.positions).max(axis=1)
            return largest
        case Patches():
            layer, pixels = program.layer(step), program.arrays[step.pixels]
            made = dense_layer(patches_of(x, pixels, step.channels), layer)
            return made.reshape(len(x), len(pixels) * len(layer.bias))
        case Cell():
            return next_cell(x, *operands[1:])
        case Hidden():
            return hidden_values(x, operands[1])
        case Lstm():
            return lstm_layer(x, *program.recurrence(step), step.steps, backwards=step.backwards)


def neighbourhoods(x: Array, positions: int, size: int) -> Array:
    """The ``size`` numbers that a convolution reads at each position of ``x`` (n, positions * channels)."""
    channels = x.shape[1] // positions
    half = size // channels // 2 * channels
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (half, half))), size, axis=1)
    return windows[:, ::channels].reshape(-1, size)


def patches_of(x: Array, pixels: NDArray[np.int64], channels: int) -> Array:
    """What all patches read of ``x`` (n, pixels * channels), by ``pixels`` (patches, taps): (n * patches, -1)."""
    split = x.reshape(len(x), x.shape[1] // channels, channels)
    with_zeros = np.concatenate([split, np.zeros((len(x), 1, channels), x.dtype)], axis=1)  # which -1 is the number of
    read: Array = with_zeros[:, pixels].reshape(len(x) * len(pixels), pixels.shape[1] * channels)
    return read


def combine(operator: Operator, a: T, b: T) -> T:
    """``a operator b``, of two arrays or two tensors."""
    function: Callable[[T, T], T] = {"add": add, "subtract": sub, "multiply": mul, "divide": truediv}[operator]
    return function(a, b)


def activate(x: Array, activation: Activation, slope: float) -> Array:
    """The activation of ``x``."""
    match activation:
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
        case "gelu":
            return gelu(x)
        case "identity":
            return x


def kth_distance(x: Array, neighbours: Array, k: int, rows: int = 256) -> Array:
    """Euclidean distance of each row of ``x`` (n, d) to its ``k``-th nearest of ``neighbours`` (m, d); shape (n,).

    Computed in float64: the expanded square loses the digits of a small distance in float32.
    """
    wide = neighbours.astype(np.float64)
    norms = np.square(wide).sum(axis=1)
    out = np.empty(len(x), dtype=x.dtype)
    for start in range(0, len(x), rows):
        part = x[start : start + rows].astype(np.float64)
        squares = norms - 2.0 * (part @ wide.T) + np.square(part).sum(axis=1)[:, None]
        nearest = np.partition(squares, k - 1, axis=1)[:, k - 1]
        out[start : start + rows] = np.sqrt(np.maximum(nearest, 0.0))
    return out


def next_cell(gates: Array, before: Array | None = None) -> Array:
    """An LSTM's cell (n, h) from linear gates (n, 4 h) in the order i, f, o, g, and the cell before it."""
    let_in, forget, _, candidate = np.split(gates, 4, axis=1)
    added: Array = activate(let_in, "sigmoid", 0.0) * np.tanh(candidate)
    return added if before is None else activate(forget, "sigmoid", 0.0) * before + added


def hidden_values(gates: Array, cell: Array) -> Array:
    """An LSTM's hidden values (n, h)."""
    return np.asarray(activate(np.split(gates, 4, axis=1)[2], "sigmoid", 0.0) * np.tanh(cell))


def lstm_layer(x: Array, of_inputs: DenseLayer, of_hidden: DenseLayer, steps: int, *, backwards: bool) -> Array:
    """Hidden values (n, steps * h) of an LSTM's layer over ``x`` (n, steps * d), gates in the order i, f, o, g."""
    parts, made = np.split(x, steps, axis=1), [x] * steps
    hidden, cell = None, None
    for at in range(steps)[:: -1 if backwards else 1]:
        gates = dense_layer(parts[at], of_inputs)
        if hidden is not None:
            gates = gates + dense_layer(hidden, of_hidden)
        cell = next_cell(gates, *(() if cell is None else (cell,)))
        made[at] = hidden = hidden_values(gates, cell)
    return np.concatenate(made, axis=1)


def dense_layer(x: Array, layer: DenseLayer) -> Array:
    """One layer on ``x`` (n, inputs), by NumPy; shape (n, outputs)."""
    weight, bias = (array.astype(x.dtype, copy=False) for array in (layer.weight, layer.bias))
    return activate(x @ weight.T + bias, layer.activation, layer.slope)


def _log_sum_exp(x: Array) -> Array:
    top = x.max(axis=1)
    return np.asarray(top + np.log(np.exp(x - top[:, None]).sum(axis=1)))


_REDUCERS: dict[Reduction, Callable[[Array], Array]] = {
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
