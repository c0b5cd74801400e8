"""The windows that streams of rows have open in LSTM layers, advanced natively by a row at a time.

A stream has ``steps`` windows open, each begun a row later than the one before. A row advances all of them, by one
product over what they hold, and completes the oldest, whose score it is; no row is multiplied by the weights of the
inputs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.linalg import native
from harness.scoring.program import ROWS, SCORE, Columns, Dense, Lstm, Program

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Of a layer, what `harness.scoring.program.Lstm` names."""


class OpenWindows:
    """The states of streams, which have a number each.

    Attributes:
        floats_per_stream: of what a stream has open.
        reserve: have states for at least so many streams; memory is taken when a stream begins.
        restart: forget what the stream of this number had open.
        score: take rows (n, d) of the streams with these numbers (n,), in order. The score of the window that each
            row completes; NaN until its stream has had ``steps`` rows.

    Args:
        layers: in order.
        weight: of the score, (units,).
        bias: of the score.
        steps: of a window.

    Raises:
        InputError: the native kernels are not built.
    """

    def __init__(self, layers: Sequence[Arrays], weight: NDArray[np.float32], bias: float, steps: int) -> None:
        chosen, kernels = native.select(), native.extension
        assert kernels is not None
        self.steps = steps
        stream = kernels.Stream(chosen.index, steps, list(layers), weight, bias)
        self.floats_per_stream: int = stream.state()
        self.reserve: Callable[[int], None] = stream.reserve
        self.restart: Callable[[int], None] = stream.restart
        self.score: Callable[[list[int] | NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]] = stream.score

    @classmethod
    def of(cls, program: Program) -> OpenWindows | None:
        """Those of a program of LSTM layers and one output of their last step; None for any other."""
        made, last = {step.output: step for step in program.steps}, program.steps[-1]
        if not isinstance(last, Dense) or (last.output, last.activation) != (SCORE, "identity"):
            return None
        value, chosen = last.inputs[0], made.get(last.inputs[0])
        if isinstance(chosen, Columns):
            value = chosen.inputs[0]
        layers: list[Lstm] = []
        while isinstance(layer := made.get(value), Lstm) and not layer.backwards:
            layers.insert(0, layer)
            value = layer.inputs[0]
        if value != ROWS or len({layer.steps for layer in layers}) != 1:
            return None
        arrays = [_arrays(program, layer) for layer in layers]
        steps, units = layers[0].steps, arrays[-1][1].shape[1]
        ends = np.arange((steps - 1) * units, steps * units)
        if isinstance(chosen, Columns) and not np.array_equal(program.arrays[chosen.numbers], ends):
            return None
        return cls(arrays, _array(program, last.weight)[0], float(program.arrays[last.bias][0]), steps)


def _arrays(program: Program, layer: Lstm) -> Arrays:
    of_inputs, of_hidden, bias = (_array(program, name) for name in layer.arrays)
    return of_inputs, of_hidden, bias


def _array(program: Program, name: str) -> NDArray[np.float32]:
    return np.require(program.arrays[name], np.float32, ["C", "A"])
