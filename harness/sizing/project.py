"""What a machine that is not here would serve: bounds from the resources of both, never a point.

The time of a row is spent on arithmetic, on memory and on everything else (the interpreter, the call, branches), one
after the other or at the same time. Whatever the shares, each part scales with its own resource; so the rate scales by
no less than the least of the three ratios and by no more than the greatest. What is not known of a resource widens its
ratio. Above the roofline of the other machine there is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.detectors.published import PUBLISHED
from harness.errors import InputError, unknown
from harness.platform.cputable import CpuTable, cpu_tables
from harness.platform.machine import MachineModel, models
from harness.record.size_model import Capacity, CapacitySeries, Projection, Size, SizedConfiguration, SizeRoof
from harness.roofline.instructions import POWER10, Instructions, known_counts

_LEAST_PER_CYCLE = 0.5  # instructions of a native kernel whose operands are in cache
_OUTER_PRODUCTS = 2  # a cycle of one half
_OTHER_WORK = (0.5, 1.5)  # instructions per cycle outside of kernels, one architecture against another
# Kernels of two instruction sets reach other shares of their peaks: see tests/bench/projection_figures.py.
OTHER_KERNELS = 1.5


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
        kernels: rows per second of the native kernels alone, from the instructions that a row takes; None where these
            were not counted.
    """

    compute: Span
    bandwidth: Span
    other: Span
    kernels: Span | None = None


def bounds(
    capacity: Capacity, here: Resources, there: Resources, operations_per_row: float | None, shares: float = 1.0
) -> Span:
    """Bounds of the rate there, from the interval of the rate here.

    Args:
        shares: by what factor the share of the peak that kernels reach there may be another than here.
    """
    compute = there.compute.over(here.compute)
    ratios = [
        Span(compute.low / shares, compute.high * shares),
        there.bandwidth.over(here.bandwidth),
        there.other.over(here.other),
    ]
    high = capacity.high * max(ratio.high for ratio in ratios)
    low = capacity.low * min(ratio.low for ratio in ratios)
    if operations_per_row:
        high = min(high, there.compute.high / operations_per_row)
    if there.kernels is not None:
        # The kernels take their instructions there, and whatever else a row took here takes no longer than scaled.
        rest = capacity.low * min(ratio.low for ratio in ratios[1:])
        low, high = max(low, 1 / (1 / there.kernels.low + 1 / rest)), min(high, there.kernels.high)
    return Span(min(low, high), high)


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
    there, counted = _with_counts(there, model, size, chosen)
    operations = size.workload.operations_per_row
    rate = bounds(chosen.capacity, _here(size, roof, chosen), there, operations, OTHER_KERNELS)
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
            *counted,
            f"outside of kernels a cycle there does {_OTHER_WORK[0]:g} to {_OTHER_WORK[1]:g} times as much as one here",
            f"kernels there reach {1 / OTHER_KERNELS:.2g} to {OTHER_KERNELS:g} times the share of their peak as here",
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


def _with_counts(
    there: Resources, model: MachineModel, size: Size, chosen: SizedConfiguration
) -> tuple[Resources, tuple[str, ...]]:
    """With what the native kernels take there, where the instructions of such a row were counted."""
    table, series = _table(model), _series(size, chosen)
    counts = _counts(size, series)
    operations = size.workload.operations_per_row
    if model.clock_hz is None or table is None or table.dispatched_per_cycle is None or not operations or not counts:
        return there, ()
    per_cycle = table.dispatched_per_cycle
    per_operation = [
        (
            max(count.per_row / per_cycle, (count.outer_products_per_row or 0.0) / _OUTER_PRODUCTS) / (2 * macs),
            count.per_row / _LEAST_PER_CYCLE / (2 * macs),
        )
        for count in counts
        if (macs := count.macs_per_row) is not None
    ]
    halves = chosen.cores * min(table.halves_per_core, chosen.threads_per_core)
    fewest, most = (pick(each) for pick, each in zip((min, max), zip(*per_operation, strict=True), strict=True))
    low_hz, high_hz = model.clock_hz
    kernels = Span(halves * low_hz / (most * operations), halves * high_hz / (fewest * operations))
    instructions = [count.per_row / (2 * count.macs_per_row) for count in counts if count.macs_per_row]
    return replace(there, kernels=kernels), (
        f"native kernels take {min(instructions):.2g} to {max(instructions):.2g} instructions per operation, counted "
        f"under emulation of a POWER10, at {_LEAST_PER_CYCLE:g} to {per_cycle} of them a cycle and half",
    )


def _series(size: Size, chosen: SizedConfiguration) -> CapacitySeries | None:
    setting = (chosen.threads_per_core, chosen.layout)
    return next((series for series in size.series if (series.threads_per_core, series.layout) == setting), None)


def _counts(size: Size, series: CapacitySeries | None) -> list[Instructions]:
    """Of the same detector, number format and kind of call, on the matrix units."""
    if series is None or series.backend != "native":
        return []
    names = {name for name, entry in PUBLISHED.items() if entry.detector == size.workload.detector}
    alone = size.design.p99_s is not None  # requests are single rows
    return [
        count
        for count in known_counts().counts
        if count.name in names
        and (count.what, count.isa, count.dtype) == ("score", POWER10[0], series.dtype)
        and (count.rows == 1) == alone
        and count.macs_per_row is not None
    ]


def _table(model: MachineModel) -> CpuTable | None:
    return next((table for table in cpu_tables() if model.generation in table.match.generation), None)


def _complete() -> set[str]:
    return {
        mtm
        for mtm, model in models().items()
        if model.clock_hz is not None and any(module.bandwidth_per_chip for module in model.modules)
    }
