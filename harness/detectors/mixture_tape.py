"""DAGMM's training on a tape of the native kernels; what its mixture takes part in is one operation. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.detectors.net_detector import NetDetector
from harness.linalg import native
from harness.training.adam import BETAS
from harness.training.context import FitContext, Matrix
from harness.training.native_loop import batches_per_step
from harness.training.replicas import Noise
from harness.training.tape import Tape, Writer
from harness.training.tape_nets import Side

NETS = ("encoder", "decoder", "estimator")


@dataclass(frozen=True)
class Weights:
    """Those of the energy and of the inverse diagonals, what is added to the diagonals, and whether the bound is it."""

    energy: float
    covariance: float
    reg_covar: float
    bound: bool


class MixtureTapes:
    """Replicas in training, each on a tape of its own, spread over threads.

    Args:
        replicas: built.
        normal: training rows (n, d).
        batch: rows of a step.
        weights: of the loss.
    """

    def __init__(self, replicas: Sequence[NetDetector], normal: Matrix, batch: int, weights: Weights) -> None:
        self._normal, self._weights = normal, weights
        self._sides = [_recorded(replica, batch, weights) for replica in replicas]
        self._memories = [side.writer.memory() for side in self._sides]
        for side, memory in zip(self._sides, self._memories, strict=True):
            side.load(memory)
        self._tapes = [side.writer.tape(memory) for side, memory in zip(self._sides, self._memories, strict=True)]
        self._sources = Noise([replica.random_state for replica in replicas]).sources
        self._threads = min(len(replicas), native.default_threads())

    def step(self, indices: Tensor) -> Tensor:
        """Steps over the rows of each order (K, rows); means of loss, reconstruction error and energy (K, 3)."""
        with ThreadPoolExecutor(self._threads) as pool:
            runs = [
                pool.submit(_means, tape, self._normal, order, source)
                for tape, order, source in zip(self._tapes, indices.numpy(), self._sources, strict=True)
            ]
        error, energy, narrow = np.stack([run.result() for run in runs], axis=1)
        losses = error + self._weights.energy * energy + self._weights.covariance * narrow
        return torch.from_numpy(np.stack([losses, error, energy], axis=1))

    def write_back(self) -> None:
        """Give the replicas the weights as they are now."""
        for side, memory in zip(self._sides, self._memories, strict=True):
            side.write_back(memory)

    def per_call(self, context: FitContext) -> int:
        """Batches of a call of `step`."""
        return batches_per_step(context, sum(self._sides[0].writer.per_step) + 1)


def _means(tape: Tape, X: Matrix, order: NDArray[np.int64], source: np.random.Generator) -> NDArray[np.float64]:
    means: NDArray[np.float64] = tape.run(X, [order], source).mean(axis=0, dtype=np.float64)
    return means


def _recorded(detector: NetDetector, rows: int, weights: Weights) -> Side:
    writer = Writer(detector.n_features_in_, rows)
    nets = {name: detector.part(name) for name in NETS}
    side = Side(writer, nets, detector.learning_rate, BETAS, 0.0, logits=False)
    encode, decode, assign = (side.nets[name] for name in NETS)
    width = encode.layers[-1].bias.value.columns
    x, z = writer.value(rows, writer.features), writer.value(rows, width + 2)
    code = writer.columns_of(z, 0, width)
    writer.gather(x, 0)
    encoded = encode.forward([[x]], code)[1]
    reconstructed, decoded = decode.forward([[code]])
    writer.operation("features", (x, reconstructed, z))
    logits, assigned = assign.forward([[z]])
    error, number = writer.loss(1), writer.loss(2)
    of_z, of_logits, of_rows = writer.like(z), writer.like(logits), writer.like(reconstructed)
    writer.operation(
        "mixture", (z, logits, of_z, of_logits), word=int(weights.bound), number=number,
        reals=(weights.energy, weights.covariance, weights.reg_covar),
    )  # fmt: skip
    side.begin()
    assign.backward(assigned, of_logits, wanted={(0, 0): (of_z, True)})
    writer.operation("features_gradient", (x, reconstructed, of_rows, of_z), number=error)
    of_code = writer.columns_of(of_z, 0, width)
    decode.backward(decoded, of_rows, wanted={(0, 0): (of_code, True)})
    encode.backward(encoded, of_code)
    side.step()
    return side
