"""Writes scoring programs step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.scoring.forest import Forest
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
)
from harness.scoring.tokens import Transformer


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

    def patches(self, x: str, layer: DenseLayer, pixels: NDArray[np.int64], channels: int) -> str:
        """The layer, of weight (out, taps * channels), over every patch of ``pixels`` (patches, taps), -1 for zeros."""
        weight, bias, numbers = (self._hold(array) for array in (layer.weight, layer.bias, pixels))
        return self._add(Patches((x,), self._next(), weight, bias, numbers, channels, layer.activation, layer.slope))

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
