"""How near the dense work of a run comes to what its CPUs can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

from harness.platform.caches import last_level_bytes
from harness.platform.cputable import peak
from harness.platform.facts import Core, Facts
from harness.record.model import KernelRate, Metric, Result, Roof, Roofline

_SECONDS = 0.1
_KERNEL_SECONDS = 0.02
_STREAMED = (8, 64)  # squares whose operands come from memory
_OPERATIONS_PER_MAC = 2
_TRAINING = 3  # products forward, of the weights' gradients and of the inputs'
_TABLE_TYPES = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8"}
_ARRAYS = 12  # sizes of the last-level cache that the memory probe takes


def cache_to_exceed(facts: Facts, cpus: Sequence[int]) -> int | None:
    """Size of the last-level cache of ``cpus``; None where memory is not to be probed.

    That is under emulation, where the size is not known, and where the probe would take a quarter of the memory.
    """
    found = last_level_bytes(facts.caches, set(cpus))
    memory = sum(node.memory_bytes or 0 for node in facts.topology.nodes)
    if facts.emulation.emulated or not found or 4 * _ARRAYS * found > memory:
        return None
    return found


def measured_roof(cpus: Sequence[int], cache_bytes: int | None) -> dict[str, Any] | None:
    """What all of ``cpus`` reach at once in registers and in memory, and kernels on the first of them.

    Run it in a worker process that does nothing else. Keys: ``compute``, by number format the ``rate`` and what it
    ``ran_on``; ``bandwidth`` in bytes per second and ``kernels``, both empty without ``cache_bytes``. None
    without native kernels.
    """
    from harness.linalg import native
    from harness.roofline import cases, rates
    from harness.roofline.probes import compute_roof, memory_roof

    if native.extension is None:
        return None
    types = cases.available_types()
    whole = {dtype: roof for dtype in types if (roof := compute_roof(cpus, dtype, seconds=_SECONDS))}
    told: dict[str, Any] = {
        "compute": {
            dtype: {"rate": one.ops_per_s, "ran_on": f"{one.isa} {one.kernel}"} for dtype, one in whole.items()
        },
        "bandwidth": None,
        "kernels": [],
    }
    if cache_bytes is None:
        return told
    single = {dtype: one.ops_per_s / len(cpus) for dtype, one in whole.items()}

    def bandwidth_of(some: Sequence[int]) -> float:
        found = memory_roof(  # the launcher has set the memory policy
            some, cpu_node=0, memory_node=0, bind=lambda _node: None, cache_bytes=cache_bytes, seconds=_SECONDS
        )
        return found.best_bytes_per_s

    told["bandwidth"] = bandwidth_of(cpus)
    alone = told["bandwidth"] if len(cpus) == 1 else bandwidth_of(cpus[:1])
    everything = chain(
        cases.products(("native", "torch")), cases.chains(1), cases.chains(4096),
        cases.streamed_products(4 * cache_bytes, _STREAMED),
    )  # fmt: skip
    told["kernels"] = [asdict(one) for one in rates.kernel_rates(everything, cpus[0], single, alone, _KERNEL_SECONDS)]
    return told


def roofline(measured: Mapping[str, Any] | None, facts: Facts, cpus: Sequence[int]) -> Roofline | None:
    """The measured roofs with the processor table's peak of the same CPUs beside them, and the kernels below."""
    if measured is None or facts.emulation.emulated:
        return None
    from harness.roofline.rates import rate_unit

    roofs = []
    halves = sum(len(_halves_touched(core, cpus)) for core in facts.topology.cores)
    clock_hz = facts.cpu.clock_max_hz or facts.cpu.clock_hz
    for dtype, found in measured["compute"].items():
        table = peak(facts.cpu, _TABLE_TYPES[dtype], halves)
        theoretical = None if table is None or clock_hz is None else table.ops_per_cycle * clock_hz
        rate = Metric(found["rate"], rate_unit(dtype), n=1, note="best of some hundred samples in one process")
        roofs.append(Roof("compute", dtype, rate, theoretical, found["ran_on"]))
    if measured["bandwidth"]:
        nodes = sorted({str(core.node) for core in facts.topology.cores if set(core.cpus) & set(cpus)})
        name = f"node {', '.join(nodes)}"
        roofs.append(Roof("memory", name, Metric(measured["bandwidth"], "B/s", n=1), None, "triad or sum, the faster"))
    kernels = tuple(KernelRate(**{**one, "rate": Metric(**one["rate"])}) for one in measured["kernels"])
    notes = (f"Kernel rates: CPU {cpus[0]} alone, best of many calls.",) if kernels else ()
    return Roofline(cpus=tuple(cpus), roofs=tuple(roofs), kernels=kernels, notes=notes)


def with_shares(
    results: Sequence[Result], roof: Roofline | None, macs_per_row: Mapping[str, int | None]
) -> tuple[Result, ...]:
    """The results with the share of the measured roof that they reach, by their multiply-adds and their rate."""
    ceilings = _ceilings(roof)
    return tuple(_with_share(one, ceilings.get(one.dtype), macs_per_row.get(one.workload)) for one in results)


def with_workloads(
    roof: Roofline | None, results: Sequence[Result], macs_per_row: Mapping[str, int | None]
) -> Roofline | None:
    """The roofline with the workloads' own rates among the kernels: offline, rows read once, scores written once."""
    if roof is None:
        return None
    from harness.roofline.rates import rate_unit, roof_at

    ceilings = _ceilings(roof)
    bandwidth = next((one.rate.value for one in roof.roofs if one.kind == "memory" and one.rate.value), 0.0)
    added = []
    for result in results:
        ceiling, rate = ceilings.get(result.dtype), _operations(result, macs_per_row.get(result.workload))
        if result.scenario != "offline" or ceiling is None or rate is None or not result.dataset.features:
            continue
        macs = macs_per_row[result.workload] or 0
        intensity = _OPERATIONS_PER_MAC * macs / (4.0 * (result.dataset.features + 1))
        name = f"{result.title or result.workload}, batch {result.batch_size}"
        share = rate / roof_at(ceiling, bandwidth, intensity)
        unit = rate_unit(result.dtype)
        added.append(KernelRate(name, result.backend, result.dtype, Metric(rate, unit, n=1), intensity, share, None))
    return replace(roof, kernels=(*added, *roof.kernels))


def _ceilings(roof: Roofline | None) -> dict[str, float]:
    compute = [one for one in (roof.roofs if roof else ()) if one.kind == "compute"]
    return {one.name: one.rate.value for one in compute if one.rate.value}


def _operations(result: Result, macs: int | None) -> float | None:
    """Operations per second; None where the result has no rate, or is no matter of dense layers."""
    training = result.scenario == "train"
    rate = result.metrics.get("train_rows_per_s" if training else "rows_per_s")
    if not macs or rate is None or rate.value is None:
        return None
    return _OPERATIONS_PER_MAC * macs * rate.value * (_TRAINING if training else 1)


def _with_share(result: Result, ceiling: float | None, macs: int | None) -> Result:
    rate = _operations(result, macs)
    return result if ceiling is None or rate is None else replace(result, share_of_peak=rate / ceiling)


def _halves_touched(core: Core, cpus: Sequence[int]) -> list[tuple[int, ...]]:
    halves = core.halves or (core.cpus,)
    return [half for half in halves if set(half) & set(cpus)]
