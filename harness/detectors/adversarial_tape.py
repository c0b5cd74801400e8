"""Rounds of adversarial detectors on a tape of the native kernels, those of `adversarial_training`. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.detectors.net_detector import NetDetector
from harness.linalg import native
from harness.training.adam import BETAS
from harness.training.context import FitContext, Matrix
from harness.training.native_loop import batches_per_step
from harness.training.replicas import Noise
from harness.training.tape import Value, Writer
from harness.training.tape_nets import Passed, Side, TapeNet

Losses = Sequence[Sequence[int]]
"""For each loss that is reported, the numbers of those on the tape that it is the sum of."""


@dataclass(frozen=True)
class Game:
    """What replicas have alike: the nets of discriminators and of generators, by name, and how they are trained."""

    sides: tuple[tuple[str, ...], tuple[str, ...]]
    latent: int
    beta_1: float
    ema_decay: float


@dataclass(frozen=True)
class TapePairs:
    """The discriminator of pairs (row, code): a branch for each, and what makes a logit of both."""

    rows: TapeNet
    codes: TapeNet
    joint: TapeNet


@dataclass(frozen=True)
class Pairs:
    """What judging pairs leaves behind."""

    real: list[Passed]
    fake: list[Passed]
    codes: list[Passed]
    joint: list[Passed]
    of_rows: Value
    of_codes: Value
    logits: Value


class Recorder:
    """Takes down a round of one detector, which is built.

    Args:
        detector: whose nets are trained.
        game: how.
        rows: of a batch.
    """

    def __init__(self, detector: NetDetector, game: Game, rows: int) -> None:
        self.rows = rows
        self.writer = Writer(detector.n_features_in_, rows)
        betas = (game.beta_1, BETAS[1])
        self.discriminators, self.generators = (
            Side(self.writer, _modules(detector, names), detector.learning_rate, betas, game.ema_decay)
            for names in game.sides
        )
        self.nets = {**self.discriminators.nets, **self.generators.nets}

    @property
    def sides(self) -> tuple[Side, Side]:
        """Discriminators and generators."""
        return self.discriminators, self.generators

    def value(self, count: int, columns: int) -> Value:
        """A matrix of ``count`` batches of rows."""
        return self.writer.value(count * self.rows, columns)

    def half(self, whole: Value, which: int) -> Value:
        """One of its batches."""
        return self.writer.rows_of(whole, which * self.rows, (which + 1) * self.rows)

    def batch(self, order: int, codes: Value) -> Value:
        """Training rows of an order; ``codes`` are drawn."""
        real = self.value(1, self.writer.features)
        self.writer.gather(real, order)
        self.writer.normal(codes)
        return real

    def pairs(self, rows: str, codes: str, *joint: str) -> TapePairs:
        """The discriminator made of the nets at those paths."""
        layers = [layer for path in joint for layer in self.nets[path].layers]
        return TapePairs(self.nets[rows], self.nets[codes], TapeNet(self.discriminators, layers))

    def judge(self, pairs: TapePairs, real: Value, fake: Value, codes: Value) -> Pairs:
        """Logits of (row, its code) and (generated row, its code); ``codes`` are those of both, in this order."""
        width = pairs.rows.layers[-1].bias.value.columns
        of_rows = self.value(2, width)
        saved_real = pairs.rows.forward([[real]], self.half(of_rows, 0))[1]
        saved_fake = pairs.rows.forward([[fake]], self.half(of_rows, 1))[1]
        of_codes, saved_codes = pairs.codes.forward([[codes]])
        logits, saved_joint = pairs.joint.forward([[of_rows, of_codes]])
        return Pairs(saved_real, saved_fake, saved_codes, saved_joint, of_rows, of_codes, logits)

    def loss(self, logits: Value, first: float, *, alike: bool = False) -> tuple[Value, int]:
        """The gradient of two cross-entropies, as `adversarial_training.pair_losses`, and the number of the first.

        With ``alike`` it is one, of all logits with ``first``.
        """
        gradient = self.writer.like(logits)
        number = self.writer.loss(1 if alike else 2)
        self.writer.operation("pair", (logits, None, gradient), word=int(alike), number=number, reals=(first,))
        return gradient, number

    def learn(self, pairs: TapePairs, judged: Pairs, g: Value) -> None:
        """The gradients of the discriminator's parameters, given that of the logits."""
        of_rows, of_codes = self.writer.like(judged.of_rows), self.writer.like(judged.of_codes)
        pairs.joint.backward(judged.joint, g, wanted={(0, 0): (of_rows, False), (0, 1): (of_codes, False)})
        pairs.rows.backward(judged.real, self.half(of_rows, 0))
        pairs.rows.backward(judged.fake, self.half(of_rows, 1))
        pairs.codes.backward(judged.codes, of_codes)

    def pass_on(self, pairs: TapePairs, judged: Pairs, g: Value, of_fake: Value, of_inferred: Value) -> None:
        """The gradients of the generated rows and of the inferred codes."""
        of_code = self.value(1, judged.of_codes.columns)
        of_row = self.value(1, judged.of_rows.columns)
        for which, part, to in ((0, 1, of_code), (1, 0, of_row)):
            pairs.joint.backward(
                judged.joint, self._logits(g, which), learn=False, rows=(which * self.rows, (which + 1) * self.rows),
                wanted={(0, part): (to, False)},
            )  # fmt: skip
        pairs.rows.backward(judged.fake, of_row, learn=False, wanted={(0, 0): (of_fake, False)})
        pairs.codes.backward(
            judged.codes, of_code, learn=False, rows=(0, self.rows), wanted={(0, 0): (of_inferred, False)}
        )

    def learn_cycle(self, net: TapeNet, true: Value, reconstructed: Value) -> int:
        """The gradients of telling (value, itself) and (value, its reconstruction) apart; the losses' number."""
        logits, saved = net.forward([[true, true], [true, reconstructed]])
        g, number = self.loss(logits, 1.0)
        net.backward(saved, g)
        return number

    def fool_cycle(self, net: TapeNet, true: Value, reconstructed: Value, to: Value) -> int:
        """The gradient of taking one for the other in the reconstruction; the losses' number."""
        logits, saved = net.forward([[true, true], [true, reconstructed]])
        g, number = self.loss(logits, 0.0)
        net.backward(
            saved, self._logits(g, 1), learn=False, rows=(self.rows, 2 * self.rows), wanted={(1, 1): (to, False)}
        )
        return number

    def _logits(self, g: Value, which: int) -> Value:
        """The half of a row of numbers."""
        return self.writer.columns_of(g, which * self.rows, (which + 1) * self.rows)


