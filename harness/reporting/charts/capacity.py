"""Capacity over cores with its intervals and the demand; latency over the rate with its bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reporting.charts.rates import Estimate
from harness.reporting.charts.svg import (
    INK,
    MARKS,
    WIDTH,
    drawing,
    few_ticks,
    legend,
    log_ticks,
    name_of,
    si_ticks,
    to_svg,
)
from harness.reporting.text import number, quantity
from harness.wording import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class CapacityCurve:
    """Capacities of one level; ``measured`` ones are points, the others the line between and beyond."""

    name: str
    cores: Sequence[int]
    rates: Sequence[Estimate]
    measured: Sequence[bool]


@dataclass(frozen=True)
class Trials:
    """Rates tried at one number of cores, with the latency at each."""

    name: str
    rates: Sequence[float]
    latencies: Sequence[float]


def capacity_chart(key: str, curves: Sequence[CapacityCurve], need: float, unit: str, *, width: int = WIDTH) -> str:
    """A line per level, an interval per measured number of cores, and the need as a level line."""
    with drawing(width=width) as (figure, axes):
        for mark, curve in zip(MARKS, curves, strict=False):
            values = [rate.value for rate in curve.rates]
            axes.plot(curve.cores, values, color=mark.colour, linestyle=mark.dashes, label=name_of(curve.name))
            for cores, rate, measured in zip(curve.cores, curve.rates, curve.measured, strict=True):
                if rate.low is not None and rate.high is not None:
                    width = 3 if measured else 1
                    axes.plot([cores, cores], [rate.low, rate.high], color=mark.colour, linewidth=width, alpha=0.6)
                if measured:
                    axes.plot([cores], [rate.value], mark.shape, color=mark.colour, markeredgecolor=INK)
        axes.axhline(need, color=INK, linewidth=1.2, linestyle=(0, (6, 3)))
        _name_line(axes, f"demand {number(need)} {unit}", need)
        axes.set_ylim(bottom=0)
        few_ticks(axes.xaxis, whole=True)
        few_ticks(axes.yaxis)
        si_ticks(axes.yaxis, unit)
        axes.set_xlabel("cores")
        axes.set_ylabel(unit)
        if len(curves) > 1:
            legend(axes)
        description = " ".join(
            f"{curve.name}: " + ", ".join(
                f"{quantity(rate.value, unit)} with {cores}"
                for cores, rate in zip(curve.cores, curve.rates, strict=True)
            ) + "."
            for curve in curves
        )  # fmt: skip
        return to_svg(
            figure, key=key, title="Capacity over cores", description=f"Demand {quantity(need, unit)}. {description}"
        )


def latency_chart(key: str, trials: Sequence[Trials], bound_s: float, *, width: int = WIDTH) -> str:
    """The 99th percentile at every rate tried, one mark per number of cores, and the bound."""
    with drawing(width=width) as (figure, axes):
        for mark, each in zip(MARKS, trials, strict=False):
            axes.plot(each.rates, each.latencies, mark.shape, color=mark.colour, markersize=4, alpha=0.7,
                      label=name_of(each.name))  # fmt: skip
        axes.axhline(bound_s, color=INK, linewidth=1.2, linestyle=(0, (6, 3)))
        _name_line(axes, f"bound {1e3 * bound_s:g} ms", bound_s)
        values = [latency for each in trials for latency in each.latencies]
        axes.set_yscale("log")
        log_ticks(axes.yaxis, min(values), max(values))
        si_ticks(axes.yaxis, "s")
        axes.set_xlim(left=0)
        few_ticks(axes.xaxis)
        si_ticks(axes.xaxis, "req/s")
        axes.set_xlabel("req/s")
        axes.set_ylabel("p99")
        if len(trials) > 1:
            legend(axes)
        description = " ".join(f"{each.name}: {plural(len(each.rates), 'trial')}." for each in trials)
        return to_svg(figure, key=key, title="Latency over rate", description=description)


def _name_line(axes: Axes, name: str, at: float) -> None:
    axes.annotate(name, (0.02, at), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=10.5)
