"""A measured roof as the record has it: with the peak of the processor table and what the workloads reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.errors import MeasurementError
from harness.linalg import native
from harness.measure.validity import Reason
from harness.platform.cpu import has_halves
from harness.platform.cputable import Peak, peak
from harness.platform.facts import Core, CpuFacts, Facts
from harness.platform.pinning import pinned_cpus
from harness.platform.second_clock import ClockWatch
from harness.record.model import KernelRate, Metric, Result, Roof, Roofline
from harness.roofline.measured import (
    ALONE,
    Heard,
    MeasuredRoof,
    NodePair,
    cache_to_exceed,
    measure,
    node_pairs,
    seconds_needed,
)
from harness.roofline.probes import ComputeRoof, MemoryRoof
from harness.roofline.rates import MeasuredKernel, rate_unit, roof_at, row_bytes

_NO_MEMORY = (
    "Memory was not measured: the size of the last-level cache is not known, or arrays that exceed it would take a "
    "quarter of the memory."
)
_LOW_ROOF = (
    "Some kernels are above their roof: it was measured too low, because other work used the CPU or the memory. "
    "Measure again on a quiet machine."
)
_OPERATIONS_PER_MAC = 2
_CLOCK_ERROR = 0.02  # of a measured clock, and of a rate against it
_TRAINING = 3  # products forward, of the weights' gradients and of the inputs'


@dataclass(frozen=True)
class Here:
    """What there is to measure of the CPUs that this process is pinned to; no memory without ``cache_bytes``."""

    pairs: tuple[NodePair, ...]
    cache_bytes: int | None

    @property
    def seconds(self) -> float:
        """How long that takes, about."""
        return seconds_needed(self.pairs, self.cache_bytes, ALONE)


def here(facts: Facts) -> Here:
    """What `measured_here` will measure.

    Raises:
        InputError: the native kernels are not built.
        MeasurementError: instructions are emulated, so that rates would say nothing about the machine.
    """
    native.select()  # without the kernels there is nothing to measure
    if facts.emulation.emulated:
        raise MeasurementError(
            "The instructions are emulated, so rates would say nothing about the machine.",
            remedy="`lparbench kernels --instructions` counts instructions instead, on a machine that can emulate.",
        )
    cpus = tuple(dict.fromkeys(pinned_cpus()))
    return Here(node_pairs(facts, cpus), cache_to_exceed(facts, cpus))


def measured_here(facts: Facts, what: Here, heard: Heard | None = None) -> tuple[MeasuredRoof, Roofline]:
    """Measure the CPUs, every node's memory and the kernels, at length; ``heard`` hears of it.

    Raises:
        MeasurementError: the clock is wrong.
    """
    clocks = ClockWatch()
    measured = measure(what.pairs, what.cache_bytes, ALONE, heard=heard)
    if (mismatch := clocks.disagreement()) is not None:
        raise MeasurementError(f"Rates would be wrong: {mismatch}.", remedy=Reason.CLOCK.remedy)
    roof = _roofline(measured, facts)
    if what.cache_bytes is None:
        roof = replace(roof, notes=(*roof.notes, _NO_MEMORY))
    return measured, roof


def roofline(measured: MeasuredRoof | None, facts: Facts) -> Roofline | None:
    """The measured roofs, each with the processor table's peak of the same CPUs, and the kernels below them.

    A rate above the table's peak is noted, on its roof and on the whole: it shows that the table is wrong.
    """
    return None if measured is None or facts.emulation.emulated else _roofline(measured, facts)


def _roofline(measured: MeasuredRoof, facts: Facts) -> Roofline:
    cpus = measured.cpus
    halves = sum(len(_halves_touched(core, cpus, facts.cpu)) for core in facts.topology.cores)
    reported_hz = facts.cpu.clock_max_hz or facts.cpu.clock_hz
    compute = [_compute(roof, peak(facts.cpu, roof.dtype, halves), reported_hz) for roof in measured.compute]
    memory = [_memory(roof, facts, cpus) for roof in measured.memory]
    notes = [note for note in (measured.evidence, *(wrong for _, wrong in compute)) if note]
    if clocks := [f"{roof.dtype} {roof.clock_hz / 1e9:.2f} GHz" for roof in measured.compute if roof.clock_hz]:
        notes.append(f"By the table: at the clock measured under these instructions: {', '.join(clocks)}.")
    if measured.measured_at is not None:
        notes.append(f"Measured in this state of the machine at {measured.measured_at}; --roofline measures again.")
    if measured.kernels:
        notes.append(f"Kernel rates: CPU {cpus[0]} alone, best of many calls, against its own roofs.")
    if any(kernel.share_of_roof > 1.0 for kernel in measured.kernels):
        notes.append(_LOW_ROOF)
    return Roofline(
        cpus=cpus,
        roofs=(*(roof for roof, _ in compute), *memory),
        kernels=tuple(_kernel(kernel) for kernel in measured.kernels),
        notes=tuple(notes),
    )


def share_of_table(roof: Roof) -> float | None:
    """The part of the table's peak that was reached; None where it is not known, or the table is wrong."""
    if roof.theoretical is None or roof.rate.value is None or above_table(roof):
        return None
    return min(1.0, roof.rate.value / roof.theoretical)


def above_table(roof: Roof) -> bool:
    """Whether more was measured than the table holds possible, by more than the clock is uncertain."""
    return roof.theoretical is not None and (roof.rate.value or 0.0) > (1 + _CLOCK_ERROR) * roof.theoretical


