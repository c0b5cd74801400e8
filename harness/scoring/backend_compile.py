"""Backend ``compile``: the exported program as a torch function, compiled by ``torch.compile``.

The scorer is compiled when it is opened, for one row and for any larger number of rows, so that no call compiles.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.scoring.artifacts import Artifacts
from harness.scoring.evaluate import combine
from harness.scoring.program import (
    ROWS,
    SCORE,
    Activate,
    Activation,
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
    Reduction,
    Step,
    Transform,
    Trees,
    WithConstant,
)
from harness.scoring.tokens import EPSILON

if TYPE_CHECKING:
    from torch import Tensor

ROWS_PER_CALL = 4096  # bounds the activations of one call to what second-level caches hold
_REMEDY = "Install g++ and Python's headers (python3-dev), or name a compiler in CXX."


@cache
def missing_compiler() -> str | None:
    """Why ``torch.compile`` cannot work here, as a sentence with its remedy; None when a C++ compiler works."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return f"torch.compile needs a C++ compiler, and there is none here. {_REMEDY}"
    argv = [compiler, "-x", "c++", "-fsyntax-only", f"-I{sysconfig.get_path('include')}", "-"]
    program = "#include <Python.h>\n#include <vector>\n"
    try:
        done = subprocess.run(argv, input=program, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"torch.compile needs a C++ compiler, and {compiler} does not answer: {error}. {_REMEDY}"
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[:1]
        return f"torch.compile needs a C++ compiler that works; {compiler} says: {' '.join(reason)} {_REMEDY}"
    return None


class CompiledScorer:
    """Scores through one compiled function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Anomaly score of each row."""
        if 0 < len(X) <= ROWS_PER_CALL:
            return self._call(X)
        out = np.empty(len(X), dtype=np.float32)
        for start in range(0, len(X), ROWS_PER_CALL):
            out[start : start + ROWS_PER_CALL] = self._call(X[start : start + ROWS_PER_CALL])
        return out

    def _call(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            scores: NDArray[np.float32] = self._function(torch.from_numpy(X)).numpy()
        return scores


def open_backend(artifacts: Artifacts, threads: int) -> CompiledScorer:
    """Compile the program; torch's intra-op pool is set to ``threads`` for the whole process.

    Raises:
        InputError: there is no C++ compiler that works, or it fails.
    """
    missing = missing_compiler()
    if missing is not None:
        raise InputError(missing)
    # compiled code stays with what it was compiled from, and no compiler process outlives the opening
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(artifacts.directory / "inductor")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    import torch

    torch.set_num_threads(threads)
    scorer = CompiledScorer(torch.compile(as_function(artifacts.program()), dynamic=True))
    try:
        for rows in (1, 2, 64):
            scorer.score(np.zeros((rows, artifacts.n_features), dtype=np.float32))
    except Exception as error:  # the compiler's and torch's own types, all of which mean the same here
        first = str(error).strip().splitlines()[:1]
        raise InputError(f"torch.compile failed: {' '.join(first)}", remedy="Use backend eager instead.") from error
    return scorer


def missing_operation(program: Program) -> str | None:
    """The first kind of step that has no torch function here; None when all have."""
    return next(
        (step.kind for step in program.steps if isinstance(step, Trees | Neighbour | Transform | Cell | Hidden | Lstm)),
        None,
    )


def as_function(program: Program) -> Callable[[Tensor], Tensor]:
    """The program as a function of rows (n, d) to scores (n,), float32.

    Raises:
        InputError: a step has no torch function here.
    """
    import torch

    missing = missing_operation(program)
    if missing is not None:
        raise InputError(f"torch.compile has no {missing} here.", remedy="Use backend eager instead.")
    constants = {name: torch.from_numpy(array) for name, array in program.arrays.items()}

    def function(rows: Tensor) -> Tensor:
        values = {ROWS: rows}
        for step in program.steps:
            values[step.output] = _apply(step, [values[name] for name in step.inputs], constants)
        return values[SCORE].reshape(-1)

    return function


def _apply(step: Step, x: list[Tensor], constants: Mapping[str, Tensor]) -> Tensor:
    import torch
    from torch.nn import functional

    match step:
        case Dense():
            linear = functional.linear(x[0], constants[step.weight], constants[step.bias])
            return _activated(linear, step.activation, step.slope)
        case Activate():
            return _activated(x[0], step.activation, 0.0)
        case Elementwise():
            return combine(step.operator, x[0], x[1])
        case WithConstant():
            return combine(step.operator, x[0], constants[step.constant])
        case Concat():
            return torch.cat(x, dim=1)
        case Columns():
            return x[0].index_select(1, constants[step.numbers])
        case Convert():
            return x[0].double() if step.precision == "float64" else x[0].float()
        case Reduce():
            return _REDUCERS[step.reduction](x[0])
        case Normalise():
            return functional.layer_norm(x[0], x[0].shape[1:], eps=EPSILON)
        case Convolve():
            value = x[0].reshape(-1, step.positions, step.channels).mT
            for weight, bias in zip(step.arrays[::2], step.arrays[1::2], strict=True):
                kernel = constants[weight].reshape(len(constants[bias]), -1, value.shape[1]).mT
                value = torch.relu(functional.conv1d(value, kernel, constants[bias], padding="same"))
            return value.amax(dim=2)
        case Patches():
            split = x[0].reshape(len(x[0]), x[0].shape[1] // step.channels, step.channels)
            with_zeros = torch.cat([split, split.new_zeros(len(split), 1, step.channels)], dim=1)
            linear = functional.linear(
                with_zeros[:, constants[step.pixels]].flatten(2), constants[step.weight], constants[step.bias]
            )
            return _activated(linear, step.activation, step.slope).flatten(1)
        case Trees() | Neighbour() | Transform() | Cell() | Hidden() | Lstm():  # refused by as_function
            raise AssertionError(step.kind)


def _activated(x: Tensor, activation: Activation, slope: float) -> Tensor:
    import torch
    from torch.nn import functional

    match activation:
        case "identity":
            return x
        case "leaky_relu":
            return functional.leaky_relu(x, slope)
        case "softplus":
            return functional.softplus(x)
        case "gelu":
            return functional.gelu(x)
        case "relu" | "tanh" | "sigmoid" | "exp" | "abs":
            function: Callable[[Tensor], Tensor] = getattr(torch, activation)
            return function(x)


_REDUCERS: dict[Reduction, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(1, keepdim=True),
    "sum": lambda x: x.sum(1, keepdim=True),
    "abs_sum": lambda x: x.abs().sum(1, keepdim=True),
    "square_sum": lambda x: x.square().sum(1, keepdim=True),
    "square_mean": lambda x: x.square().mean(1, keepdim=True),
    "l2": lambda x: x.square().sum(1, keepdim=True).sqrt(),
    "min": lambda x: x.amin(1, keepdim=True),
    "max": lambda x: x.amax(1, keepdim=True),
    "log_sum_exp": lambda x: x.logsumexp(1, keepdim=True),
}
