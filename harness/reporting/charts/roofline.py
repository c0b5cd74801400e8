"""The roofline: what the pinned set can do at most, and how far below it each kernel is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.reporting.charts.svg import INK, MARKS, MUTED, WIDTH, drawing, legend, log_ticks, name_of, si_ticks, to_svg
from harness.reporting.text import quantity

_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Ceiling:
    """A measured ceiling, in its unit per second."""

    name: str
    rate: float


@dataclass(frozen=True)
class Kernel:
    """One kernel: operations per byte and operations per second, both above 0."""

    backend: str
    intensity: float
    rate: float


def roofline_chart(
    key: str,
    compute: Sequence[Ceiling],
    memory: Sequence[Ceiling],
    kernels: Sequence[Kernel],
    unit: str,
    *,
    width: int = WIDTH,
) -> str:
    """Ceilings of arithmetic (level) and of memory (sloped), kernels as points by backend, on logarithmic axes.

    Args:
        key: unique in the page.
        compute: ceilings of arithmetic in ``unit``, highest first; at least one.
        memory: ceilings of memory in bytes per second, fastest first.
        kernels: the points.
        unit: of rates, such as "FLOP/s".
        width: of the chart.
    """
    with drawing(height=300, width=width) as (figure, axes):
        ridges = [top.rate / slope.rate for top in compute for slope in memory]
        spread = [*ridges, *(kernel.intensity for kernel in kernels)] or [1.0]
        left, right = min(spread) / 4, max(spread) * 4
        x = np.geomspace(left, right, 64)
        for dashes, top in zip(_DASHES, compute, strict=False):
            under = np.minimum(x * memory[0].rate, top.rate) if memory else np.full_like(x, top.rate)
            name = f"{name_of(top.name, 16)} {quantity(top.rate, unit)}"
            axes.plot(x, under, color=INK, linewidth=1.4, linestyle=dashes, label=name)
        for slope in memory[1:]:
            axes.plot(x, np.minimum(x * slope.rate, compute[0].rate), color=MUTED, linewidth=0.9)
        backends = list(dict.fromkeys(kernel.backend for kernel in kernels))
        for mark, backend in zip(MARKS, backends, strict=False):
            own = [kernel for kernel in kernels if kernel.backend == backend]
            axes.plot(
                [kernel.intensity for kernel in own], [kernel.rate for kernel in own], mark.shape, color=mark.colour,
                markeredgecolor=INK, markeredgewidth=0.6, label=name_of(backend),
            )  # fmt: skip
        rates = [*(top.rate for top in compute), *(kernel.rate for kernel in kernels)]
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(left, right)
        axes.set_ylim(min(rates) / 3, max(rates) * 2)
        log_ticks(axes.xaxis, left, right)
        log_ticks(axes.yaxis, min(rates) / 3, max(rates) * 2)
        si_ticks(axes.yaxis, unit)
        axes.set_xlabel("operations per byte")
        axes.set_ylabel(unit)
        legend(axes)
        description = ", ".join(f"{top.name} {quantity(top.rate, unit)}" for top in compute)
        description += "".join(f"; {slope.name} {quantity(slope.rate, 'B/s')}" for slope in memory)
        return to_svg(
            figure, key=key, title="Roofline", description=f"Ceilings: {description}. {len(kernels)} kernels."
        )