def _compute(measured: ComputeRoof, table: Peak | None, reported_hz: float | None) -> tuple[Roof, str]:
    """The roof, and what is wrong with its table."""
    clock_hz = measured.clock_hz or reported_hz
    theoretical = None if table is None or clock_hz is None else table.ops_per_cycle * clock_hz
    unit = rate_unit(measured.dtype)
    rate = _best(measured.ops_per_s, unit, measured.rounds, note="best of many repetitions in one process")
    roof = Roof("compute", measured.dtype, rate, theoretical, f"{measured.isa} {measured.kernel}")
    if table is None or clock_hz is None or not above_table(roof):
        return roof, ""
    wrong = (
        f"{measured.dtype}: more was measured than {table.table.file.name} holds possible "
        f"({table.ops_per_cycle:.0f} operations per cycle at {clock_hz / 1e9:.2f} GHz): "
        f"the table{'' if measured.clock_hz else ', or the clock that the system reports,'} is wrong."
    )
    note = "above the peak of the processor table, which is therefore wrong"
    return replace(roof, rate=replace(rate, note=note)), wrong


def _memory(measured: MemoryRoof, facts: Facts, cpus: Sequence[int]) -> Roof:
    if measured.memory_node is None:
        nodes = sorted({str(core.node) for core in facts.topology.cores if set(core.cpus) & set(cpus)})
        name = f"node {', '.join(nodes)}"
    else:
        name = f"node {measured.memory_node} from node {measured.cpu_node}"
    rounds = max(measured.triad_rounds, measured.read_rounds, key=lambda rates: max(rates, default=0.0))
    rate = _best(measured.best_bytes_per_s, "B/s", rounds, note=measured.refused)
    return Roof("memory", name, rate, None, "triad or sum, the faster")


def _best(value: float, unit: str, rounds: Sequence[float], note: str | None = None) -> Metric:
    """A best of rounds; the lowest and the highest of six hold the median of all rounds with 97 % confidence."""
    low, high = (min(rounds), max(rounds)) if len(rounds) > 1 else (None, None)
    return Metric(value, unit, low, high, n=max(1, len(rounds)), note=note)


def _kernel(measured: MeasuredKernel) -> KernelRate:
    return KernelRate(
        name=measured.name,
        backend=measured.backend,
        dtype=measured.dtype,
        rate=_best(measured.ops_per_s, rate_unit(measured.dtype), measured.rounds),
        operations_per_byte=measured.operations_per_byte,
        share_of_roof=measured.share_of_roof,
        ran_on=measured.ran_on,
    )


def with_shares(
    results: Sequence[Result], roof: Roofline | None, macs_per_row: Mapping[str, int | None]
) -> tuple[Result, ...]:
    """The results with the share of the measured roof that they reach, by their multiply-adds and undisturbed rate."""
    ceilings = _ceilings(roof)
    return tuple(
        _with_share(result, ceilings.get(result.dtype), macs_per_row.get(result.workload)) for result in results
    )


def with_workloads(
    roof: Roofline | None, results: Sequence[Result], macs_per_row: Mapping[str, int | None]
) -> Roofline | None:
    """The roofline with the workloads' own rates among the kernels: offline, rows read once, scores written once."""
    if roof is None:
        return None
    ceilings = _ceilings(roof)
    bandwidth = max((entry.rate.value or 0.0 for entry in roof.roofs if entry.kind == "memory"), default=0.0)
    added = []
    for result in results:
        ceiling, rate = ceilings.get(result.dtype), _operations(result, macs_per_row.get(result.workload))
        if result.scenario != "offline" or ceiling is None or rate is None or not result.dataset.features:
            continue
        macs = macs_per_row[result.workload] or 0
        intensity = _OPERATIONS_PER_MAC * macs / row_bytes(result.dataset.features)
        name = f"{result.title or result.workload}, batch {result.batch_size}"
        share = rate / roof_at(ceiling, bandwidth, intensity)
        unit = rate_unit(result.dtype)
        added.append(KernelRate(name, result.backend, result.dtype, Metric(rate, unit, n=1), intensity, share, None))
    return replace(roof, kernels=(*added, *roof.kernels))


def _ceilings(roof: Roofline | None) -> dict[str, float]:
    compute = [entry for entry in (roof.roofs if roof else ()) if entry.kind == "compute"]
    return {entry.name: entry.rate.value for entry in compute if entry.rate.value}


def _operations(result: Result, macs: int | None) -> float | None:
    """Operations per second; None where the result has no rate, or is no matter of dense layers."""
    training = result.scenario == "train"
    rate = result.metrics.get("train_rows_per_s_undisturbed" if training else "rows_per_s_undisturbed")
    if not macs or rate is None or rate.value is None:
        return None
    return _OPERATIONS_PER_MAC * macs * rate.value * (_TRAINING if training else 1)


def _with_share(result: Result, ceiling: float | None, macs: int | None) -> Result:
    rate = _operations(result, macs)
    return result if ceiling is None or rate is None else replace(result, share_of_peak=rate / ceiling)


def _halves_touched(core: Core, cpus: Sequence[int], processor: CpuFacts) -> list[tuple[int, ...]]:
    """By the caches, or where these do not tell, as the part is made."""
    halves = core.halves or (core.cpus,)
    if core.halves is None and has_halves(processor):
        halves = tuple(tuple(cpu for cpu in core.cpus if cpu % 2 == odd) for odd in (0, 1))
    return [half for half in halves if set(half) & set(cpus)]
