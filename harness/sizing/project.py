"""What a machine that is not here would serve: bounds from the resources of both, never a point.

The time of a row is spent on arithmetic, on memory and on everything else (the interpreter, the call, branches), one
after the other or at the same time. Whatever the shares, each part scales with its own resource; so the rate scales by
no less than the least of the three ratios and by no more than the greatest. What is not known of a resource widens its
ratio. Above the roofline of the other machine there is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import InputError, unknown
from harness.platform.cputable import CpuTable, cpu_tables
from harness.platform.machine import MachineModel, models
from harness.record.size_model import Capacity, Projection, Size, SizedConfiguration, SizeRoof

_OTHER_WORK = (0.5, 1.5)  # instructions per cycle outside of kernels, one architecture against another


@dataclass(frozen=True)
class Span:
    """A quantity that lies between two values."""

    low: float
    high: float

    def over(self, other: Span) -> Span:
        """The ratio of two of them."""
        return Span(self.low / other.high, self.high / other.low)


@dataclass(frozen=True)
class Resources:
    """What a number of cores has.

    Attributes:
        compute: operations per second of its kernels' number format.
        bandwidth: bytes per second between them and memory.
        other: speed of everything else, in any unit that both machines share.
    """

    compute: Span
    bandwidth: Span
    other: Span


def bounds(capacity: Capacity, here: Resources, there: Resources, operations_per_row: float | None) -> Span:
    """Bounds of the rate there, from the interval of the rate here."""
    ratios = [
        there.compute.over(here.compute), there.bandwidth.over(here.bandwidth), there.other.over(here.other)
    ]  # fmt: skip
    high = capacity.high * max(ratio.high for ratio in ratios)
    if operations_per_row:
        high = min(high, there.compute.high / operations_per_row)
    return Span(min(capacity.low * min(ratio.low for ratio in ratios), high), high)


def project(size: Size, mtm: str) -> Projection:
    """The chosen configuration of a sizing on a machine of the table.

    Raises:
        InputError: the machine is not in the table or its clock is not, or the sizing has no answer or no roof.
    """
    chosen, roof = size.answer.chosen, size.roof
    if mtm not in models():
        raise unknown("machine", mtm, models(), where="--on")
    need = size.answer.question.need
    if chosen is None or roof is None:
        what = "answer" if chosen is None else "measured roof"
        raise InputError(f"--on {mtm}: this sizing has no {what}.", remedy="Measure: lparbench size WORKLOAD.")
    model = models()[mtm]
    there, assumptions = _there(model, chosen)
    rate = bounds(chosen.capacity, _here(size, roof, chosen), there, size.workload.operations_per_row)
    return Projection(
        mtm=mtm,
        machine=model.name,
        cores=chosen.cores,
        threads_per_core=chosen.threads_per_core,
        low=rate.low,
        high=rate.high,
        enough=True if rate.low >= need else False if rate.high < need else None,
        assumptions=(
            "the time of a row is arithmetic, memory and the rest, each scaled by its own resource, in any shares",
            *assumptions,
            f"outside of kernels a cycle there does {_OTHER_WORK[0]:g} to {_OTHER_WORK[1]:g} times as much as one here",
            "same software, same latency bound, the same share of it spent waiting",
        ),
    )


def _here(size: Size, roof: SizeRoof, chosen: SizedConfiguration) -> Resources:
    """By the roof of one core: bandwidth is shared among cores in a way that was not measured."""
    clock_hz = size.facts.cpu.clock_max_hz or size.facts.cpu.clock_hz
    if clock_hz is None:
        raise InputError("--on: the clock of the measured machine is not known.", remedy="See: lparbench probe")
    cores = chosen.cores
    compute = cores * roof.operations_per_s
    return Resources(
        Span(compute, compute),
        Span(roof.bytes_per_s, cores * roof.bytes_per_s),
        Span(cores * clock_hz, cores * clock_hz),
    )


def _there(model: MachineModel, chosen: SizedConfiguration) -> tuple[Resources, tuple[str, ...]]:
    table = _table(model)
    largest = max((count for module in model.modules for count in module.cores_per_chip), default=0)
    bandwidths = [rate for module in model.modules for rate in module.bandwidth_per_chip.values()]
    if model.clock_hz is None or not bandwidths or table is None:
        raise InputError(
            f"--on: clock, bandwidth or peak of {model.name} is not in the table.",
            remedy=f"Machines with all of them: {', '.join(sorted(_complete()))}.",
        )
    if chosen.cores > largest:
        raise InputError(
            f"--on: {chosen.cores} cores are more than a chip of {model.name} has ({largest}).",
            remedy="Size for a part of the rate, as two partitions.",
        )
    halves = min(table.halves_per_core, chosen.threads_per_core)
    per_half = [rate for unit in table.unit for name, rate in unit.ops_per_cycle.items() if name == "float32"]
    peaks = [rate * halves * chosen.cores for rate in per_half]
    low_hz, high_hz = model.clock_hz
    resources = Resources(
        Span(min(peaks) * low_hz, max(peaks) * high_hz),
        Span(min(bandwidths) * chosen.cores / largest, max(bandwidths)),
        Span(chosen.cores * low_hz * _OTHER_WORK[0], chosen.cores * high_hz * _OTHER_WORK[1]),
    )
    names = [unit.name for unit in table.unit]
    assumptions = (
        f"float32 kernels reach a share of the peak between {names[-1]} and {names[0]} as they do of the roof here",
        f"{low_hz / 1e9:.2f} to {high_hz / 1e9:.2f} GHz, {'both halves' if halves > 1 else 'one half'} of each core",
        f"memory between the cores' share and all of a chip's {max(bandwidths) / 1e9:.0f} GB/s, all slots filled",
    )
    return resources, assumptions


def _table(model: MachineModel) -> CpuTable | None:
    return next((table for table in cpu_tables() if model.generation in table.match.generation), None)


def _complete() -> set[str]:
    return {
        mtm
        for mtm, model in models().items()
        if model.clock_hz is not None and any(module.bandwidth_per_chip for module in model.modules)
    }
