"""The products and chains whose rates are compared with the roof: what each does, moves, and runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from harness.linalg.backends import backend
from harness.linalg.chain import DenseChain
from harness.linalg.interface import Backend, BackendName, to_bfloat16
from harness.linalg.native import Activation, Dtype, select

# (batch, m, k, n): squares, and the layers of the detectors at their batch sizes
SHAPES: tuple[tuple[int, int, int, int], ...] = (
    (1024, 8, 8, 8),
    (512, 16, 16, 16),
    (256, 32, 32, 32),
    (64, 64, 64, 64),
    (16, 128, 128, 128),
    (4, 256, 256, 256),
    (16, 64, 41, 64),
    (16, 64, 64, 32),
    (16, 50, 121, 64),
    (16, 50, 256, 128),
)
CHAINS: dict[str, tuple[tuple[int, ...], Literal["logit", "mse"]]] = {
    "MLP": ((41, 64, 32, 1), "logit"),
    "autoencoder": ((41, 32, 16, 8, 16, 32, 41), "mse"),
}
BYTES_OF: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True, eq=False)
class Case:
    """One thing to time: ``call`` does ``operations``; ``traffic`` is what it must move to and from memory, in bytes.

    ``traffic`` is None where the operands stay in cache from call to call.
    """

    name: str
    label: str  # without the kind of kernel, the widths of a net, and where the operands come from
    backend: BackendName
    dtype: Dtype
    call: Callable[[], object]
    operations: float
    traffic: float | None
    ran_on: str


def products(names: tuple[BackendName, ...], dtype: Dtype = "float32") -> Iterator[Case]:
    """The batched products of SHAPES, with operands that stay in cache, on the given backends."""
    for batch, m, k, n in SHAPES:
        for name in names:
            yield _product(backend(name), name, dtype, batch, m, k, n, streamed=False)


def streamed_products(bytes_at_once: int, sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256)) -> Iterator[Case]:
    """Native square products over operands of ``bytes_at_once`` in all, which no cache keeps."""
    for n in sizes:
        batch = max(1, bytes_at_once // (3 * 4 * n * n))
        yield _product(backend("native"), "native", "float32", batch, n, n, n, streamed=True)


def chains(rows: int) -> Iterator[Case]:
    """The native dense chains of the detectors on ``rows`` rows that stay in cache."""
    unit = "1 row" if rows == 1 else f"{rows} rows"
    for title, (widths, head) in CHAINS.items():
        chain = random_chain(widths, head)
        x = np.random.default_rng(0).standard_normal((rows, widths[0])).astype(np.float32)
        macs = sum(inputs * outputs for inputs, outputs in pairwise(widths))
        yield Case(
            f"{title} {'-'.join(map(str, widths))}, {unit}",
            f"{title}, {unit}",
            "native",
            "float32",
            lambda chain=chain, x=x: chain.score(x),  # type: ignore[misc]
            2.0 * macs * rows,
            None,
            f"{chain.isa} {chain.kernel}",
        )


def random_chain(widths: tuple[int, ...], head: Literal["none", "logit", "mse"]) -> DenseChain:
    """A chain of these widths with ReLU between its layers and random weights."""
    rng = np.random.default_rng(0)
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        weight = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        activation: Activation = "identity" if index == len(widths) - 2 else "relu"
        layers.append((weight, rng.standard_normal(outputs).astype(np.float32), activation))
    return DenseChain(layers, head, threads=1)


def _product(
    kernels: Backend, name: BackendName, dtype: Dtype, batch: int, m: int, k: int, n: int, *, streamed: bool
) -> Case:
    rng = np.random.default_rng(0)
    shapes = ((batch, m, k), (batch, k, n))
    if dtype == "int8":
        a, b = (rng.integers(-128, 128, shape, dtype=np.int8) for shape in shapes)
    else:
        values = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
        a, b = (to_bfloat16(value) for value in values) if dtype == "bfloat16" else values  # type: ignore[assignment]
    out = kernels.matmul(a, b)
    ran_on = kernels.ran_on(dtype)
    moved = BYTES_OF[dtype] * batch * (m * k + k * n) + 4 * batch * m * n
    label = f"{m}x{k}x{n}, batch {batch}"
    return Case(
        f"batched GEMM {label}" + (", from memory" if streamed else ""),
        label,
        name,
        dtype,
        lambda: kernels.matmul(a, b, out),
        2.0 * batch * m * k * n,
        float(moved) if streamed else None,
        " ".join(part for part in (ran_on.isa, ran_on.kernel, ran_on.library) if part != "none"),
    )


def available_types() -> tuple[Dtype, ...]:
    """The types that have a native kernel on this processor."""
    isa = select()
    return tuple(dtype for dtype in BYTES_OF if isa.kernel(dtype) is not None)
