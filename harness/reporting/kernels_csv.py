"""Roofs and kernel rates as comma-separated values: one line per figure, full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from harness.record.model import Metric, Roofline
from harness.roofline.assemble import above_table, share_of_table
from harness.roofline.measured import MeasuredRoof
from harness.wording import inert

COLUMNS = (
    "kind", "name", "backend", "dtype", "cpus_of_node", "memory_of_node", "value", "unit", "round_low", "round_high",
    "rounds", "by_table", "share_of_table", "above_table", "operations_per_byte", "share_of_roof", "ran_on", "note",
)  # fmt: skip

_Row = dict[str, str | float | int | None]


def kernels_csv(measured: MeasuredRoof, roofline: Roofline) -> str:
    """Every figure that ``lparbench kernels`` prints; empty where it is not known or does not apply."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval=None, lineterminator="\n")
    writer.writeheader()
    for row in (*_compute(roofline), *_memory(measured), *_kernels(roofline)):
        writer.writerow({name: inert(cell) for name, cell in row.items()})
    return buffer.getvalue()


def _compute(roofline: Roofline) -> Iterator[_Row]:
    for roof in roofline.roofs:
        if roof.kind == "compute":
            yield {
                "kind": "compute", "name": roof.name, "dtype": roof.name, "by_table": roof.theoretical,
                "share_of_table": share_of_table(roof), "above_table": int(above_table(roof)), "ran_on": roof.ran_on,
                **_figure(roof.rate),
            }  # fmt: skip


def _memory(measured: MeasuredRoof) -> Iterator[_Row]:
    for entry in measured.memory:
        for kind, value, rounds, unit in (
            ("triad", entry.triad_bytes_per_s, entry.triad_rounds, "B/s"),
            ("sum", entry.read_bytes_per_s, entry.read_rounds, "B/s"),
            ("latency", entry.latency_s, entry.latency_rounds, "s"),
        ):
            low, high = (min(rounds), max(rounds)) if len(rounds) > 1 else (None, None)
            yield {
                "kind": kind, "cpus_of_node": entry.cpu_node, "memory_of_node": entry.memory_node,
                **_figure(Metric(value, unit, low, high, n=len(rounds) or 1, note=entry.refused)),
            }  # fmt: skip


def _kernels(roofline: Roofline) -> Iterator[_Row]:
    for kernel in roofline.kernels:
        yield {
            "kind": "kernel", "name": kernel.name, "backend": kernel.backend, "dtype": kernel.dtype,
            "operations_per_byte": kernel.operations_per_byte, "share_of_roof": kernel.share_of_roof,
            "ran_on": kernel.ran_on, **_figure(kernel.rate),
        }  # fmt: skip


def _figure(rate: Metric) -> _Row:
    return {
        "value": rate.value, "unit": rate.unit, "round_low": rate.ci_low, "round_high": rate.ci_high, "rounds": rate.n,
        "note": rate.note,
    }  # fmt: skip
