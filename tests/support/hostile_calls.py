"""Calls of the native module with arguments that are wrong in every way that an argument can be, made of a seed."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.linalg import native

_DTYPES = ("f4", "f4", "f4", "i8", "i4", "i1", "u2", "f8", "?", "O", ">f4", "c8", "U3")
_NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 64, 1000, -(2**31), 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30),
    *(0.0, -0.0, 1.0, 0.5, 1e-30, 1e38, 1e308, math.inf, -math.inf, math.nan, True, None, "x", b"", 1j, (), [], {}),
)
# What a module may raise for what it is given; anything else, SystemError before all, is a defect.
REFUSALS = (TypeError, ValueError, IndexError, OverflowError, MemoryError, RuntimeError, BufferError)


class _Number:
    """Is asked for its value, and changes the list that it is in, or refuses."""

    _value, _change = 0.0, staticmethod(lambda: None)

    def __init__(self, value: float, change: Callable[[], object]) -> None:
        self._value, self._change = value, change

    def __index__(self) -> int:
        self._change()
        return int(self._value)

    def __float__(self) -> float:
        self._change()
        return float(self._value)

    def __repr__(self) -> str:
        self._change()
        return "hostile"


def _tables(numbers: Any, reals: Any) -> list[Any]:
    return [np.array(numbers, "i8").reshape(-1, 7), np.array(reals, "f8").reshape(-1, 4)]


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except REFUSALS:
        return True
    return False


@dataclass
class Hostile:
    """Makes calls; equal for equal seeds.

    Attributes:
        rng: of everything.
        share: of the arguments of a call that fits, how many are replaced.
    """

    rng: random.Random
    share: float = 0.3
    _made: list[np.ndarray] = field(default_factory=list)

    def call(self) -> tuple[str, Callable[[], object]]:
        """The name of a function, and the call."""
        makers = (
            *(self._gemm, self._gemm, self._chain, self._chain, self._trainer, self._trainer, self._together),
            *(self._plan, self._plan, self._probe, self._object, self._search, self._tape, self._tape, self._stream),
            *(self._transformer, self._classifier),
        )
        self._made.clear()
        name, target, arguments = self.rng.choice(makers)()
        return name, lambda: target(*arguments)

    def spoiled(self, arguments: list[Any]) -> list[Any]:
        """The arguments, some of them replaced, left out or too many."""
        mixed = [self.thing() if self.rng.random() < self.share / 2 else argument for argument in arguments]
        if self.rng.random() < self.share / 10:
            mixed = mixed[: self.rng.randrange(len(mixed) + 1)] + [self.thing()] * self.rng.randrange(3)
        return mixed

    def number(self) -> Any:
        """A number, or what is none."""
        rng = self.rng
        if rng.random() < 0.1:
            victims: list[Any] = [np.zeros(3, "f4")]
            return _Number(rng.choice((0, 1, 2, -1)), victims.clear)
        return rng.choice(_NUMBERS)

    def thing(self) -> Any:
        """Anything."""
        rng = self.rng
        match rng.randrange(6):
            case 0 | 1:
                return self.array()
            case 2:
                return self.number()
            case 3:
                return [self.array() for _ in range(rng.randrange(4))]
            case 4:
                return [(self.array(), self.array(), self.number(), self.number()) for _ in range(rng.randrange(4))]
            case _:
                return rng.choice((object(), Ellipsis, int, np.float32, lambda: None, np.ma.ones(3), [[]], ((),), "é"))

    def array(self) -> Any:
        """An array of any type, shape and layout, or one that was given already, or a part of it."""
        rng = self.rng
        if self._made and rng.random() < 0.3:
            return self._view(rng.choice(self._made))
        shape = tuple(rng.choice((0, 1, 2, 3, 5, 8, 17, 65)) for _ in range(rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4))))
        made = np.zeros(shape, rng.choice(_DTYPES))
        if rng.random() < 0.05 and made.dtype == np.float32:
            with np.errstate(all="ignore"):
                return np.broadcast_to(np.float32(1), rng.choice(((2**40, 2), (3, 2**31), (2**60,), (2**20, 2**31, 1))))
        self._made.append(made)
        return self._view(made)

    def floats(self, *shape: int) -> np.ndarray:
        """An array that fits."""
        generator = np.random.default_rng(self.rng.randrange(2**32))
        made = generator.standard_normal(shape).astype(np.float32)
        self._made.append(made)
        return made

    def _view(self, x: np.ndarray) -> Any:
        rng = self.rng
        match rng.randrange(9):
            case 0:
                return x.T
            case 1:
                return x[::-1] if x.ndim else x
            case 2:
                return x[..., ::2] if x.ndim else x
            case 3:
                x.flags.writeable = False
                return x
            case 4 if x.dtype == np.float32:
                raw = np.zeros(x.nbytes + 1, np.uint8)
                return raw[1:].view(np.float32).reshape(x.shape)
            case 5:
                return x.view(np.ma.MaskedArray) if x.dtype.kind == "f" else x
            case 6 if x.size < 2**20:
                return np.broadcast_to(x, (rng.choice((1, 2, 5)), *x.shape))
            case _:
                return x

    def _size(self) -> int:
        return self.rng.choice((1, 1, 2, 3, 5, 16, 17, 33, 70))

    def _isa(self) -> int:
        return self.rng.choice([isa.index for isa in native.isas() if isa.supported])

    def _gemm(self) -> tuple[str, Any, list[Any]]:
        rng, kernels = self.rng, native.extension
        m, n, k, batch = self._size(), self._size(), self._size(), rng.choice((None, 1, 3))
        a, b = ((self.floats(*size) if batch is None or rng.random() < 0.3 else self.floats(batch, *size))
                for size in ((m, k), (k, n)))  # fmt: skip
        out = self.floats(m, n) if batch is None else self.floats(batch, m, n)
        dtype = rng.choice((0, 0, 0, 1, 2))
        if dtype:
            narrow, wide = ((np.uint16, np.float32), (np.int8, np.int32))[dtype - 1]
            a, b, out = a.astype(narrow), b.astype(narrow), out.astype(wide)
        if rng.random() < 0.15:
            out = rng.choice((a, b))
        bias, axis = rng.choice(((None, 0), (self.floats(m), 1), (self.floats(n), 2)))
        plain = (
            (1.0, 0.0, None, 0, 0, 0.0)
            if dtype == 2
            else (0.5, rng.choice((0.0, 1.0)), bias, axis, rng.randrange(5), 0.1)
        )
        return "gemm", kernels.gemm, self.spoiled([self._isa(), dtype, a, b, out, *plain, rng.choice((1, 1, 2, 9))])

    def _layers(self, widths: list[int], *, last: int = 0) -> list[Any]:
        pairs = list(itertools.pairwise(widths))
        layers = [
            [self.floats(n, m), self.floats(n), last if at == len(pairs) - 1 else 1, 0.1]
            for at, (m, n) in enumerate(pairs)
        ]
        spoil = self.rng.random() < self.share
        made: list[Any] = [tuple(self.spoiled(layer)) if spoil else tuple(layer) for layer in layers]
        if self.rng.random() < self.share / 3:
            made[self.rng.randrange(len(made))] = (*made[0][:2], _Number(0, made.clear), _Number(0, made.clear))
        return self.rng.choice((made, made, made, made, made, tuple(made), self.thing() if spoil else made))

    def _widths(self, head: int) -> list[int]:
        inner = [self._size() for _ in range(self.rng.randrange(3))]
        first = self._size()
        return [first, *inner, (self._size(), 1, first)[head]]

    def _chain(self) -> tuple[str, Any, list[Any]]:
        rng, kernels = self.rng, native.extension
        head = rng.randrange(3)
        widths = self._widths(head)
        rows = rng.choice((0, 1, 3, 9, 64, 65, 200))
        x = self.floats(rows, widths[0])
        new = self.spoiled(
            [self._isa(), self._layers(widths), head, rng.choice((0, 0, 1, 2, 3, 7, -1)), rng.choice((1, 2))]
        )
        out = self.floats(rows, widths[-1]) if head == 0 else self.floats(rows)
        given = self.spoiled(rng.choice(([x], [x, out], [x, x], [x, x[:, 0]])))

        def run(*_: Any) -> object:
            return kernels.Chain(*new).run(*given)

        return "Chain.run", run, []

    def _tree_arrays(self, features: int) -> list[Any]:
        rng = self.rng
        shape = rng.choice((1, 4, 20)), rng.choice((1, 3, 15, 31))
        left = np.minimum(np.tile(2 * np.arange(shape[1]) + 1, (shape[0], 1)), 2**31 - 1)
        inner = left + 1 < shape[1]
        own = np.tile(np.arange(shape[1]), (shape[0], 1))
        arrays: list[Any] = [
            np.full(shape, rng.randrange(features), "i4"), self.floats(*shape), np.where(inner, left, own).astype("i4"),
            np.where(inner, left + 1, own).astype("i4"), self.floats(*shape),
        ]  # fmt: skip
        if rng.random() < self.share:  # another node, child or feature than there is
            arrays[rng.choice((0, 2, 3))][rng.randrange(shape[0])] = rng.choice((-1, 0, shape[1], 2**31 - 1, -(2**31)))
        return self.spoiled(arrays) if rng.random() < self.share else arrays

    def _transformer_arrays(self, features: int) -> list[Any]:
        """Of width 10, so that there are 20 features with the one head of a step; the inner width is 4 or 8."""
        rng = self.rng
        columns = np.array([(rng.randrange(features), rng.choice((0, 0, 3))) for _ in range(rng.choice((1, 17, 97)))])
        if rng.random() < self.share:
            columns[rng.randrange(len(columns))] = rng.choice((-(2**63), -1, features, 2**62, 2**63 - 1))
        codes = int(min(max(columns[:, 1].astype(float).sum(), 0), 400))
        blocks = self.floats(rng.choice((0, 1, 2)), 450 + rng.choice((4 * 21, 4 * 32, 8 * 21, 5)))
        return [self.floats(2 * len(columns) + codes, 10), columns, blocks, self.floats(1, 210)]

    def _patch_arrays(self, features: int, pixels: int, outputs: int) -> list[Any]:
        """Of three patches."""
        rng = self.rng
        taps = rng.choice((1, 2, 9))
        numbers = np.array([[rng.randrange(-1, pixels) for _ in range(taps)] for _ in range(3)], "i8")
        if rng.random() < self.share:
            numbers[rng.randrange(3)] = rng.choice((-(2**63), -2, pixels, 2**62, 2**63 - 1))
        return [self.floats(outputs, taps * (features // pixels)), self.floats(outputs), numbers]

    def _step(self, value: int, features: int) -> tuple[Any, int]:
        """A step over a value, and the features it makes."""
        rng, kernels = self.rng, native.extension
        made, positions = rng.choice((1, 3, 20)), rng.choice((1, features))
        taps = rng.choice((1, 3, 5)) * (features // positions)
        kinds: dict[str, tuple[int, list[Any], int]] = {
            "dense": (rng.randrange(9), [self.floats(made, features), self.floats(made)], made),
            "activation": (rng.randrange(9), [], features),
            "constant": (rng.randrange(4), [self.floats(rng.choice((1, features)))], features),
            "reduce": (rng.randrange(9), [], 1),
            "columns": (0, [np.array([rng.randrange(features) for _ in range(made)], "i8")], made),
            "trees": (0, [], 1),
            "neighbour": (0, [self.floats(rng.choice((1, 9, 300)), features)], 1),
            "normalise": (0, [], features),
            "cell": (0, [], max(features // 4, 1)),
            "lstm": (
                rng.randrange(2),
                [self.floats(4 * made, taps), self.floats(4 * made, made), self.floats(4 * made)],
                positions * made,
            ),
            "convolution": (0, [self.floats(made, taps), self.floats(made)], made),
            "patches": (rng.randrange(9), self._patch_arrays(features, positions, made), 3 * made),
            "transformer": (rng.randrange(4), self._transformer_arrays(features), 20),
        }
        kind = rng.choice(list(kinds))
        word, arrays, made = kinds[kind]
        if kind == "trees":
            arrays = self._tree_arrays(features)
        number = positions if kind in ("convolution", "lstm") else features // positions if kind == "patches" else 1
        step: list[Any] = [kernels.STEPS[kind], word, [value], arrays, 0.1, number]
        if rng.random() < self.share / 2:
            at = rng.randrange(6)
            step[at] = self.spoiled(step[at]) if isinstance(step[at], list) and step[at] else self.thing()
        return tuple(step), made

    def _plan(self) -> tuple[str, Any, list[Any]]:
        rng, kernels = self.rng, native.extension
        first = features = self._size()
        steps: list[Any] = []
        for value in range(rng.randrange(1, 6)):
            step, features = self._step(value, features)
            steps.append(step)
        steps.append((kernels.STEPS["reduce"], 1, [len(steps)], [], 0.0, 0))
        new = [self._isa(), first, steps, rng.choice((0, 0, 0, 1, 2, 7)), rng.choice((1, 2))]
        x = self.floats(rng.choice((0, 1, 3, 9, 64, 65, 200)), first)
        given = rng.choice(([x], [x, self.floats(len(x))], [x, x], [x, x[:, 0]]))
        if rng.random() < 0.5:
            new, given = self.spoiled(new), self.spoiled(given)

        def run(*_: Any) -> object:
            return kernels.Plan(*new).run(*given)

        return "Plan.run", run, []

    def _search(self) -> tuple[str, Any, list[Any]]:
        """Of the code of each row, a few steps of it."""
        rng, kernels = self.rng, native.extension
        latent, features = self._size(), self._size()
        term = rng.randrange(-1, 3)
        nets = self._layers([latent, self._size(), features]), self._layers([features, rng.choice((1, self._size()))])
        start, rates = (self.floats(count).astype(np.float64) for count in (latent, rng.choice((0, 1, 4))))
        new = [self._isa(), *nets, term, 0.1, start, rates, 0.9, 0.999, 1e-8, rng.choice((1, 2))]
        x = self.floats(rng.choice((0, 1, 9, 65)), features)
        given = rng.choice(([x], [x, self.floats(len(x))], [x, x[:, 0]]))
        if rng.random() < 0.5:
            new, given = self.spoiled(new), self.spoiled(given)

        def run(*_: Any) -> object:
            return kernels.Search(*new).run(*given)

        return "Search.run", run, []

    def _tape(self) -> tuple[str, Any, list[Any]]:
        """Operations that each fit by themselves, over matrices in one block of memory; or whatever comes."""
        rng, kernels = self.rng, native.extension
        shapes = [(rng.choice((1, 4, 4, 16)), rng.choice((1, 3, 8, 16))) for _ in range(rng.randrange(3, 14))]
        offsets = [0, *itertools.accumulate(16 * rows for rows, _ in shapes)]
        values = np.array([(at, *shape, 16) for at, shape in zip(offsets, shapes, strict=False)], "i8")
        if rng.random() < self.share:
            values[rng.randrange(len(values)), rng.randrange(4)] = rng.choice((-1, 0, 15, 17, 2**31, 2**62, -(2**63)))
        sizes = [3, 4, 2, 64, 32, 4]
        new = [self._isa(), self.floats(offsets[-1] + 16), *sizes, values]
        shape = [(0, 4, 3, rng.choice((1, 4))), (12, 4, 1, 1), (12, 1, 4, 1), (16, 16, 1, 1)]
        tables = [np.array(shape, "i8"), np.array([rng.choice((-1, 0, 0, 0, 1, 3)) for _ in range(32)], "i8")]
        if rng.random() < self.share:
            tables[0][rng.randrange(4), rng.randrange(4)] = rng.choice((-1, 0, 33, 2**31, 2**62, -(2**63)))
        kept = []
        for _ in range(60):
            kind, word, number = (
                rng.randrange(-1, 27),
                rng.randrange(-1, 6),
                rng.choice((0, 0, 1, 2, 3, 4, 12, -1, 2**31, 2**62)),
            )
            numbers = [kind, *(rng.randrange(-1, len(shapes)) for _ in range(4)), word, number]
            reals = [rng.choice((0.0, 0.5, 0.999, 1e-3, math.inf, math.nan)) for _ in range(4)]
            if rng.random() < 0.05 or _refuses(
                lambda n=numbers, r=reals: kernels.Tape(*new, *_tables([n], [r]), *tables)
            ):
                continue
            kept.append((numbers, reals))
        new += [*(_tables(*zip(*kept, strict=True)) if kept else _tables([], [])), *tables]
        steps = rng.choice((0, 1, 3))
        x = self.floats(rng.choice((1, 9)), 3)
        orders = np.array([[rng.randrange(len(x)) for _ in range(4 * steps)] for _ in range(2)], "i8")
        if orders.size and rng.random() < self.share:
            orders[0, 0] = rng.choice((-1, len(x), 2**62))
        words = np.array([rng.randrange(-(2**63), 2**63) for _ in range(32 * steps)], "i8")
        given = [steps, x, orders.reshape(2, -1), self.floats(64 * steps), words, self.floats(4 * steps)]
        if rng.random() < 0.5:
            new, given = self.spoiled(new), self.spoiled(given)

        def run(*_: Any) -> object:
            return kernels.Tape(*new).run(*given)

        return "Tape.run", run, []

    def _stream(self) -> tuple[str, Any, list[Any]]:
        """Rows of a few streams, and windows that are open in them."""
        rng, kernels = self.rng, native.extension
        features, steps, count, rows = (
            self._size(),
            rng.choice((1, 2, 5)),
            rng.choice((1, 4)),
            rng.choice((0, 1, 9, 33)),
        )
        layers, width = [], features
        for _ in range(rng.choice((1, 2))):
            units = rng.choice((1, 4, 16, 17))
            layers.append((self.floats(4 * units, width), self.floats(4 * units, units), self.floats(4 * units)))
            width = units
        if rng.random() < self.share:
            layers = self.spoiled(layers)
        new = [self._isa(), steps, layers, self.floats(width), 0.1]
        streams = np.array([rng.randrange(count) for _ in range(rows)], "i8")
        if rows and rng.random() < self.share:
            streams[rng.randrange(rows)] = rng.choice((-1, count, 2**62, -(2**63)))
        given = [rng.choice((streams, streams.tolist())), self.floats(rows, features)]
        if rng.random() < 0.5:
            new = self.spoiled(new)

        def run(*_: Any) -> object:
            stream = kernels.Stream(*new)
            stream.reserve(count if rng.random() < 0.9 else rng.choice((0, -1, 2**40, 2**62)))
            if rng.random() < 0.2:
                stream.restart(rng.choice((0, count, -1)))
            return stream.score(*(self.spoiled(given) if rng.random() < 0.5 else given))

        return "Stream.score", run, []

    def _transformer(self) -> tuple[str, Any, list[Any]]:
        """A net of one block in training; rows with labels, or with hidden features."""
        rng = self.rng
        width, inner, masked = 16, rng.choice((16, 32)), rng.random() < 0.5
        columns = np.array([(at, rng.choice((0, 0, 3))) for at in range(rng.choice((1, 3, 17)))], "i8")
        columns = columns[np.argsort(columns[:, 1], kind="stable")]
        codes = [int(count) for count in columns[:, 1] if count]
        numbers, most = len(columns) - len(codes), max(codes, default=0)
        sizes = [numbers * width, numbers * width, width, *([len(codes) * width] if codes else [])]
        sizes += [*(count * width for count in codes), width, width, 3 * width * width, 3 * width, width * width]
        sizes += [width, width, width, inner * width, inner, inner * width, *[width] * 5, width * width, width]
        sizes += [2 * width, 2, width, numbers * width, numbers]
        sizes += [*([len(codes) * most * width, len(codes) * most] if codes else []), width * width, width]
        given = np.array(sizes, "i8")
        floats = self.floats(sum(-(-size // 16) * 16 for size in sizes))
        if rng.random() < self.share:
            victim = rng.choice((given, columns.reshape(-1)))
            victim[rng.randrange(len(victim))] = rng.choice((-1, 0, 17, 2**31, 2**62, -(2**63)))
        shape = (len(columns), width, rng.choice((1, 4, 16)), 1, inner)
        form = (False, 0.0, 0.0, 7, rng.choice((0, 1)))
        new = [self._isa(), shape, columns, masked, form, given, np.ones(len(sizes), "i8"), floats]
        rows = rng.choice((1, 9, 33))
        target = np.array([rng.randrange(2) for _ in range(rows)], "i8")
        if rng.random() < self.share:
            target[0] = rng.choice((-1, 2, 2**62))
        if masked:
            target = np.ones((rows, len(columns)), "i1")
        step = [
            self.floats(rows, len(columns)),
            target,
            self.floats(rows),
            (1e-3, 0.9, 0.999, 1e-8),
            0.1,
            rng.choice((1, 2)),
        ]
        step.append(rng.choice((None, floats.copy())))
        if rng.random() < 0.5:
            new, step = self.spoiled(new), self.spoiled(step)

        def run(*_: Any) -> object:
            trainer = native.extension.TransformerTrainer(*new)
            trainer.read(floats.copy())
            return trainer.step(*step)

        return "TransformerTrainer.step", run, []

    def _classifier(self) -> tuple[str, Any, list[Any]]:
        """Layers of an LSTM over windows in training, with and without attention and normalisation; or convolutions."""
        rng = self.rng
        features, steps, directions = rng.choice((1, 5, 17)), rng.choice((1, 3)), rng.choice((1, 2))
        units = [rng.choice((1, 16, 20)) for _ in range(rng.choice((1, 2)))]
        normalised, hidden, inputs, sizes = rng.random() < 0.5, rng.choice((0, 9)), features, []
        channels = rng.choice((0, 0, 3))
        if channels:
            units, steps, directions, inputs = [3, 7], 1, 1, 4 * channels
            for taps in units:
                sizes += [channels * taps, channels, 2 * channels * channels * taps, 2 * channels]
        for count in [] if channels else units:
            sizes += [4 * count * inputs, 4 * count * count, 4 * count, 4 * count] * directions
            inputs = count * directions
        heads = 0 if channels else rng.choice((0, 1, directions))
        sizes += [3 * inputs * inputs, 3 * inputs, inputs * inputs, inputs] if heads else []
        sizes += [inputs, inputs] * normalised + ([hidden * inputs, hidden, hidden] if hidden else [inputs]) + [1]
        sizes += [inputs, inputs] * normalised
        given, layers, dropout = np.array(sizes, "i8"), np.array(units, "i8"), np.full(len(units), 0.3)
        floats = self.floats(sum(-(-size // 16) * 16 for size in sizes))
        if rng.random() < self.share:
            victim = rng.choice((given, layers))
            victim[rng.randrange(len(victim))] = rng.choice((-1, 0, 17, 2**31, 2**62, -(2**63)))
        if rng.random() < self.share / 4:
            dropout[0] = rng.choice((-1.0, 1.0, float("nan"), float("inf")))
        trunk = [int(channels > 0), features, steps, directions, heads, channels, layers, dropout]
        head = [normalised, hidden, 0.4, rng.choice((0.0, 3.0)), (0.1, 0.9), 7, rng.choice((0, 1))]
        if rng.random() < 0.3:
            trunk, head = self.spoiled(trunk), self.spoiled(head)
        rows = rng.choice((1, 9, 33))
        labels = np.array([rng.randrange(2) for _ in range(rows)], "i8")
        if rng.random() < self.share:
            labels[0] = rng.choice((-1, 2, 2**62))
        new = [self._isa(), tuple(trunk), tuple(head), given, np.ones(len(sizes), "i8"), floats]
        step = [self.floats(rows, steps * features), labels, (1e-3, 0.9, 0.999, 1e-8, rng.choice((0.0, 1.0))), 0.1]
        step += [rng.choice((1, 2)), rng.choice((None, floats.copy()))]
        if rng.random() < 0.5:
            new, step = self.spoiled(new), self.spoiled(step)

        def run(*_: Any) -> object:
            trainer = native.extension.ClassifierTrainer(*new)
            trainer.read(floats.copy())
            return trainer.step(*step)

        return "ClassifierTrainer.step", run, []

    def _new_trainer(self, widths: list[int], loss: int, *, whole: bool = False) -> Any:
        arguments = [self._isa(), self._layers(widths), loss, -1, 0.0, 1e-3, 0.9, 0.999, 1e-8, 0.0]
        return native.extension.Trainer(*(arguments if whole else self.spoiled(arguments)))

    def _trainer(self) -> tuple[str, Any, list[Any]]:
        rng = self.rng
        loss = rng.randrange(4)
        first = self._size()
        widths = [first, *[self._size() for _ in range(rng.randrange(3))], 1 if loss == 0 else first]
        rows, batch = rng.choice((1, 5, 64, 100)), rng.choice((1, 7, 64, 2**62, 2**63 - 1))
        x, y = self.floats(rows, first), self.floats(rows)
        order = np.arange(rows)
        if rng.random() < self.share:
            order[rng.randrange(rows)] = rng.choice((-1, rows, 2**62, -(2**63)))
        pairs = [(self.floats(n, m), self.floats(n)) for m, n in itertools.pairwise(widths)]
        into: Any = [tuple(self.spoiled(list(pair))) for pair in pairs]
        losses = self.floats(-(-rows // min(batch, 1000)))
        epoch = self.spoiled([x, y, order, None, batch, rng.choice((losses, losses, losses, x[:, 0], y))])
        gradients = self.spoiled([x, y, None, into])
        read = self.spoiled([into])[:1] or [None]
        rate = self.number()

        def run() -> None:
            trainer = self._new_trainer(widths, loss)
            for step in (lambda: trainer.epoch(*epoch), lambda: trainer.gradients(*gradients),
                         lambda: trainer.read(*read), lambda: trainer.set_learning_rate(rate)):  # fmt: skip
                with contextlib.suppress(REFUSALS):
                    step()

        return "Trainer", run, []

    def _together(self) -> tuple[str, Any, list[Any]]:
        rng, kernels = self.rng, native.extension
        losses_of = [rng.choice((0, 1, 2)) for _ in range(rng.choice((1, 2, 3)))]
        first, rows, batch = self._size(), rng.choice((1, 30)), rng.choice((1, 7, 64))
        x, y = self.floats(rows, first), self.floats(rows)
        orders = self.spoiled([np.arange(rows) for _ in losses_of])
        noises = self.spoiled([None for _ in losses_of])
        losses = self.spoiled([self.floats(-(-rows // batch)) for _ in losses_of])

        def run() -> None:
            trainers = self.spoiled([self._new_trainer([first, 1 if loss == 0 else first], loss) for loss in losses_of])
            kernels.epoch_many(
                *self.spoiled([trainers, x, y, orders, noises, batch, losses, rng.choice((1, 2, 2**31))])
            )

        return "epoch_many", run, []

    def _probe(self) -> tuple[str, Any, list[Any]]:
        rng, kernels = self.rng, native.extension
        seconds = rng.choice((0.0, 1e-4, math.inf, math.nan, -1.0, 1e300, self.number()))
        a, b, c = (self.floats(rng.choice((0, 1, 64, 1000))) for _ in range(3))
        name, arguments = rng.choice((
            ("peak_ops", [self._isa(), rng.randrange(3), seconds]),
            ("clock_hz", [self._isa(), rng.randrange(3), seconds]),
            ("triad_bandwidth", [a, rng.choice((a, b)), c, seconds]),
            ("read_bandwidth", [a, seconds]),
            ("load_latency", [a, seconds]),
            ("stop_probes", [False]),
        ))  # fmt: skip
        return name, getattr(kernels, name), arguments if rng.random() < 0.5 else self.spoiled(arguments)

    def _object(self) -> tuple[str, Any, list[Any]]:
        """The types, taken for what they are not."""
        import copy
        import pickle

        kernels = native.extension
        kind = self.rng.choice(
            (kernels.Chain, kernels.Plan, kernels.Trainer, kernels.Search, kernels.Tape, kernels.Stream)
        )
        uses: tuple[Callable[..., object], ...] = (
            kind, kind.__new__, object.__new__, lambda k: object.__new__(k), lambda k: k.__new__(k),
            lambda k: k(**{"isa": 0}), lambda k: type("Sub", (k,), {}), copy.copy, pickle.dumps, kernels.isas,
            lambda k: k.run(None), lambda k: k.read(3, []), lambda k: k.epoch(k),
        )  # fmt: skip
        use = self.rng.choice(uses)

        def run() -> object:
            try:
                return use(kind)
            except (AttributeError, pickle.PicklingError) as error:
                raise TypeError from error

        return "objects", run, []
