"""The native kernels as Python sees them: which are here, and why not when they are not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from harness.errors import InputError
from harness.platform.pinning import pinned_cpus

try:
    import harness.linalg._native as extension
except ImportError as error:
    extension = None  # type: ignore[assignment]
    _reason: str | None = str(error)
else:
    _reason = None

__all__ = [
    "ACTIVATIONS", "DTYPES", "Activation", "Dtype", "Isa", "PlanStep", "default_threads", "extension", "isas",
    "missing", "notice", "select",
]  # fmt: skip

Dtype = Literal["float32", "bfloat16", "int8"]
Activation = Literal["identity", "relu", "leaky_relu", "tanh", "sigmoid"]

PlanStep = tuple[int, int, list[int], list[NDArray[Any]], float, int]  # kind, word, values, arrays, slope, number

DTYPES: tuple[Dtype, ...] = get_args(Dtype)
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
_WIDENED = "widened to float"  # name of a kernel without instructions of its own


@dataclass(frozen=True)
class Isa:
    """An instruction set the kernels were compiled for; ``kernels`` names the one for each number format."""

    index: int
    name: str
    supported: bool
    kernels: Mapping[Dtype, str | None]

    def kernel(self, dtype: Dtype) -> str | None:
        """Name of the kernel that products of this type run on."""
        return self.kernels[dtype]

    def multiplies(self, dtype: Dtype) -> bool:
        """Whether there are instructions for such products; other operands are widened to floats first."""
        return self.kernels[dtype] not in (None, _WIDENED)


def missing() -> str | None:
    """Why the native kernels cannot be used, as a sentence with its remedy; None when they can."""
    if _reason is None:
        return None
    return (
        f"The native kernels are not built ({_reason}); torch is used instead. "
        "Install a C compiler and run `pip install` again to build them."
    )


@cache
def notice() -> None:
    """Warn, once per process, that torch stands in for the native kernels."""
    reason = missing()
    if reason is not None:
        warnings.warn(reason, RuntimeWarning, stacklevel=3)


@cache
def isas() -> tuple[Isa, ...]:
    """Every instruction set compiled in, best first; empty when the kernels are not built."""
    if extension is None:
        return ()
    return tuple(
        Isa(index, name, supported, {dtype: kernels[extension.DTYPES[dtype]] for dtype in DTYPES})
        for index, (name, supported, kernels) in enumerate(extension.isas())
    )


def select(name: str | None = None) -> Isa:
    """The best supported instruction set, or the one called ``name``.

    Raises:
        InputError: the kernels are not built, or the name is unknown or not supported by this processor.
    """
    reason = missing()
    if reason is not None:
        raise InputError(reason)
    usable = [isa for isa in isas() if isa.supported and name in (None, isa.name)]
    if not usable:
        known = ", ".join(f"{isa.name}{'' if isa.supported else ' (not on this processor)'}" for isa in isas())
        raise InputError(f"instruction set {name!r}: expected one of {known}")
    return usable[0]


def default_threads() -> int:
    """Threads of the placement: OMP_NUM_THREADS where set, else one per CPU that this process was pinned to."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(pinned_cpus())
