"""Nets over time steps as scoring programs: their values side by side, and attention written out.

The same dense layer at every step is one array of the program. ONNX Runtime keeps its own operators for these nets; the
program is what the native kernels compile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.scoring.builder import Builder
from harness.scoring.program import DenseLayer

Gates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Weights of inputs and of hidden values, and bias, as `Builder.lstm` takes them."""


def parts_of(builder: Builder, x: str, steps: int, width: int) -> list[str]:
    """The value of each of ``steps`` of ``width`` features that lie side by side in ``x``."""
    if steps == 1:
        return [x]
    return [builder.columns(x, range(at * width, (at + 1) * width)) for at in range(steps)]


def last_of(builder: Builder, x: str, steps: int, width: int) -> str:
    """The value of the last of these steps."""
    return x if steps == 1 else builder.columns(x, range((steps - 1) * width, steps * width))


def both_ways(builder: Builder, x: str, steps: int, forwards: Gates, backwards: Gates) -> str:
    """The hidden values of a bidirectional layer: at each step those of the forward layer, then of the backward one."""
    made = builder.concat(builder.lstm(x, steps, forwards), builder.lstm(x, steps, backwards, backwards=True))
    width = forwards[1].shape[1]
    if steps == 1:
        return made
    of_step = np.arange(2 * steps * width).reshape(2, steps, width).transpose(1, 0, 2)
    return builder.columns(made, of_step.ravel())


def attend_from_last(builder: Builder, steps: Sequence[str], projection: DenseLayer, heads: int) -> str:
    """What attention of several heads gives at the last of ``steps``, before its output layer.

    ``projection`` (3 w, w) makes queries, keys and values; a head has w / heads features of each.
    """
    width = projection.weight.shape[1]
    size = width // heads

    def part(x: str, which: int) -> str:
        rows = slice(which * width, (which + 1) * width)
        return builder.dense(x, DenseLayer(projection.weight[rows], projection.bias[rows]))

    if len(steps) == 1:  # the only step has the whole attention
        return part(steps[0], 2)
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
