"""Backend ``native``: the exported program on this project's own kernels, without torch, in one call.

A program that is one chain of dense layers, closed by its logit or its reconstruction error, is a native chain; any
other is a native plan of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import chain, native
from harness.linalg.chain import DenseChain, Head
from harness.linalg.layers import Layer
from harness.scoring import plan
from harness.scoring.artifacts import Artifacts
from harness.scoring.program import ROWS, SCORE, Dense, Elementwise, Patches, Program, Reduce, Step, Transform

Rows = NDArray[np.float32]


class NativeScorer:
    """Scores through native calls; ``isa`` and ``kernel`` say what they run on."""

    def __init__(self, score: Callable[[Rows], Rows], isa: str, kernel: str) -> None:
        self.score = score
        self.isa = isa
        self.kernel = kernel


def open_backend(artifacts: Artifacts, dtype: str, threads: int) -> NativeScorer:
    """Pack the program's weights for the best instruction set here.

    Raises:
        InputError: the native kernels are not built, or have none for ``dtype`` on this machine.
    """
    if dtype not in native.DTYPES or not chain.available(dtype):
        raise InputError(
            f"There is no native kernel for {dtype} here.",
            remedy="Install with a C compiler at hand, or choose another backend.",
        )
    program = artifacts.program()
    whole = as_chain(program)
    if whole is not None:
        layers, head = whole
        packed = DenseChain(layers, head, dtype, threads=threads)
        return NativeScorer(packed.score, packed.isa, packed.kernel)
    if dtype != "float32" and not program.macs_per_row:
        raise InputError(f"{artifacts.detector} scores without dense layers, so {dtype} has nothing to multiply.")
    if dtype != "float32" and any(isinstance(step, Patches | Transform) for step in program.steps):
        raise InputError(f"{artifacts.detector} has no native form in {dtype}.", remedy="Choose float32.")
    chosen = native.select()
    run = plan.compiled(program, dtype, threads)
    score = run if artifacts.window == 1 else lambda X: run(X.reshape(len(X), -1))
    return NativeScorer(score, chosen.name, chosen.kernel(dtype) or "")


def as_chain(program: Program) -> tuple[list[Layer], Head] | None:
    """The layers and the head of a program that is a dense chain and nothing else; None for any other."""
    layers: list[Layer] = []
    value = ROWS
    for step in program.steps:
        if not isinstance(step, Dense):
            break
        layer = _layer(program, step)
        if step.inputs != (value,) or layer is None:
            return None
        layers.append(layer)
        value = step.output
    rest = program.steps[len(layers) :]
    if layers and not rest and value == SCORE:
        return layers, "logit"
    if layers and len(rest) == 2 and _is_squared_error(rest, value):
        return layers, "mse"
    return None


def _is_squared_error(steps: Sequence[Step], output: str) -> bool:
    match steps:
        case (
            Elementwise(inputs=inputs, output=error, operator="subtract"),
            Reduce(inputs=(reduced,), output=final, reduction="square_mean"),
        ):
            return set(inputs) == {output, ROWS} and reduced == error and final == SCORE
        case _:
            return False


def _layer(program: Program, step: Dense) -> Layer | None:
    """The step as a layer of a chain; None where chains do not have its activation or its precision."""
    if program.arrays[step.weight].dtype == np.float64:
        return None
    match step.activation:
        case "softplus" | "exp" | "abs" | "gelu":
            return None
        case activation:
            return Layer(program.arrays[step.weight], program.arrays[step.bias], activation, step.slope)
