"""A chart with its heading and the table that holds its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reporting.sections.figures import Figure

Cell = str | Figure


@dataclass(frozen=True)
class Table:
    """Cells as text or as figures with their intervals; ``folded`` when the table is long."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """``chart`` is SVG from ``harness.reporting.charts``; ``table`` is None where another table holds the numbers."""

    title: str
    chart: str
    table: Table | None = None
    caption: str = ""
