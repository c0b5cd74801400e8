"""What ``lparbench kernels`` prints: roofs, memory by pairs of nodes, and rates of kernels."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.decode import encode
from harness.record.model import Roofline
from harness.reporting.console import add_columns, bare_table, print_table, standard_output
from harness.reporting.sections.roof import reached
from harness.reporting.text import percent
from harness.roofline.measured import MeasuredRoof
from harness.roofline.probes import MemoryRoof
from harness.roofline.rates import MeasuredKernel, rate_unit

_LEFT = {"Type", "Kernel", "Probe", "Ran on", "Note"}
_GIGA, _NANO = 1e9, 1e9  # of a rate; in a second


def kernels_json(measured: MeasuredRoof, roofline: Roofline) -> str:
    """The roofline as a record holds it, and under ``memory`` every pair of nodes with its latency."""
    return json.dumps({**encode(roofline), "memory": encode(measured.memory)}, indent=2)


def print_kernels(measured: MeasuredRoof, roofline: Roofline) -> None:
    """Print to stdout."""
    console = standard_output()
    streamed = [rate for rate in measured.kernels if rate.operations_per_byte is not None]
    cached = [rate for rate in measured.kernels if rate.operations_per_byte is None]
    tables = [("Compute roof", _compute_table(roofline))]
    if measured.memory:
        tables.append(("Memory", _memory_table(measured.memory)))
    tables.append(("Kernels in cache: batched GEMM and dense chains", _rates_table(cached)))
    if streamed:
        tables.append(("Kernels from memory: batched GEMM", _rates_table(streamed)))
    for title, table in tables:
        console.print(Text(title, style="bold"))
        print_table(console, table)
        console.print()
    for note in (*_of_rounds(measured), *_ran_on(measured.kernels), *roofline.notes):
        console.print(Text(note))


def _table(*columns: str) -> Table:
    table = bare_table()
    add_columns(table, columns, right=set(columns) - _LEFT)
    return table


def _compute_table(roofline: Roofline) -> Table:
    table = _table("Type", "Measured", "Rounds", "By the table", "Reached", "Ran on")
    for roof in roofline.roofs:
        if roof.kind != "compute":
            continue
        by_table = "not known" if roof.theoretical is None else _giga(roof.theoretical, roof.rate.unit)
        rate = roof.rate
        measured, rounds = _giga(rate.value or 0.0, rate.unit), _span(_ends(rate.ci_low, rate.ci_high), _GIGA)
        table.add_row(roof.name, measured, rounds, by_table, reached(roof), roof.ran_on or "–")
    return table


def _memory_table(memory: Sequence[MemoryRoof]) -> Table:
    table = _table("Probe", "CPUs of node", "Memory of node", "Measured", "Rounds", "Note")
    for entry in memory:
        latency = f"{entry.latency_s * _NANO:.0f} ns"
        for probe, best, rounds, unit in (
            ("Triad", _giga(entry.triad_bytes_per_s, "B/s"), entry.triad_rounds, _GIGA),
            ("Sum", _giga(entry.read_bytes_per_s, "B/s"), entry.read_rounds, _GIGA),
            ("Latency", latency, entry.latency_rounds, 1 / _NANO),
        ):
            nodes = (str(entry.cpu_node), str(entry.memory_node))
            table.add_row(probe, *nodes, best, _span(rounds, unit), entry.refused or "")
    return table


def _rates_table(rates: Sequence[MeasuredKernel]) -> Table:
    """One row per kernel and number format; a rate, its rounds and its share of the roof per backend."""
    backends = tuple(dict.fromkeys(rate.backend for rate in rates))
    rows: dict[tuple[str, str], dict[str, MeasuredKernel]] = {}
    for rate in rates:
        rows.setdefault((rate.label, rate.dtype), {})[rate.backend] = rate
    table = _table("Kernel", "Type", *(title for name in backends for title in (name, "rounds", "of roof")))
    for (label, dtype), by_backend in rows.items():
        table.add_row(label, dtype, *(cell for backend in backends for cell in _rate_cells(by_backend.get(backend))))
    return table


def _rate_cells(rate: MeasuredKernel | None) -> tuple[str, str, str]:
    if rate is None:
        return "–", "–", "–"
    share = "above" if rate.share_of_roof > 1.0 else percent(rate.share_of_roof)
    return _giga(rate.ops_per_s, rate_unit(rate.dtype)), _span(rate.rounds, _GIGA), share


def _ends(low: float | None, high: float | None) -> tuple[float, ...]:
    return () if low is None or high is None else (low, high)


def _span(rounds: Sequence[float], unit: float) -> str:
    """The least and the greatest of several rounds, in ``unit``s; nothing of a single one."""
    if len(rounds) < 2:
        return "–"
    low, high = (f"{value / unit:.1f}" for value in (min(rounds), max(rounds)))
    return low if low == high else f"{low}–{high}"


def _of_rounds(measured: MeasuredRoof) -> list[str]:
    """What the columns of rounds are."""
    rounds = max(
        (*(len(roof.rounds) for roof in measured.compute), *(len(rate.rounds) for rate in measured.kernels), 0)
    )
    if rounds < 2:
        return []
    sure = 1 - 0.5 ** (rounds - 1)  # that not all rounds lie on the same side of the median
    return [
        f"Rates are the best of {rounds} rounds, as other work only lowers them; the least and the greatest round hold "
        f"the median round with {percent(sure)} confidence."
    ]


def _ran_on(rates: Sequence[MeasuredKernel]) -> list[str]:
    """What every backend and number format ran on."""
    lines = dict.fromkeys(f"{rate.backend} {rate.dtype}: {rate.ran_on}" for rate in rates)
    return [f"Ran on: {'; '.join(lines)}."] if lines else []


def _giga(value: float, unit: str) -> str:
    return f"{value / _GIGA:.1f} G{unit}"
