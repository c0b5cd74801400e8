"""Pieces of the kernels' work whose instructions are counted: run here, or written down for the program that runs them.

A piece is one call over ``rows`` rows by one thread. ``kernels/count/count.c`` reads what `encoded` writes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.linalg import native
from harness.linalg.backends import backend
from harness.linalg.chain import DenseChain, Head
from harness.linalg.interface import to_bfloat16
from harness.linalg.layers import Layer, checked, coded
from harness.linalg.native import Dtype, PlanStep
from harness.linalg.trainer import DenseTrainer, Loss

ROWS = 64
_ALIGNMENT = 64
_ARRAY_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float64): 1, np.dtype(np.int32): 2, np.dtype(np.int64): 3}
_PRODUCT, _CHAIN, _TRAINING, _PLAN = range(4)

Rows = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Product:
    """A batched product of matrices m x k and k x n."""

    batch: int
    m: int
    k: int
    n: int


@dataclass(frozen=True, eq=False)
class Chain:
    """Dense layers closed by a head, over rows."""

    layers: Sequence[Layer]
    head: Head
    x: Rows


@dataclass(frozen=True, eq=False)
class Training:
    """One step of dense layers on a batch of rows."""

    layers: Sequence[Layer]
    loss: Loss
    x: Rows


@dataclass(frozen=True, eq=False)
class Plan:
    """The steps of a scoring program, over rows."""

    steps: Sequence[PlanStep]
    x: Rows


@dataclass(frozen=True, eq=False)
class Piece:
    """What is counted, and what it is called.

    Attributes:
        name: of a detector, or of the shape of a product.
        what: "score", "train" or "multiply".
        rows: of the call; those of all left matrices of a product.
        macs_per_row: multiply-adds of dense layers that a row needs; None where there are none.
    """

    what: str
    name: str
    dtype: Dtype
    rows: int
    work: Product | Chain | Training | Plan
    macs_per_row: int | None = None


def title(what: str, name: str, isa: str, dtype: Dtype, rows: int) -> str:
    """What a count is called; ``what`` with whatever has no usual number of rows of its own."""
    return f"{what} {name} {isa} {dtype}" + ("" if rows == ROWS or what == "multiply" else f" x{rows}")


def product(m: int, k: int, n: int, dtype: Dtype, batch: int) -> Piece:
    """A batched product, by its shape."""
    return Piece("multiply", f"{m}x{k}x{n}", dtype, batch * m, Product(batch, m, k, n), k * n)


def random_layers(widths: Sequence[int]) -> list[Layer]:
    """Layers of these widths with ReLU between them and random weights."""
    rng = np.random.default_rng(0)
    layers = [
        Layer((rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32),
              rng.standard_normal(outputs).astype(np.float32), "relu")
        for inputs, outputs in pairwise(widths)
    ]  # fmt: skip
    return checked([*layers[:-1], layers[-1]._replace(activation="identity")])


def random_rows(rows: int, features: int) -> Rows:
    """Rows of standard normal numbers."""
    return np.random.default_rng(1).standard_normal((rows, features)).astype(np.float32)


def call_of(piece: Piece) -> Callable[[], object]:
    """A call that does the piece's work here, on the best instruction set, after packing what can be packed."""
    chosen = native.select()
    kernels = native.extension
    assert kernels is not None
    number = kernels.DTYPES[piece.dtype]
    match piece.work:
        case Product(batch=batch, m=m, k=k, n=n):
            a, b = _operands(piece.dtype, (batch, m, k)), _operands(piece.dtype, (batch, k, n))
            out, multiply = backend("native").matmul(a, b), backend("native").matmul
            return lambda: multiply(a, b, out)
        case Chain(layers=layers, head=head, x=x):
            scored = DenseChain(layers, head, piece.dtype, threads=1)
            return lambda: scored.score(x)
        case Training(layers=layers, loss=loss, x=x):
            trainer = DenseTrainer(layers, loss, learning_rate=1e-3)
            y, order = (np.arange(len(x)) % 2).astype(np.float32), np.arange(len(x), dtype=np.int64)
            return lambda: trainer.epoch(x, y if loss == "bce" else None, order=order, batch_size=len(x))
        case Plan(steps=steps, x=x):
            plan = kernels.Plan(chosen.index, x.shape[1], list(steps), number, 1)
            return lambda: plan.run(x)


def _operands(dtype: Dtype, shape: tuple[int, ...]) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    if dtype == "int8":
        return rng.integers(-128, 128, shape, dtype=np.int8)
    values = rng.standard_normal(shape, dtype=np.float32)
    return to_bfloat16(values) if dtype == "bfloat16" else values


def encoded(pieces: Sequence[tuple[Piece, str]]) -> bytes:
    """Pieces, each with its instruction set, as the counting program reads them."""
    written = _Writer()
    for piece, isa in pieces:
        written.piece(piece, isa)
    return bytes(written.content)


class _Writer:
    """Numbers of 64 bits, and arrays that begin at whole cache lines."""

    def __init__(self) -> None:
        self.content = bytearray()

    def piece(self, piece: Piece, isa: str) -> None:
        self.content += bytes(-len(self.content) % _ALIGNMENT)
        start = len(self.content)
        self._numbers(0)
        self._work(piece, isa)
        self.content += bytes(-len(self.content) % _ALIGNMENT)
        self.content[start : start + 8] = struct.pack("<q", len(self.content) - start - 8)

    def _work(self, piece: Piece, isa: str) -> None:
        kernels = native.extension
        assert kernels is not None
        kind = {Product: _PRODUCT, Chain: _CHAIN, Training: _TRAINING, Plan: _PLAN}[type(piece.work)]
        self._numbers(kind)
        self.content += isa.encode().ljust(16, b"\0")
        self._numbers(kernels.DTYPES[piece.dtype])
        match piece.work:
            case Product(batch=batch, m=m, k=k, n=n):
                self._numbers(batch, m, k, n)
                self._array(random_rows(batch * m, k))
                self._array(random_rows(batch * k, n))
            case Chain(layers=layers, head=head, x=x):
                self._numbers(kernels.HEADS[head])
                self._layers(layers)
                self._array(x)
            case Training(layers=layers, loss=loss, x=x):
                self._numbers(kernels.LOSSES[loss])
                self._layers(layers)
                self._array(x)
            case Plan(steps=steps, x=x):
                self._numbers(x.shape[1], len(steps))
                for kind, word, values, arrays, slope, number in steps:
                    self._numbers(kind, word, number)
                    self.content += struct.pack("<d", slope)
                    self._numbers(len(values), *values, len(arrays))
                    for array in arrays:
                        self._array(array)
                self._array(x)

    def _numbers(self, *numbers: int) -> None:
        self.content += struct.pack(f"<{len(numbers)}q", *numbers)

    def _layers(self, layers: Sequence[Layer]) -> None:
        self._numbers(len(layers))
        for weight, bias, activation, slope in coded(checked(layers)):
            self._numbers(activation)
            self.content += struct.pack("<d", slope)
            self._array(weight)
            self._array(bias)

    def _array(self, array: NDArray[Any]) -> None:
        matrix = array.reshape(1, -1) if array.ndim == 1 else array
        self._numbers(_ARRAY_TYPES[array.dtype], *matrix.shape)
        self.content += bytes(-len(self.content) % _ALIGNMENT)
        self.content += matrix.tobytes()
        self.content += bytes(-len(self.content) % 8)
