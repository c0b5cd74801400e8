"""A scoring program as the native kernels run it: one call for all steps, in the order of the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.linalg import native
from harness.scoring.elementary import elementary
from harness.scoring.program import (
    ROWS,
    SCORE,
    Activate,
    Cell,
    Columns,
    Concat,
    Convert,
    Convolve,
    Dense,
    Elementwise,
    Hidden,
    Lstm,
    Neighbour,
    Normalise,
    Patches,
    Program,
    Reduce,
    Step,
    Transform,
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
    steps = coded(program, dtype)
    return native.extension.Plan(chosen.index, program.n_features, steps, native.extension.DTYPES[dtype], threads).run


def coded(program: Program, dtype: native.Dtype = "float32") -> list[native.PlanStep]:
    """The steps as the extension module takes them."""
    return _Coding(program if dtype == "float32" else elementary(program), dtype).steps


def _only_multiplied(program: Program) -> dict[str, tuple[str, ...]]:
    """The parts of values in which one comes twice and which dense layers alone read."""
    repeated = {
        step.output: step.inputs
        for step in program.steps
        if isinstance(step, Concat) and len({*step.inputs}) < len(step.inputs)
    }
    others = {name for step in program.steps if not isinstance(step, Dense) for name in step.inputs}
    return {name: parts for name, parts in repeated.items() if name not in others and name != SCORE}


class _Coding:
    """Steps in the terms of the extension module: (kind, word, values, arrays, slope, number)."""

    def __init__(self, program: Program, dtype: native.Dtype) -> None:
        self.steps: list[native.PlanStep] = []
        self._arrays = program.arrays
        self._full = dtype == "float32"
        self._values = {ROWS: 0}
        self._widths = {ROWS: program.n_features}
        self._repeated = _only_multiplied(program) if self._full else {}
        for step in program.steps:
            self._widths[step.output] = self._width(step)
            if step.output not in self._repeated:
                self._write(step)

    def _width(self, step: Step) -> int:
        """The features that a step makes."""
        match step:
            case Dense():
                return len(self._arrays[step.weight])
            case Columns():
                return len(self._arrays[step.numbers])
            case Reduce() | Trees() | Neighbour():
                return 1
            case Concat():
                return sum(self._widths[name] for name in step.inputs)
            case Cell() | Hidden():
                return self._widths[step.inputs[0]] // 4
            case Convolve():
                return len(self._arrays[step.arrays[-1]])
            case Patches():
                return len(self._arrays[step.pixels]) * len(self._arrays[step.weight])
            case Lstm():
                return int(self._arrays[step.arrays[1]].shape[1]) * step.steps
            case Transform():
                return int(self._arrays[step.arrays[0]].shape[1]) * (step.heads + 1)
            case Activate() | Elementwise() | WithConstant() | Convert() | Normalise():
                return max(self._widths[name] for name in step.inputs)

    def _once(self, step: Dense) -> tuple[Dense, NDArray[Any]]:
        """A layer over values of which some come twice, over each once: the columns that meet the same are added."""
        parts = self._repeated[step.inputs[0]]
        weight = self._arrays[step.weight]
        ends = np.cumsum([self._widths[name] for name in parts])[:-1]
        of_part: dict[str, NDArray[Any]] = {}
        for name, columns in zip(parts, np.split(weight.astype(np.float64), ends, axis=1), strict=True):
            of_part[name] = of_part[name] + columns if name in of_part else columns
        if len(of_part) > 1:
            self._put("concat", 0, [self._values[name] for name in of_part])
            joined = f"{step.output} reads"
            self._values[joined] = len(self.steps)
        else:
            joined = parts[0]
        return replace(step, inputs=(joined,)), np.concatenate([*of_part.values()], axis=1).astype(weight.dtype)

    def _write(self, step: Step) -> None:
        kernels = native.extension
        assert kernels is not None
        match step:
            case Dense():
                weight = self._real(step.weight)
                if step.inputs[0] in self._repeated:
                    step, weight = self._once(step)
                arrays = [weight, self._real(step.bias)]
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
            case Normalise() | Cell() | Hidden():
                self._add(step.kind, step)
            case Convolve():
                arrays = [self._array(name) for name in step.arrays]
                self._add("convolution", step, arrays=arrays, number=step.positions)
            case Lstm():
                arrays = [self._array(name) for name in step.arrays]
                self._add("lstm", step, int(step.backwards), arrays, number=step.steps)
            case Patches():
                arrays = [self._array(name) for name in (step.weight, step.bias, step.pixels)]
                word = kernels.ACTIVATIONS[step.activation]
                self._add("patches", step, word, arrays, step.slope, number=step.channels)
            case Transform():
                form, arrays = step.gated + 2 * step.plain_first, [self._array(name) for name in step.arrays]
                self._add("transformer", step, form, arrays, number=step.heads)

    def _add(
        self, kind: str, step: Step, word: int = 0, arrays: Sequence[NDArray[Any]] = (), slope: float = 0.0,
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
