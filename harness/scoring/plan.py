"""A scoring program as the native kernels run it: one call for all steps, in the order of the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.linalg import native
from harness.scoring.program import (
    ROWS,
    Activate,
    Columns,
    Concat,
    Convert,
    Dense,
    Elementwise,
    Neighbour,
    Program,
    Reduce,
    Trees,
    WithConstant,
)

Scores = NDArray[np.float32]


def compiled(
    program: Program, dtype: native.Dtype = "float32", threads: int = 1, isa: str | None = None
) -> Callable[..., Scores]:
    """The native call that scores rows: ``run(X)`` or ``run(X, out)`` with X (n, d) gives (n,) float32.

    Args:
        program: checked and copied.
        dtype: of the dense products. In bfloat16 and int8 all of them are in it, and no value is in float64.
        threads: that blocks of rows are spread over.
        isa: the instruction set to use instead of the best one, by its name.

    Raises:
        InputError: the kernels are not built, or the instruction set is not here.
        ValueError: a step does not fit what it is given.
    """
    chosen = native.select(isa)
    assert native.extension is not None
    steps = _Coding(program, dtype).steps
    return native.extension.Plan(chosen.index, program.n_features, steps, native.extension.DTYPES[dtype], threads).run


class _Coding:
    """Steps in the terms of the extension module: (kind, word, values, arrays, slope, number)."""

    def __init__(self, program: Program, dtype: native.Dtype) -> None:
        self.steps: list[native.PlanStep] = []
        self._arrays = program.arrays
        self._full = dtype == "float32"
        self._values = {ROWS: 0}
        for step in program.steps:
            self._write(step)

    def _write(self, step: Any) -> None:
        kernels = native.extension
        assert kernels is not None
        match step:
            case Dense():
                arrays = [self._real(step.weight), self._real(step.bias)]
                fused = self._full or step.activation in native.ACTIVATIONS
                activation = step.activation if fused else "identity"
                self._add("dense", step, kernels.ACTIVATIONS[activation], arrays, step.slope)
                if not fused:
                    self._put("activation", kernels.ACTIVATIONS[step.activation], [self._values[step.output]])
                    self._values[step.output] = len(self.steps)
            case Activate():
                self._add("activation", step, kernels.ACTIVATIONS[step.activation])
            case Elementwise():
                self._add("elementwise", step, kernels.OPERATORS[step.operator])
            case WithConstant():
                self._add("constant", step, kernels.OPERATORS[step.operator], [self._array(step.constant)])
            case Reduce():
                self._add("reduce", step, kernels.REDUCTIONS[step.reduction])
            case Concat():
                self._add("concat", step)
            case Columns():
                self._add("columns", step, arrays=[self._array(step.numbers)])
            case Convert():
                self._add("convert", step, int(self._full and step.precision == "float64"))
            case Trees():
                self._add("trees", step, arrays=[self._array(name) for name in step.arrays[:5]])
            case Neighbour():
                sample = [self._array(step.neighbours)]
                self._add("neighbour", step, arrays=sample, number=step.n_neighbors)

    def _add(
        self, kind: str, step: Any, word: int = 0, arrays: Sequence[NDArray[Any]] = (), slope: float = 0.0,
        *, number: int = 0,
    ) -> None:  # fmt: skip
        self._put(kind, word, [self._values[name] for name in step.inputs], arrays, slope, number)
        self._values[step.output] = len(self.steps)

    def _put(
        self, kind: str, word: int, values: Sequence[int], arrays: Sequence[NDArray[Any]] = (), slope: float = 0.0,
        number: int = 0,
    ) -> None:  # fmt: skip
        assert native.extension is not None
        self.steps.append((native.extension.STEPS[kind], word, list(values), list(arrays), slope, number))

    def _array(self, name: str) -> NDArray[Any]:
        return np.require(self._arrays[name], requirements=["C", "A"])

    def _real(self, name: str) -> NDArray[Any]:
        return self._array(name) if self._full else np.require(self._arrays[name], np.float32, ["C", "A"])
