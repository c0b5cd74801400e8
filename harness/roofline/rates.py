"""Rates of kernels, with the roof that holds for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.linalg.interface import BackendName
from harness.linalg.native import Dtype
from harness.roofline.cases import Case
from harness.roofline.probes import best_rate, on_each


@dataclass(frozen=True)
class MeasuredKernel:
    """The best rate of one kernel on one CPU. ``share_of_roof`` is of the roof at its operations per byte."""

    name: str
    label: str  # the same, where a heading says what kind of kernel it is and where its operands come from
    backend: BackendName
    dtype: Dtype
    ops_per_s: float
    operations_per_byte: float | None  # None: the operands stay in cache
    share_of_roof: float
    ran_on: str
    rounds: tuple[float, ...] = ()  # rate of each round, of which ``ops_per_s`` is the highest


def rate_unit(dtype: str) -> str:
    """The unit of a rate in operations of this number format."""
    return "OP/s" if dtype == "int8" else "FLOP/s"


def roof_at(compute: float, bandwidth: float, operations_per_byte: float | None) -> float:
    """The roof of a kernel: ``compute``, or where its traffic with memory is known what ``bandwidth`` lets through."""
    if operations_per_byte is None or not bandwidth:
        return compute
    return min(compute, operations_per_byte * bandwidth)


def row_bytes(features: int) -> float:
    """Bytes between memory and a scorer for a row itself: read once as float32, its score written once."""
    return 4.0 * (features + 1)


def kernel_rates(
    kernels: Iterable[Case],
    cpu: int,
    ceilings: Mapping[Dtype, float],
    bandwidth: float,
    seconds: float,
    rounds: int = 1,
) -> list[MeasuredKernel]:
    """The best rate of each case on one CPU.

    Args:
        kernels: what to run, for about ``seconds`` each; made one by one, as each holds its operands.
        cpu: the CPU.
        ceilings: operations per second that it reaches in registers, by number format.
        bandwidth: bytes per second between it and memory; 0 where not known.
        seconds: per case, all rounds together.
        rounds: as many rates of each, of which the highest counts.
    """

    def run(_cpu: int) -> list[MeasuredKernel]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [_rated(case, ceilings[case.dtype], bandwidth, seconds, rounds) for case in kernels]
        finally:
            torch.set_num_threads(threads)

    return on_each([cpu], run)[0]


def _rated(case: Case, ceiling: float, bandwidth: float, seconds: float, rounds: int) -> MeasuredKernel:
    rates = tuple(best_rate(case.call, case.operations, seconds / rounds) for _ in range(rounds))
    rate = max(rates)
    intensity = None if case.traffic is None else case.operations / case.traffic
    share = rate / roof_at(ceiling, bandwidth, intensity)
    return MeasuredKernel(case.name, case.label, case.backend, case.dtype, rate, intensity, share, case.ran_on, rates)