class Recorded(Protocol):
    """A round of one detector that was taken down."""

    writer: Writer

    @property
    def sides(self) -> Sequence[TapeSide]:
        """What is trained."""
        ...


class TapeSide(Protocol):
    """What one optimiser trains, in a memory."""

    def load(self, memory: NDArray[np.float32]) -> None:
        """The detector's numbers into the memory."""
        ...

    def write_back(self, memory: NDArray[np.float32]) -> None:
        """The averaged numbers to the detector."""
        ...


class TapeRounds:
    """Rounds of replicas, each on a tape of its own, spread over threads.

    Args:
        recorders: a round of each replica.
        losses: of every one of them.
        normal: training rows (n, d).
        seeds: of the replicas.
    """

    def __init__(self, recorders: Sequence[Recorded], losses: Losses, normal: Matrix, seeds: Sequence[int]) -> None:
        self._normal, self._losses, self._recorders = normal, losses, recorders
        self._memories = [recorder.writer.memory() for recorder in recorders]
        self._tapes = []
        for recorder, memory in zip(recorders, self._memories, strict=True):
            for side in recorder.sides:
                side.load(memory)
            self._tapes.append(recorder.writer.tape(memory))
        self._sources = Noise(seeds).sources
        self._threads = min(len(recorders), native.default_threads())

    def step(self, *indices: Tensor) -> Tensor:
        """Rounds over the rows of each order (K, rows); the means of their losses (K, losses)."""
        orders = np.stack([each.numpy() for each in indices], axis=1)
        with ThreadPoolExecutor(self._threads) as pool:
            made = list(pool.map(self._run, range(len(self._tapes)), orders))
        return torch.from_numpy(np.stack(made))

    def _run(self, index: int, orders: Any) -> Any:
        losses = self._tapes[index].run(self._normal, list(orders), self._sources[index]).mean(axis=0, dtype=np.float64)
        return np.array([losses[list(numbers)].sum() for numbers in self._losses])

    def write_back(self) -> None:
        """Give the replicas the weights as they are now, averaged."""
        for recorder, memory in zip(self._recorders, self._memories, strict=True):
            for side in recorder.sides:
                side.write_back(memory)

    def per_call(self, context: FitContext) -> int:
        """Rounds of a call of `step`."""
        return batches_per_step(context, sum(self._recorders[0].writer.per_step) + 1)


def _modules(detector: NetDetector, names: Sequence[str]) -> dict[str, nn.Sequential]:
    """The nets at those names by path, each a Sequential."""
    nets = detector.fitted_net()
    paths = [
        [name]
        if isinstance(part := nets.get_submodule(name), nn.Sequential)
        else [f"{name}.{inner}" for inner, _ in part.named_children()]
        for name in names
    ]
    return {path: detector.part(path) for of_name in paths for path in of_name}
