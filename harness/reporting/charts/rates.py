"""What a machine delivers: rates of results, and rates over the batch size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.reporting.charts.svg import (
    HEIGHT,
    INK,
    MANY_MARKS,
    MARKS,
    PAPER,
    WIDTH,
    drawing,
    few_ticks,
    legend,
    log_ticks,
    name_of,
    row_labels,
    si_ticks,
    to_svg,
)
from harness.reporting.text import quantity

_WIDE_SPAN = 8.0  # fastest over slowest from which a linear axis would hide the slow ones
_NARROW_SPAN = 4.0  # largest over smallest rate from which a logarithmic axis has several ticks
_ROW = 34
_NAME = 16  # height of a name in the legend


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, which may be missing; in the unit of its chart."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RateRow:
    """One line of a comparison of rates; ``valid`` ones are filled."""

    name: str
    rate: Estimate
    valid: bool


@dataclass(frozen=True)
class BatchCurve:
    """Rates of one backend over batch sizes, ascending; those at ``hollow`` sizes are not valid."""

    name: str
    batches: Sequence[int]
    rates: Sequence[Estimate]
    hollow: Collection[int] = ()


def rates_chart(key: str, title: str, rows: Sequence[RateRow], unit: str, *, width: int = WIDTH) -> str:
    """One dot with its interval per row; a result that is not valid is a hollow diamond."""
    with drawing(height=52 + _ROW * len(rows), width=width) as (figure, axes):
        low = min(row.rate.low or row.rate.value for row in rows)
        high = max(row.rate.high or row.rate.value for row in rows)
        for at, row in enumerate(rows):
            if row.rate.low is not None and row.rate.high is not None:
                axes.plot([row.rate.low, row.rate.high], [at, at], color=MARKS[0].colour, linewidth=3, alpha=0.55)
            shape, fill = ("o", MARKS[0].colour) if row.valid else ("D", "none")
            axes.plot(
                [row.rate.value], [at], shape, markersize=7, markerfacecolor=fill, markeredgecolor=MARKS[0].colour
            )
        most = 40 if width == WIDTH else 60
        row_labels(axes, [f"{name_of(row.name, most)}{'' if row.valid else ' (not valid)'}" for row in rows], width)
        if low > 0 and high / low > _WIDE_SPAN:
            axes.set_xscale("log")
            axes.set_xlim(low / 1.3, high * 1.3)
            log_ticks(axes.xaxis, low, high)
        else:
            axes.set_xlim(0, high * 1.06 or 1)
            few_ticks(axes.xaxis)
        si_ticks(axes.xaxis, unit)
        axes.set_xlabel(unit)
        description = "; ".join(f"{row.name} {quantity(row.rate.value, unit)}" for row in rows)
        return to_svg(figure, key=key, title=title, description=f"{description}.")


def batch_chart(
    key: str, curves: Sequence[BatchCurve], unit: str, *, x: str = "batch size, rows", width: int = WIDTH
) -> str:
    """Rate over batch size, or whatever ``x`` names, one line per series, with intervals."""
    with drawing(height=HEIGHT + _NAME * max(0, len(curves) - 2), width=width) as (figure, axes):
        values = [rate.value for curve in curves for rate in curve.rates]
        for mark, curve in zip(MANY_MARKS, curves, strict=False):
            axes.plot(
                curve.batches, [rate.value for rate in curve.rates], color=mark.colour, linestyle=mark.dashes,
                marker=mark.shape, markeredgecolor=INK, markeredgewidth=0.6, label=name_of(curve.name, 40),
            )  # fmt: skip
            for batch, rate in zip(curve.batches, curve.rates, strict=True):
                if batch in curve.hollow:
                    axes.plot([batch], [rate.value], mark.shape, markerfacecolor=PAPER, markeredgecolor=mark.colour)
            for batch, rate in zip(curve.batches, curve.rates, strict=True):
                if rate.low is not None and rate.high is not None:
                    axes.plot([batch, batch], [rate.low, rate.high], color=mark.colour, linewidth=3, alpha=0.45)
        batches = sorted({batch for curve in curves for batch in curve.batches})
        axes.set_xscale("log", base=2)
        step = -(-len(batches) // 6)
        axes.set_xticks(batches[::-1][::step], [f"{batch:,}" for batch in batches[::-1][::step]])
        axes.xaxis.minorticks_off()
        axes.set_xlabel(x)
        if min(values) > 0 and max(values) / min(values) > _NARROW_SPAN:
            axes.set_yscale("log")
            log_ticks(axes.yaxis, min(values), max(values))
        else:
            axes.set_ylim(0, 1.08 * max(values) or 1)
            few_ticks(axes.yaxis)
        si_ticks(axes.yaxis, unit)
        axes.set_ylabel(unit)
        legend(axes)
        description = " ".join(
            f"{curve.name}: {quantity(curve.rates[0].value, unit)} at {curve.batches[0]},"
            f" {quantity(curve.rates[-1].value, unit)} at {curve.batches[-1]}."
            for curve in curves
        )
        return to_svg(figure, key=key, title=f"Rate over {x}", description=description)
