"""How near the dense work of a run comes to what its CPUs can do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from harness.gemm import native
from harness.platform.cputable import peak
from harness.platform.facts import Core, Facts
from harness.record.model import Metric, Result, Roof, Roofline

_SECONDS = 0.1
_FLOPS_PER_MAC = 2


def measured_peak(cpus: Sequence[int]) -> dict[str, Any] | None:
    """Highest fp32 rate of a register-only multiply-add loop on all of ``cpus`` at once; None without native kernels.

    Run it in a worker process that does nothing else. Keys: ``flop_per_s``, ``isa``.
    """
    extension = native.extension
    if extension is None:
        return None
    isa = native.select()

    def on(cpu: int) -> float:
        os.sched_setaffinity(0, {cpu})  # of this thread
        return float(extension.peak_ops(isa.index, native.DTYPES.index("float32"), _SECONDS))

    with ThreadPoolExecutor(len(cpus)) as pool:
        rates = list(pool.map(on, cpus))
    return {"flop_per_s": sum(rates), "isa": isa.name}


def roofline(measured: Mapping[str, Any] | None, facts: Facts, cpus: Sequence[int]) -> Roofline | None:
    """The measured compute roof with the processor table's peak of the same CPUs beside it."""
    if measured is None or facts.emulation.emulated:
        return None
    halves = sum(len(_halves_touched(core, cpus)) for core in facts.topology.cores)
    table, clock_hz = peak(facts.cpu, "fp32", halves), facts.cpu.clock_max_hz or facts.cpu.clock_hz
    theoretical = None if table is None or clock_hz is None else table.ops_per_cycle * clock_hz
    rate = Metric(measured["flop_per_s"], "FLOP/s", n=1, note="best of some hundred samples in one process")
    roof = Roof("compute", "float32", rate, theoretical, measured["isa"])
    return Roofline(cpus=tuple(cpus), roofs=(roof,))


def with_shares(
    results: Sequence[Result], roof: Roofline | None, macs_per_row: Mapping[str, int | None]
) -> tuple[Result, ...]:
    """The results with the share of the measured roof that scoring reaches, by its multiply-adds and its rate."""
    if roof is None or not roof.roofs[0].rate.value:
        return tuple(results)
    ceiling = roof.roofs[0].rate.value
    return tuple(_with_share(result, ceiling, macs_per_row.get(result.workload)) for result in results)


def _with_share(result: Result, ceiling: float, macs: int | None) -> Result:
    rate = result.metrics.get("rows_per_s")
    if not macs or rate is None or rate.value is None or result.dtype != "float32":
        return result
    return replace(result, share_of_peak=_FLOPS_PER_MAC * macs * rate.value / ceiling)


def _halves_touched(core: Core, cpus: Sequence[int]) -> list[tuple[int, ...]]:
    halves = core.halves or (core.cpus,)
    return [half for half in halves if set(half) & set(cpus)]
