"""Nets over steps or positions as scoring programs: recurrence, attention and convolution written out.

The same dense layer at every step or position is one array of the program. ONNX Runtime keeps its own operators for
these nets; the program is what the native kernels compile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.scoring.program import ROWS, Builder, DenseLayer

Matrix = NDArray[np.float32]


def steps_of(window: int, features: int) -> tuple[Builder, list[str]]:
    """A builder of rows of ``window`` steps side by side, and the value of each step."""
    builder = Builder(window * features)
    if window == 1:
        return builder, [ROWS]
    return builder, [builder.columns(ROWS, range(at * features, (at + 1) * features)) for at in range(window)]


def lstm(builder: Builder, steps: Sequence[str], gates: tuple[Matrix, Matrix, NDArray[np.float32]]) -> list[str]:
    """The hidden values of a layer after each of ``steps``, values in the order in which they are read.

    Args:
        builder: of the program.
        steps: what the layer reads.
        gates: weights of inputs (4 h, d), of hidden values (4 h, h) and the sum of the biases (4 h,), gates in torch's
            order: input, forget, cell, output.
    """
    width = gates[1].shape[1]
    order = np.r_[: 2 * width, 3 * width : 4 * width, 2 * width : 3 * width]  # those with a sigmoid, then the cell's
    of_inputs, of_hidden, bias = (part[order] for part in gates)
    first = DenseLayer(of_inputs, bias)
    later = DenseLayer(np.concatenate([of_inputs, of_hidden], axis=1), bias)
    hidden: list[str] = []
    cell: str | None = None
    for x in steps:
        linear = builder.dense(builder.concat(x, hidden[-1]), later) if hidden else builder.dense(x, first)
        cell, shown = builder.recur(linear, cell)
        hidden.append(shown)
    return hidden


def attend_from_last(builder: Builder, steps: Sequence[str], projection: DenseLayer, heads: int) -> str:
    """What attention of several heads gives at the last of ``steps``, before its output layer.

    ``projection`` (3 w, w) makes queries, keys and values; a head has w / heads features of each.
    """
    width = projection.weight.shape[1]
    size = width // heads

    def part(x: str, which: int) -> str:
        rows = slice(which * width, (which + 1) * width)
        return builder.dense(x, DenseLayer(projection.weight[rows], projection.bias[rows]))

    query = builder.with_constant("multiply", part(steps[-1], 0), size**-0.5)
    keys, values = [part(x, 1) for x in steps], [part(x, 2) for x in steps]
    mixed = []
    for head in range(heads):
        own = range(head * size, (head + 1) * size)
        of_head = builder.columns(query, own)
        scores = builder.concat(
            *(
                builder.reduce("sum", builder.elementwise("multiply", of_head, builder.columns(key, own)))
                for key in keys
            )
        )
        share = builder.activation(
            builder.elementwise("subtract", scores, builder.reduce("log_sum_exp", scores)), "exp"
        )
        total = ""
        for at, value in enumerate(values):
            weighted = builder.elementwise("multiply", builder.columns(value, own), builder.columns(share, [at]))
            total = builder.elementwise("add", total, weighted) if total else weighted
        mixed.append(total)
    return builder.concat(*mixed) if heads > 1 else mixed[0]
