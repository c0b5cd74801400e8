"""Rates over two factors of a sweep: a grid whose cells hold their values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reporting.charts.svg import INK, MARKS, MUTED, WIDTH, drawing, name_of, to_svg
from harness.reporting.text import number, prefix_exponent, prefixed, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW = 46
_SPAN = 30.0  # highest over lowest value from which colours follow the logarithm
_LIGHTEST = 0.1  # of the darkest, for the lowest value of such a scale
_DARKEST = 0.45  # opacity of the highest value: its text must stay legible on it, in light and dark


@dataclass(frozen=True)
class Scale:
    """What all maps of a page colour their values by: the lowest and the highest of all of them.

    Colours are in proportion to the value; where values span orders of magnitude, to its logarithm.
    """

    low: float
    high: float

    def shade(self, value: float) -> float:
        """Opacity of a value."""
        if self.high <= 0 or value <= 0:
            return 0.0
        if self.high <= _SPAN * self.low:
            return _DARKEST * value / self.high
        share = math.log(value / self.low) / math.log(self.high / self.low) if self.low > 0 else 1.0
        return _DARKEST * (_LIGHTEST + (1 - _LIGHTEST) * min(max(share, 0.0), 1.0))


@dataclass(frozen=True)
class HeatAxis:
    """What rows or columns are, and their names in order."""

    name: str
    levels: Sequence[str]


@dataclass(frozen=True)
class HeatCell:
    """One setting: its value, whether it may be used, and whether it is the best or cannot be told from the best."""

    value: float
    valid: bool = True
    best: bool = False
    tied: bool = False


def heatmap_chart(
    key: str,
    title: str,
    rows: HeatAxis,
    columns: HeatAxis,
    cells: Mapping[tuple[int, int], HeatCell],
    *,
    unit: str,
    scale: Scale | None = None,
    width: int = WIDTH,
) -> str:
    """A grid of values; darker is more, framed is best, ``≈`` cannot be told from the best, ``✖`` is not valid.

    Args:
        key: unique in the page.
        title: what the grid shows.
        rows: from the top.
        columns: from the left.
        cells: (row, column) -> value; a setting that was not measured has none.
        unit: of the values.
        scale: of the page; None for that of these cells alone.
        width: of the chart.
    """
    with drawing(height=70 + _ROW * len(rows.levels), width=width) as (figure, axes):
        most = max((cell.value for cell in cells.values()), default=0.0)
        least = min((cell.value for cell in cells.values()), default=0.0)
        exponent = prefix_exponent(most, unit)
        for place, cell in sorted(cells.items()):
            _draw(axes, place, cell, (scale or Scale(least, most)).shade(cell.value), exponent)
        axes.grid(visible=False)
        axes.set_xlim(0, max(len(columns.levels), 1))
        axes.set_ylim(max(len(rows.levels), 1), 0)
        for axis, of, longest in ((axes.xaxis, columns, (10, 24)), (axes.yaxis, rows, (12, 30))):
            names = [name_of(name, longest[width > WIDTH]) for name in of.levels]
            axis.set_ticks([at + 0.5 for at in range(len(names))], names)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_ylabel(rows.name)
        axes.set_xlabel(f"{columns.name}; cells in {prefixed(unit, exponent)}")
        description = "; ".join(
            f"{rows.name} {rows.levels[row]}, {columns.name} {columns.levels[column]}: {quantity(cell.value, unit)}"
            f"{', best' if cell.best else ', tied with the best' if cell.tied else '' if cell.valid else ', not valid'}"
            for (row, column), cell in sorted(cells.items())
        )
        return to_svg(figure, key=key, title=title, description=f"{description}.")


def _draw(axes: Axes, place: tuple[int, int], cell: HeatCell, shade: float, exponent: int) -> None:
    from matplotlib.patches import Rectangle

    row, column = place
    if cell.valid:
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=MARKS[0].colour, alpha=shade, linewidth=0))
    frame = (INK, 2.4) if cell.best else (MUTED, 0.6)
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor="none", edgecolor=frame[0], linewidth=frame[1],
                             zorder=3 if cell.best else 2))  # fmt: skip
    sign = "≈ " if cell.tied else "" if cell.valid else "✖ "
    axes.text(column + 0.5, row + 0.5, f"{sign}{number(cell.value / 10.0**exponent)}", ha="center", va="center",
              fontsize=10.5, zorder=4, fontweight="bold" if cell.best else "normal")  # fmt: skip
