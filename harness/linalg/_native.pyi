"""The extension module built from kernels/python/module.c."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Float = NDArray[np.float32]

# word -> number in kernels/drivers/lparbench_kernels.h
DTYPES: dict[str, int]
ACTIVATIONS: dict[str, int]
BIAS_AXES: dict[str, int]
HEADS: dict[str, int]
LOSSES: dict[str, int]
STEPS: dict[str, int]
OPERATORS: dict[str, int]
REDUCTIONS: dict[str, int]
SEARCH_TERMS: dict[str, int]
TAPE_KINDS: dict[str, int]

def isas() -> list[tuple[str, bool, tuple[str | None, str | None, str | None]]]: ...
def gemm(
    isa: int,
    dtype: int,
    a: NDArray[Any],
    b: NDArray[Any],
    out: NDArray[Any],
    alpha: float,
    beta: float,
    bias: _Float | None,
    bias_axis: int,
    activation: int,
    slope: float,
    threads: int,
    /,
) -> None: ...
def epoch_many(
    trainers: list[Trainer],
    x: _Float,
    y: _Float | None,
    orders: list[NDArray[np.int64]],
    noises: list[_Float | None],
    batch: int,
    losses: list[_Float],
    threads: int,
    /,
) -> None: ...
def peak_ops(isa: int, dtype: int, seconds: float, /) -> float: ...
def clock_hz(isa: int, dtype: int, seconds: float, /) -> float: ...
def triad_bandwidth(a: _Float, b: _Float, c: _Float, seconds: float, /) -> float: ...
def read_bandwidth(a: _Float, seconds: float, /) -> float: ...
def load_latency(memory: _Float, seconds: float, /) -> float: ...
def stop_probes(whether: bool, /) -> None: ...

class Chain:
    def __new__(
        cls, isa: int, layers: list[tuple[_Float, _Float, int, float]], head: int, dtype: int, threads: int, /
    ) -> Chain: ...
    def run(self, x: Any, out: _Float = ..., /) -> _Float: ...

class ClassifierTrainer:
    def __new__(
        cls,
        isa: int,
        trunk: tuple[int, int, int, int, int, int, NDArray[np.int64], NDArray[np.float64]],
        head: tuple[bool, int, float, float, tuple[float, float], int, int],
        sizes: NDArray[np.int64],
        learns: NDArray[np.int64],
        parameters: _Float,
        /,
    ) -> ClassifierTrainer: ...
    def step(
        self, x: _Float, labels: NDArray[np.int64], adam: tuple[float, float, float, float, float],
        weight_decay: float, threads: int, gradient: _Float | None, /,
    ) -> float: ...  # fmt: skip
    def read(self, parameters: _Float, /) -> None: ...

class Plan:
    def __new__(
        cls, isa: int, features: int, steps: list[tuple[int, int, list[int], list[NDArray[Any]], float, int]],
        dtype: int, threads: int, /,
    ) -> Plan: ...  # fmt: skip
    def run(self, x: Any, out: _Float = ..., /) -> _Float: ...

class Search:
    def __new__(
        cls,
        isa: int,
        generator: list[tuple[_Float, _Float, int, float]],
        judge: list[tuple[_Float, _Float, int, float]],
        term: int,
        weight: float,
        start: NDArray[np.float64],
        rates: NDArray[np.float64],
        beta1: float,
        beta2: float,
        epsilon: float,
        threads: int,
        /,
    ) -> Search: ...
    def run(self, x: Any, out: _Float = ..., /) -> _Float: ...

class Stream:
    def __new__(
        cls, isa: int, steps: int, layers: list[tuple[_Float, _Float, _Float]], weight: _Float, bias: float, /
    ) -> Stream: ...
    def state(self) -> int: ...
    def reserve(self, streams: int, /) -> None: ...
    def restart(self, stream: int, /) -> None: ...
    def score(self, streams: list[int] | NDArray[np.int64], x: _Float, /) -> _Float: ...

class Tape:
    def __new__(
        cls,
        isa: int,
        memory: _Float,
        features: int,
        batch: int,
        orders: int,
        normals: int,
        words: int,
        losses: int,
        values: NDArray[np.int64],
        operations: NDArray[np.int64],
        reals: NDArray[np.float64],
        tables: NDArray[np.int64],
        entries: NDArray[np.int64],
        /,
    ) -> Tape: ...
    def run(
        self, steps: int, x: _Float, orders: NDArray[np.int64], normals: _Float, words: NDArray[np.int64],
        losses: _Float, /,
    ) -> None: ...  # fmt: skip

class Trainer:
    def __new__(
        cls,
        isa: int,
        layers: list[tuple[_Float, _Float, int, float]],
        loss: int,
        sampled: int,
        divergence_weight: float,
        learning_rate: float,
        beta1: float,
        beta2: float,
        epsilon: float,
        max_grad_norm: float,
        /,
    ) -> Trainer: ...
    def epoch(
        self, x: _Float, y: _Float | None, order: NDArray[np.int64], noise: _Float | None, batch: int, losses: _Float, /
    ) -> None: ...
    def gradients(
        self, x: _Float, y: _Float | None, noise: _Float | None, into: Sequence[tuple[_Float, _Float]], /
    ) -> float: ...
    def read(self, into: Sequence[tuple[_Float, _Float]], /) -> None: ...
    def set_learning_rate(self, learning_rate: float, /) -> None: ...

class TransformerTrainer:
    def __new__(
        cls,
        isa: int,
        sizes_of_net: tuple[int, int, int, int, int],
        columns: NDArray[np.int64],
        masked: bool,
        form: tuple[bool, float, float, int, int],
        sizes: NDArray[np.int64],
        decays: NDArray[np.int64],
        parameters: _Float,
        /,
    ) -> TransformerTrainer: ...
    def step(
        self, x: _Float, target: NDArray[Any], weights: _Float | None, adam: tuple[float, float, float, float],
        weight_decay: float, threads: int, gradient: _Float | None, /,
    ) -> float: ...  # fmt: skip
    def read(self, parameters: _Float, /) -> None: ...
