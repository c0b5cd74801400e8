"""Roofline and kernels: the ceilings of the pinned set and what is reached of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from harness.record.model import KernelRate, Roof, Roofline, Run
from harness.reporting.charts.roofline import Ceiling, Kernel, roofline_chart
from harness.reporting.charts.svg import fitted
from harness.reporting.sections.figures import figure, roof_share
from harness.reporting.sections.panels import Cell, Panel, Table
from harness.reporting.text import number, percent, quantity, ranges
from harness.roofline.assemble import above_table, share_of_table

_MANY = 12  # rows from which a table is folded


@dataclass(frozen=True)
class RoofView:
    """The whole section."""

    cpus: str
    panels: tuple[Panel, ...]  # one per unit of rate
    roofs: Table
    workloads: Table  # rates of what was run, which say elsewhere what they ran on
    kernels: Table  # rates of single kernels
    notes: tuple[str, ...]


def roof_view(run: Run) -> RoofView | None:
    """The section, None when the record has no roofline, or has one made under emulation, whose rates mean nothing."""
    roofline = run.roofline
    if roofline is None or run.facts.emulation.emulated:
        return None
    return RoofView(
        cpus=ranges(roofline.cpus),
        panels=tuple(_panels(roofline)),
        roofs=_roofs(roofline.roofs),
        workloads=_kernels([kernel for kernel in roofline.kernels if kernel.ran_on is None]),
        kernels=_kernels([kernel for kernel in roofline.kernels if kernel.ran_on is not None]),
        notes=roofline.notes,
    )


def _panels(roofline: Roofline) -> list[Panel]:
    memory = _ceilings([roof for roof in roofline.roofs if roof.kind == "memory"])
    charted = []
    units = dict.fromkeys(roof.rate.unit for roof in roofline.roofs if roof.kind == "compute")
    for at, unit in enumerate(units):
        compute = _ceilings([roof for roof in roofline.roofs if roof.kind == "compute" and roof.rate.unit == unit])
        points = [
            Kernel(kernel.backend, kernel.operations_per_byte, kernel.rate.value)
            for kernel in roofline.kernels
            if kernel.rate.unit == unit and kernel.operations_per_byte and kernel.rate.value
        ]
        if compute and points:  # ceilings alone are in the table
            charted.append((f"roof-{at}", unit, partial(_chart, compute[:4], memory, points, unit)))
    return [Panel(f"Roofline, {unit}", fitted(draw, key, alone=len(charted) == 1)) for key, unit, draw in charted]


def _chart(
    compute: Sequence[Ceiling], memory: Sequence[Ceiling], kernels: Sequence[Kernel], unit: str, key: str, width: int
) -> str:
    return roofline_chart(key, compute, memory, kernels, unit, width=width)


def _ceilings(roofs: Sequence[Roof]) -> list[Ceiling]:
    known = [Ceiling(roof.name, roof.rate.value) for roof in roofs if roof.rate.value]
    return sorted(known, key=lambda ceiling: -ceiling.rate)


def reached(roof: Roof) -> str:
    """The share of the processor table's peak; in words where the measurement refutes the table."""
    if above_table(roof):
        return "above the table"
    share = share_of_table(roof)
    if share == 1.0:  # no more above it than the clock is uncertain
        return "all of it"
    return "–" if share is None else percent(share)


def _roofs(roofs: Sequence[Roof]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{roof.name}, {roof.kind}",
            figure(roof.rate),
            "not known" if roof.theoretical is None else quantity(roof.theoretical, roof.rate.unit),
            reached(roof),
            roof.ran_on or "not known",
        )
        for roof in roofs
    ]
    return Table(("Roof", "Measured", "By the processor table", "Reached", "Ran on"), tuple(rows))


def _kernels(kernels: Sequence[KernelRate]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            kernel.name,
            kernel.backend,
            kernel.dtype,
            figure(kernel.rate),
            "–" if kernel.operations_per_byte is None else number(kernel.operations_per_byte),
            roof_share(kernel.share_of_roof),
            kernel.ran_on or "not known",
        )
        for kernel in kernels
    ]
    head = ("Kernel", "Backend", "Format", "Rate", "Operations per byte", "Of its roof", "Ran on")
    return Table(head, tuple(rows), folded=len(rows) > _MANY)
