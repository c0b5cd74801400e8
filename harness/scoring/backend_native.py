"""Backend ``native``: the exported program on this project's own kernels, without torch.

A program that is one chain of dense layers, closed by its logit or its reconstruction error, is a single native call.
In any other program every run of dense layers is one call, and what lies between is NumPy's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.linalg import chain, native
from harness.linalg.chain import DenseChain, Head
from harness.linalg.layers import Layer
from harness.scoring.artifacts import Artifacts
from harness.scoring.program import ROWS, SCORE, Array, Dense, Elementwise, Program, Reduce, Step, dense_layer, evaluate

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
    parts = _Parts(program, dtype, threads)
    return NativeScorer(parts.score, parts.isa, parts.kernel)


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


class _Parts:
    """A program of which only the dense layers are native."""

    def __init__(self, program: Program, dtype: native.Dtype, threads: int) -> None:
        self._program = program
        self._calls: dict[str, DenseChain] = {}
        self._inside: set[str] = set()  # values that exist only inside a call
        for run in dense_runs(program, dtype):
            layers = [layer for step in run if (layer := _layer(program, step, dtype)) is not None]
            self._calls[run[-1].output] = DenseChain(layers, "none", dtype, threads=threads)
            self._inside |= {step.output for step in run[:-1]}
        first = next(iter(self._calls.values()), None)
        if first is None:
            raise InputError("This detector scores without dense layers, so there is nothing for native kernels to do.")
        self.isa, self.kernel = first.isa, first.kernel

    def score(self, X: Rows) -> Rows:
        """Anomaly score of each row."""
        return evaluate(self._program, X, self._dense).astype(np.float32, copy=False)

    def _dense(self, x: Array, step: Dense) -> Array:
        if step.output in self._inside:  # what the call at the end of its run starts from
            return x
        call = self._calls.get(step.output)
        if call is None:  # an activation or a precision that the kernels do not have
            return dense_layer(x, self._program.layer(step))
        values: Array = call.score(np.ascontiguousarray(x, dtype=np.float32))
        return values


def dense_runs(program: Program, dtype: native.Dtype = "float32") -> list[list[Dense]]:
    """Native dense steps, those together of which each is used by the next one alone."""
    uses = Counter(name for step in program.steps for name in step.inputs)
    runs: list[list[Dense]] = []
    ending: dict[str, list[Dense]] = {}  # by the value that a run makes
    for step in program.steps:
        if not isinstance(step, Dense) or _layer(program, step, dtype) is None:
            continue
        run = ending.pop(step.inputs[0], None) if uses[step.inputs[0]] == 1 else None
        if run is None:
            runs.append(run := [])
        run.append(step)
        ending[step.output] = run
    return runs


def _layer(program: Program, step: Dense, dtype: native.Dtype = "float32") -> Layer | None:
    """The step as the native kernels take it; None where they do not have its activation.

    A step in float64 is left to NumPy, unless a lower precision than float32 is asked for anyway.
    """
    if dtype == "float32" and program.arrays[step.weight].dtype == np.float64:
        return None
    match step.activation:
        case "softplus" | "exp" | "abs":
            return None
        case activation:
            return Layer(program.arrays[step.weight], program.arrays[step.bias], activation, step.slope)
