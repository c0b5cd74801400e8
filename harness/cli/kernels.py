"""``lparbench kernels``: the measured roof of the pinned CPUs, and what the kernels reach of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from harness.linalg.native import Dtype
    from harness.platform.facts import Facts
    from harness.record.model import KernelRate, Roof, Roofline
    from harness.roofline.probes import ComputeRoof, MemoryRoof

_TABLE_TYPES = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8"}
GEMM_PREFIX, STREAMED_SUFFIX = "batched GEMM ", ", from memory"  # of names that harness.roofline.cases gives
_FALLBACK_CACHE = 32 << 20  # where the system does not tell its last-level cache


def kernels(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Measure peak, memory bandwidth and latency of the CPUs this process may use, and the kernels below them.

    The peak is that of a loop on registers, beside the one of the processor's table. Kernel rates are those of one
    thread, with their share of one thread's peak. Pin first to measure a part of the machine.

    Example: `numactl --cpunodebind 0 --membind 0 lparbench kernels`
    """
    from harness.errors import MeasurementError
    from harness.linalg import native
    from harness.platform.probe import probe
    from harness.platform.sysroot import SysRoot

    native.select()  # without the kernels there is nothing to measure
    facts = probe(SysRoot("/"))
    if facts.emulation.emulated:
        raise MeasurementError(
            "The instructions are emulated, so rates would say nothing about the machine.",
            remedy="`python -m pytest tests/power10` counts instructions under emulation instead.",
        )
    found, matrix = measure(facts)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps({**asdict(found), "memory": [asdict(entry) for entry in matrix]}, indent=2))
        return
    _show(found, matrix)


def measure(facts: Facts) -> tuple[Roofline, list[MemoryRoof]]:
    """Roofs of the CPUs this process is pinned to, kernels below them, and every pair of nodes."""
    from harness.linalg import native
    from harness.placement.apply import set_memory_policy
    from harness.platform.pinning import pinned_cpus
    from harness.record.model import Roofline
    from harness.roofline.cases import available_types
    from harness.roofline.probes import compute_roof, memory_matrix, mma_evidence

    cpus = tuple(dict.fromkeys(pinned_cpus()))
    isa = native.select()
    types = available_types()
    whole = [roof for dtype in types if (roof := compute_roof(cpus, dtype))]
    single = {dtype: roof for dtype in types if (roof := compute_roof(cpus[:1], dtype))}
    by_node = {node.id: [cpu for cpu in cpus if cpu in node.cpus] for node in facts.topology.nodes}
    by_node = {node: members for node, members in by_node.items() if members} or {0: list(cpus)}
    targets = [node.id for node in facts.topology.nodes if node.memory_bytes != 0] or [0]
    cache = _last_level(facts, cpus)

    def memory(cpus_by_node: dict[int, list[int]]) -> list[MemoryRoof]:
        return memory_matrix(cpus_by_node, targets, bind=lambda node: set_memory_policy([node]), cache_bytes=cache)

    matrix = memory(by_node)
    home = next(node for node, members in by_node.items() if cpus[0] in members)
    alone = matrix if len(cpus) == 1 else memory({home: [cpus[0]]})
    rates = _kernel_rates(cpus[0], single, alone, cache)
    best = max((rate.rate.value or 0.0 for rate in rates if rate.dtype == "float32"), default=0.0)
    vector = compute_roof(cpus[:1], isa="vsx-power9") if isa.name == "mma" else None
    roofs = [_compute(roof, facts, cpus) for roof in whole] + [_memory(entry) for entry in matrix]
    notes = [
        mma_evidence(isa, best, vector),
        f"Kernel rates: CPU {cpus[0]} alone, best of many calls, beside its own roofs.",
    ]
    if any(roof.theoretical and (roof.rate.value or 0.0) > roof.theoretical for roof in roofs):
        notes.append("A roof above its table: the CPUs run faster than the clock that the system reports.")
    return Roofline(cpus, tuple(roofs), tuple(rates), tuple(notes)), matrix


def _kernel_rates(
    cpu: int, single: dict[Dtype, ComputeRoof], matrix: list[MemoryRoof], cache_bytes: int
) -> list[KernelRate]:
    from itertools import chain

    from harness.roofline import cases
    from harness.roofline.rates import kernel_rates

    everything = chain(
        cases.products(("native", "torch")),
        *(cases.products(("native",), dtype) for dtype in single if dtype != "float32"),
        cases.chains(1),
        cases.chains(4096),
        cases.streamed_products(4 * cache_bytes),
    )
    bandwidth = max((entry.best_bytes_per_s for entry in matrix), default=0.0)
    return kernel_rates(everything, cpu, {dtype: roof.ops_per_s for dtype, roof in single.items()}, bandwidth)


