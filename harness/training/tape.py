"""A training step as a tape: its operations, gradients included, written once and run by the native kernels.

Values are matrices in one block of memory, rows padded to whole vectors. What dropout and codes need is drawn outside,
in the order in which the operations ask for it, so that a tape sees the random numbers that the torch loop would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import CodedRows, Rows, rows_at_once
from harness.linalg import native

ALIGN = 16
TURNED, ADDED = 1, 2  # bits of a product's number
_AT_ONCE = 1 << 13  # words drawn at a time, which stay in cache


@dataclass(frozen=True)
class Value:
    """A matrix (rows, columns) in the memory, its rows ``ld`` floats apart."""

    number: int
    offset: int
    rows: int
    columns: int
    ld: int


@dataclass(frozen=True)
class Draw:
    """Random numbers (rows, features) that an operation takes in every step: normal ones, or the bits of a mask."""

    kind: str
    rows: int
    features: int

    @property
    def words(self) -> int:
        """Words of 64 bits, each for four entries of a mask."""
        return -(-self.rows * self.features // 4)


@dataclass
class Writer:
    """Takes down values and operations.

    Args:
        features: of the rows that are gathered.
        batch: rows of a step.
    """

    features: int
    batch: int
    draws: list[Draw] = field(default_factory=list)
    orders: int = 0
    losses: int = 0
    _values: list[Value] = field(default_factory=list)
    _tables: list[tuple[NDArray[np.int64], int]] = field(default_factory=list)
    _operations: list[tuple[int, ...]] = field(default_factory=list)
    _reals: list[tuple[float, ...]] = field(default_factory=list)
    _end: int = 0
    _most: int = 0
    _normals: int = 0
    _words: int = 0

    def value(self, rows: int, columns: int, spare: int = 0) -> Value:
        """A new one; ``spare`` floats more in each row than its columns need."""
        ld = -(-(columns + spare) // ALIGN) * ALIGN
        made = self._known(self._end, rows, columns, ld)
        self._end += rows * ld
        self._most = max(self._most, self._end)
        return made

    def rows_of(self, whole: Value, start: int, stop: int) -> Value:
        """Some rows."""
        return self._known(whole.offset + start * whole.ld, stop - start, whole.columns, whole.ld)

    def columns_of(self, whole: Value, start: int, stop: int) -> Value:
        """Some columns."""
        return self._known(whole.offset + start, whole.rows, stop - start, whole.ld)

    def like(self, other: Value) -> Value:
        """A new one of that shape."""
        return self.value(other.rows, other.columns, other.ld - other.columns)

    def at(self, offset: int, rows: int, columns: int) -> Value:
        """One in memory that is taken already."""
        return self._known(offset, rows, columns, -(-columns // ALIGN) * ALIGN)

    def moved(self, other: Value, by: int) -> Value:
        """One of that shape in memory that is taken already, ``by`` floats behind it."""
        return self._known(other.offset + by, other.rows, other.columns, other.ld)

    def mark(self) -> int:
        """Where the memory is taken up to."""
        return self._end

    def release(self, mark: int) -> None:
        """Give memory back: what was taken since that mark is needed no more."""
        self._end = mark

    def operation(
        self,
        kind: str,
        operands: Sequence[Value | None],
        *,
        word: int = 0,
        number: int = 0,
        reals: Sequence[float] = (),
    ) -> None:
        """Take down one; operands are a, b, c and d, of which c is written."""
        assert native.extension is not None
        ids = [-1 if each is None else each.number for each in operands]
        self._operations.append((native.extension.TAPE_KINDS[kind], *ids, *([-1] * (4 - len(ids))), word, number))
        self._reals.append((*reals, *([0.0] * (4 - len(reals)))))

    def table(self, entries: NDArray[np.int64], block: int = 1) -> int:
        """The number of a table (rows, columns) for operations; ``block``: rows of a block of their a."""
        self._tables.append((entries, block))
        return len(self._tables) - 1

    def gather(self, to: Value, order: int) -> None:
        """The rows of the batch of an order."""
        self.orders = max(self.orders, order + 1)
        self.operation("gather", (None, None, to), number=order)

    def normal(self, to: Value) -> None:
        """Standard normal numbers."""
        self.draws.append(Draw("normal", to.rows, to.columns))
        self.operation("normal", (None, None, to), number=self._normals)
        self._normals += to.rows * to.columns

    def mask(self, rows: int, features: int) -> int:
        """The bits of a dropout mask, drawn now: where `drop` finds them."""
        draw = Draw("keep", rows, features)
        self.draws.append(draw)
        start = 4 * self._words
        self._words += draw.words
        return start

    def loss(self, count: int) -> int:
        """The number of the first of ``count`` further losses."""
        self.losses += count
        return self.losses - count

    @property
    def per_step(self) -> tuple[int, int]:
        """Normal numbers and words of a step."""
        return self._normals, self._words

    def memory(self) -> NDArray[np.float32]:
        """Zeros for all values, aligned to whole vectors."""
        room = np.zeros(self._most + 3 * ALIGN, dtype=np.float32)
        start = -room.ctypes.data % (4 * ALIGN) // 4
        return room[start : start + self._most + 2 * ALIGN]

    def tape(self, memory: NDArray[np.float32], isa: str | None = None) -> Tape:
        """What was taken down, over that memory."""
        assert native.extension is not None
        compiled = native.extension.Tape(
            native.select(isa).index, memory, self.features, self.batch, self.orders, self._normals, self._words,
            self.losses, np.array([[v.offset, v.rows, v.columns, v.ld] for v in self._values], dtype=np.int64),
            np.array(self._operations, dtype=np.int64), np.array(self._reals, dtype=np.float64), *self._all_tables(),
        )  # fmt: skip
        return Tape(compiled, self)

    def _all_tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Start, rows, columns and rows of a block of each, and the entries of all."""
        starts = np.cumsum([0, *(entries.size for entries, _ in self._tables)])
        shapes = [(start, *entries.shape, block) for start, (entries, block) in zip(starts, self._tables, strict=False)]
        entries = [np.zeros(0, np.int64), *(entries.ravel() for entries, _ in self._tables)]
        return np.array(shapes, np.int64).reshape(-1, 4), np.concatenate(entries)

    def _known(self, offset: int, rows: int, columns: int, ld: int) -> Value:
        made = Value(len(self._values), offset, rows, columns, ld)
        self._values.append(made)
        return made


