"""Convolutions and LSTMs of a program written out, position by position, for kernels that multiply matrices only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.scoring.builder import Builder
from harness.scoring.program import ROWS, SCORE, Convolve, DenseLayer, Lstm, Program


def elementary(program: Program) -> Program:
    """The program without steps of convolutions and LSTMs: a dense step per position or time step in place of each."""
    if not any(isinstance(step, Convolve | Lstm) for step in program.steps):
        return program
    builder = Builder(program.n_features, arrays=dict(program.arrays))
    names = {ROWS: ROWS}
    for step in program.steps:
        inputs = [names[name] for name in step.inputs]
        match step:
            case Convolve():
                made = _convolved(builder, inputs[0], step, program.convolutions(step))
            case Lstm():
                made = _recurred(builder, inputs[0], step, *program.recurrence(step))
            case _:
                made = builder.copy(step, inputs)
        names[step.output] = made
    return builder.finish(names[SCORE])


def _parts(builder: Builder, x: str, count: int, width: int) -> list[str]:
    """Values that lie side by side in ``x``."""
    if count == 1:
        return [x]
    return [builder.columns(x, range(at * width, (at + 1) * width)) for at in range(count)]


def _joined(builder: Builder, values: Sequence[str]) -> str:
    return builder.concat(*values) if len(values) > 1 else values[0]


def _convolved(builder: Builder, x: str, step: Convolve, layers: list[DenseLayer]) -> str:
    channels = step.channels
    values = _parts(builder, x, step.positions, channels)
    for layer in layers:
        half = layer.weight.shape[1] // channels // 2
        made = []
        for at in range(step.positions):
            first, last = max(at - half, 0), min(at + half + 1, step.positions)
            taps = slice((first - at + half) * channels, (last - at + half) * channels)
            weight = np.ascontiguousarray(layer.weight[:, taps])
            made.append(builder.dense(_joined(builder, values[first:last]), replace(layer, weight=weight)))
        values, channels = made, len(layer.weight)
    most = values[0]
    for value in values[1:]:  # m + max(x - m, 0) is x to rounding where x is larger
        above = builder.activation(builder.elementwise("subtract", value, most), "relu")
        most = builder.elementwise("add", most, above)
    return most


def _recurred(builder: Builder, x: str, step: Lstm, of_inputs: DenseLayer, of_hidden: DenseLayer) -> str:
    later = replace(of_inputs, weight=np.concatenate([of_inputs.weight, of_hidden.weight], axis=1))
    values = _parts(builder, x, step.steps, of_inputs.weight.shape[1])
    hidden, cell = "", None
    for at in range(step.steps)[:: -1 if step.backwards else 1]:
        read = builder.concat(values[at], hidden) if hidden else values[at]
        cell, hidden = builder.recur(builder.dense(read, later if hidden else of_inputs), cell)
        values[at] = hidden
    return _joined(builder, values)