def _compute(roof: ComputeRoof, facts: Facts, cpus: tuple[int, ...]) -> Roof:
    from harness.platform.cputable import peak
    from harness.record.model import Metric, Roof

    halves = sum(
        len([half for half in core.halves or (core.cpus,) if set(half) & set(cpus)]) for core in facts.topology.cores
    )
    table = peak(facts.cpu, _TABLE_TYPES[roof.dtype], halves)
    clock = facts.cpu.clock_max_hz or facts.cpu.clock_hz
    theoretical = None if table is None or clock is None else table.ops_per_cycle * clock
    unit = "OP/s" if roof.dtype == "int8" else "FLOP/s"
    return Roof("compute", roof.dtype, Metric(roof.ops_per_s, unit, n=1), theoretical, f"{roof.isa} {roof.kernel}")


def _memory(entry: MemoryRoof) -> Roof:
    from harness.record.model import Metric, Roof

    name = f"node {entry.memory_node} from node {entry.cpu_node}"
    return Roof("memory", name, Metric(entry.triad_bytes_per_s, "B/s", n=1, note=entry.refused), None, "triad")


def _last_level(facts: Facts, cpus: tuple[int, ...]) -> int:
    """Bytes of all last-level caches that these CPUs have a part of."""
    from harness.platform.caches import last_level_bytes

    return last_level_bytes(facts.caches, set(cpus)) or _FALLBACK_CACHE


def _show(found: Roofline, matrix: list[MemoryRoof]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    streamed = [rate for rate in found.kernels if rate.name.endswith(STREAMED_SUFFIX)]
    cached = [rate for rate in found.kernels if not rate.name.endswith(STREAMED_SUFFIX)]
    tables = (
        ("Compute roof", _compute_table(found)),
        ("Memory", _memory_table(matrix)),
        ("Kernels in cache: batched GEMM and dense chains", _rates_table(cached)),
        ("Kernels from memory: batched GEMM", _rates_table(streamed)),
    )
    for title, table in tables:
        console.print(Text(title, style="bold"))
        console.print(table)
        console.print()
    for note in (*_ran_on(found.kernels), *found.notes):
        console.print(Text(note))


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in ("Type", "Kernel", "Ran on", "Note") else "right")
    return table


def _compute_table(found: Roofline) -> Table:
    table = _table("Type", "Measured", "By the table", "Reached", "Ran on")
    for roof in found.roofs:
        if roof.kind != "compute":
            continue
        share = "–" if not roof.theoretical else f"{(roof.rate.value or 0.0) / roof.theoretical:.1%}"
        by_table = "not known" if roof.theoretical is None else _giga(roof.theoretical, roof.rate.unit)
        table.add_row(roof.name, _giga(roof.rate.value or 0.0, roof.rate.unit), by_table, share, roof.ran_on or "–")
    return table


def _memory_table(matrix: list[MemoryRoof]) -> Table:
    table = _table("CPUs of node", "Memory of node", "Triad", "Read", "Latency", "Note")
    for entry in matrix:
        table.add_row(
            str(entry.cpu_node),
            str(entry.memory_node),
            _giga(entry.triad_bytes_per_s, "B/s"),
            _giga(entry.read_bytes_per_s, "B/s"),
            f"{entry.latency_s * 1e9:.0f} ns",
            entry.refused or "",
        )
    return table


def _rates_table(rates: Sequence[KernelRate]) -> Table:
    """One row per kernel and number format; a rate and its share of the roof per backend."""
    backends = tuple(dict.fromkeys(rate.backend for rate in rates))
    found: dict[tuple[str, str], dict[str, KernelRate]] = {}
    for rate in rates:
        found.setdefault((_short(rate.name), rate.dtype), {})[rate.backend] = rate
    table = _table("Kernel", "Type", *(title for name in backends for title in (name, "of roof")))
    for (name, dtype), by_backend in found.items():
        table.add_row(name, dtype, *(cell for backend in backends for cell in _rate_cells(by_backend.get(backend))))
    return table


def _rate_cells(rate: KernelRate | None) -> tuple[str, str]:
    if rate is None:
        return "–", "–"
    share = "–" if rate.share_of_roof is None else f"{rate.share_of_roof:.1%}"
    return _giga(rate.rate.value or 0.0, rate.rate.unit), share


def _short(name: str) -> str:
    """The name without what the table's title says, and without the widths of a net."""
    return re.sub(r" \d+(-\d+)+", "", name.removeprefix(GEMM_PREFIX).removesuffix(STREAMED_SUFFIX))


def _ran_on(rates: Sequence[KernelRate]) -> list[str]:
    """What every backend and number format ran on."""
    found = dict.fromkeys(f"{rate.backend} {rate.dtype}: {rate.ran_on}" for rate in rates)
    return [f"Ran on: {'; '.join(found)}."] if found else []


def _giga(value: float, unit: str) -> str:
    return f"{value / 1e9:.1f} G{unit}"