class Tape:
    """A compiled tape and what it draws."""

    def __init__(self, compiled: Any, writer: Writer) -> None:
        self._compiled, self._writer = compiled, writer
        self._drawn = np.empty(0, np.float32), np.empty(0, np.uint64)

    def run(self, X: Rows, orders: Sequence[NDArray[np.int64]], source: np.random.Generator) -> NDArray[np.float32]:
        """Steps over the rows of ``orders``, each of as many as the batches have; their losses (steps, losses).

        Rows held as codes become features for some steps at a time.
        """
        if not isinstance(X, CodedRows):
            return self._run(X, orders, source)
        batch = self._writer.batch
        count = batch * max(1, rows_at_once(X.shape[1]) // (batch * len(orders)))
        losses = []
        for start in range(0, len(orders[0]), count):
            parts = [order[start : start + count] for order in orders]
            taken = X[np.concatenate(parts)]
            losses.append(self._run(taken, list(np.arange(len(taken)).reshape(len(parts), -1)), source))
        return np.concatenate(losses)

    def _run(
        self, X: NDArray[np.float32], orders: Sequence[NDArray[np.int64]], source: np.random.Generator
    ) -> NDArray[np.float32]:
        writer = self._writer
        steps = len(orders[0]) // writer.batch
        per_step = writer.per_step
        if len(self._drawn[0]) < steps * per_step[0] or len(self._drawn[1]) < steps * per_step[1]:
            self._drawn = np.empty(steps * per_step[0], np.float32), np.empty(steps * per_step[1], np.uint64)
        normals = self._drawn[0][: steps * per_step[0]].reshape(steps, per_step[0])
        words = self._drawn[1][: steps * per_step[1]].reshape(steps, per_step[1])
        for of_normals, of_words in zip(normals, words, strict=True):
            _draw(writer.draws, source, of_normals, of_words)
        losses = np.empty(steps * writer.losses, dtype=np.float32)
        self._compiled.run(
            steps, X, np.ascontiguousarray(np.stack(orders)), normals.reshape(-1), words.reshape(-1).view(np.int64),
            losses,
        )  # fmt: skip
        return losses.reshape(steps, writer.losses)


def _draw(
    draws: Sequence[Draw], source: np.random.Generator, normals: NDArray[np.float32], words: NDArray[np.uint64]
) -> None:
    """The numbers of a step, in the order of `harness.training.replicas.Noise`."""
    normal_at = word_at = 0
    for draw in draws:
        if draw.kind == "normal":
            count = draw.rows * draw.features
            source.standard_normal(out=normals[normal_at : normal_at + count], dtype=np.float32)
            normal_at += count
        else:
            for start in range(word_at, word_at + draw.words, _AT_ONCE):
                stop = min(start + _AT_ONCE, word_at + draw.words)
                words[start:stop] = source.bit_generator.random_raw(stop - start)
            word_at += draw.words


def view(memory: NDArray[np.float32], value: Value) -> NDArray[np.float32]:
    """The numbers of a value."""
    rows = np.lib.stride_tricks.as_strided(memory[value.offset :], (value.rows, value.ld), (4 * value.ld, 4))
    return rows[:, : value.columns]


def apart(columns: int) -> int:
    """Spare floats without which the same columns of many rows would share a few sets of a cache."""
    return ALIGN if columns % 128 == 0 else 0


def word_of(activation: str) -> int:
    """The number of an activation in operations."""
    assert native.extension is not None
    return native.extension.ACTIVATIONS[activation]
