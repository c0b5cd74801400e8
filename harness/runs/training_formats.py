"""The number formats that a run trains in besides float32, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable

from harness.detectors.registry import BUILT_IN, rounds_products
from harness.errors import InputError
from harness.linalg import native
from harness.record.spec import Protocol, RunSpec, TrainingDtype
from harness.workload.model import Workload

_OPTION = "--train-dtypes"


def lower_formats(workload: Workload, spec: RunSpec, protocol: Protocol) -> tuple[TrainingDtype, ...]:
    """Formats other than float32: those asked for, or the workload's own."""
    asked = workload.training_for(protocol).dtypes if spec.train_dtypes is None else spec.train_dtypes
    return tuple(dtype for dtype in dict.fromkeys(asked) if dtype != "float32")


def check_training_formats(workloads: Iterable[Workload], spec: RunSpec) -> None:
    """See that each workload can be trained in the formats that are asked for, and that the native backend is there.

    Raises:
        InputError: naming the workload, and what can be trained so.
    """
    for workload in workloads:
        formats = " and ".join(lower_formats(workload, spec, spec.protocol))
        if not formats:
            continue
        if not rounds_products(workload.detector, workload.parameters_for(spec.protocol, 0)):
            able = ", ".join(name for name in BUILT_IN if rounds_products(name, {}))
            raise InputError(
                f"{workload.name}: {workload.detector} is not trained in {formats}.",
                remedy=f"Give {_OPTION} float32, or take a workload of: {able}.",
            )
        if spec.ranks is not None:
            raise InputError(
                f"{workload.name}: several ranks train in float32, not in {formats}.",
                remedy=f"Leave out --ranks, or give {_OPTION} float32.",
            )
        if "native" not in (spec.backends or workload.inference.backends):
            raise InputError(
                f"{workload.name}: the native backend alone trains in {formats}, and it is not asked for.",
                remedy=f"Add native to --backends, or give {_OPTION} float32.",
            )


def check_processor(workloads: Iterable[Workload], spec: RunSpec) -> None:
    """See that the native kernels are built, and this processor multiplies in the formats that are asked for.

    Raises:
        InputError: it does not, and which processors do.
    """
    wanted = dict.fromkeys(dtype for each in workloads for dtype in lower_formats(each, spec, spec.protocol))
    for dtype in wanted:
        if not native.select().multiplies(dtype):
            raise InputError(
                f"This processor has no {dtype} products, which a training in {dtype} needs.",
                remedy=f"Give {_OPTION} float32, or run it on POWER10 or later, or on x86 with AVX-512 BF16.",
            )
