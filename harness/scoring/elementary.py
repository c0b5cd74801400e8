"""Convolutions of a program written out, position by position, for kernels that multiply matrices only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.scoring.program import ROWS, SCORE, Builder, Convolve, DenseLayer, Program


def elementary(program: Program) -> Program:
    """The program without steps of convolutions: a dense step per position in place of each."""
    if not any(isinstance(step, Convolve) for step in program.steps):
        return program
    builder = Builder(program.n_features, arrays=dict(program.arrays))
    names = {ROWS: ROWS}
    for step in program.steps:
        inputs = [names[name] for name in step.inputs]
        if isinstance(step, Convolve):
            names[step.output] = _written_out(builder, inputs[0], step, program.convolutions(step))
        else:
            names[step.output] = builder.copy(step, inputs)
    return builder.finish(names[SCORE])


def _written_out(builder: Builder, x: str, step: Convolve, layers: list[DenseLayer]) -> str:
    channels = step.channels
    values = [builder.columns(x, range(at * channels, (at + 1) * channels)) for at in range(step.positions)]
    for layer in layers:
        half = layer.weight.shape[1] // channels // 2
        made = []
        for at in range(step.positions):
            first, last = max(at - half, 0), min(at + half + 1, step.positions)
            taps = slice((first - at + half) * channels, (last - at + half) * channels)
            near = builder.concat(*values[first:last]) if last - first > 1 else values[first]
            weight = np.ascontiguousarray(layer.weight[:, taps])
            made.append(builder.dense(near, replace(layer, weight=weight)))
        values, channels = made, len(layer.weight)
    most = values[0]
    for value in values[1:]:  # m + max(x - m, 0) is x to rounding where x is larger
        above = builder.activation(builder.elementwise("subtract", value, most), "relu")
        most = builder.elementwise("add", most, above)
    return most
