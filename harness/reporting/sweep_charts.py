"""Charts of a sweep: heat maps over two of its factors, scaling curves, and the settings next to the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.record.model import Verdict
from harness.record.sweep_model import SweepCell
from harness.reporting.charts.effects import Effect, effects_chart
from harness.reporting.charts.heatmap import HeatAxis, HeatCell, Scale, heatmap_chart
from harness.reporting.charts.rates import BatchCurve, batch_chart
from harness.reporting.charts.svg import MANY_MARKS, fitted
from harness.reporting.sections.figures import estimate
from harness.reporting.sections.panels import Panel
from harness.reporting.sweep_factors import (
    BACKEND,
    BATCH,
    CORES,
    DTYPE,
    INSTANCES,
    PLACE,
    SMT,
    THREADS,
    Factor,
    Level,
    setting_name,
)
from harness.reporting.sweep_standing import STANDINGS
from harness.reporting.sweep_view import SettingLine, SweepView, WorkloadView
from harness.reporting.text import quantity

MAPS = 12  # per workload; the table holds every setting
_EFFECTS = 12
_FARTHEST = 2.0  # times as slow as the best; beyond, a chart that shows it hides what is near
_ROW_ORDER = (BATCH, BACKEND, INSTANCES, DTYPE, PLACE)
_COLUMN_ORDER = (CORES, BATCH, INSTANCES, BACKEND, DTYPE, PLACE)
_UNIT = "rows/s"


@dataclass(frozen=True)
class Axes:
    """What the heat maps of a sweep are drawn over; ``panels`` are the factors that are left."""

    rows: tuple[Factor, ...]
    columns: tuple[Factor, ...]
    panels: tuple[Factor, ...]


@dataclass(frozen=True)
class WorkloadCharts:
    """The charts of one workload; ``left_out`` heat maps were not drawn."""

    effects: Panel | None
    maps: tuple[Panel, ...]
    scaling: tuple[Panel, ...]
    left_out: int


def axes_of(factors: Sequence[Factor]) -> Axes:
    """SMT and the threads in use down, cores across; where those do not vary, the batch size and its kind."""
    rows = tuple(factor for factor in (SMT, THREADS) if factor in factors)
    columns = next(((factor,) for factor in _COLUMN_ORDER if factor in factors), ())
    if not rows:
        rows = next(((factor,) for factor in _ROW_ORDER if factor in factors and factor not in columns), ())
    return Axes(rows, columns, tuple(factor for factor in factors if factor not in (*rows, *columns)))


def charts_of(view: SweepView, margin: float) -> list[WorkloadCharts]:
    """The charts of every workload; ``margin`` is the relative change that matters."""
    axes, scale = axes_of(view.factors), scale_of(view)
    charts = []
    for at, workload in enumerate(view.workloads):
        groups = _panels(workload, axes)
        shown = groups[:MAPS]
        alone = len(shown) == 1
        drawn = [
            (name, _scaling(f"scaling-{at}-{n}", name, lines, axes, alone=alone))
            for n, (name, lines) in enumerate(shown)
        ]
        charts.append(
            WorkloadCharts(
                effects=_effects(workload, at, margin),
                maps=tuple(
                    _map(f"map-{at}-{n}", name, lines, _MapOf(axes, workload, scale, alone=alone))
                    for n, (name, lines) in enumerate(shown)
                ),
                scaling=tuple(panel for _, panel in drawn if panel is not None),
                left_out=len(groups) - len(shown),
            )
        )
    return charts


def scale_of(view: SweepView) -> Scale | None:
    """The colours of all maps of the page; None without a rate."""
    rates = [
        rate
        for workload in view.workloads
        for line in workload.lines
        if (rate := line.cell.rows_per_s_undisturbed.value) is not None
    ]
    return Scale(min(rates), max(rates)) if rates else None


def ramp(view: SweepView) -> tuple[str, str, list[float]] | None:
    """The lowest and the highest rate of the page with the opacities between them, for the legend of the colours."""
    scale = scale_of(view)
    if scale is None or scale.low <= 0:
        return None
    steps = [scale.low * (scale.high / scale.low) ** (step / 4) for step in range(5)]
    return quantity(scale.low, _UNIT), quantity(scale.high, _UNIT), [round(scale.shade(rate), 3) for rate in steps]


@dataclass(frozen=True)
class _MapOf:
    """What every map of a workload shares."""

    axes: Axes
    workload: WorkloadView
    scale: Scale | None
    alone: bool


def _panels(workload: WorkloadView, axes: Axes) -> list[tuple[str, list[SettingLine]]]:
    """Settings by the levels of the panel factors, the panel with the fastest setting first."""
    panels: dict[str, list[SettingLine]] = {}
    for line in workload.lines:  # the fastest first
        name = setting_name(line.cell, axes.panels) if axes.panels else workload.title
        panels.setdefault(name, []).append(line)
    return list(panels.items())


def _map(key: str, name: str, lines: Sequence[SettingLine], of: _MapOf) -> Panel:
    """One heat map; all of a workload have the same rows and columns, so that cells line up."""
    axes = of.axes
    rows, columns = (_labels(of.workload.lines, factors) for factors in (axes.rows, axes.columns))
    places = {_at(line.cell, axes.rows, rows, axes.columns, columns): line for line in lines}
    cells = {
        place: HeatCell(
            line.cell.rows_per_s_undisturbed.value,
            line.cell.validity.verdict is Verdict.VALID,
            best=line.standing is STANDINGS["best"],
            tied=line.standing is STANDINGS["equivalent"],
        )
        for place, line in places.items()
        if line.cell.rows_per_s_undisturbed.value is not None
    }
    down, across = (
        HeatAxis(" × ".join(factor.head for factor in factors), list(levels.values()))
        for factors, levels in ((axes.rows, rows), (axes.columns, columns))
    )

    def draw(key: str, width: int) -> str:
        return heatmap_chart(key, f"Rates, {name}", down, across, cells, unit=_UNIT, scale=of.scale, width=width)

    return Panel(name, fitted(draw, key, alone=of.alone))


def _labels(lines: Sequence[SettingLine], factors: Sequence[Factor]) -> dict[tuple[Level, ...], str]:
    """Levels in their order, with what an axis calls them."""
    named = {_levels(line.cell, factors): " × ".join(factor.short(line.cell) for factor in factors) for line in lines}
    return dict(sorted(named.items()))


def _levels(cell: SweepCell, factors: Sequence[Factor]) -> tuple[Level, ...]:
    return tuple(factor.level(cell) for factor in factors)


def _at(
    cell: SweepCell,
    row_factors: Sequence[Factor],
    rows: Mapping[tuple[Level, ...], str],
    column_factors: Sequence[Factor],
    columns: Mapping[tuple[Level, ...], str],
) -> tuple[int, int]:
    return list(rows).index(_levels(cell, row_factors)), list(columns).index(_levels(cell, column_factors))


def _scaling(key: str, name: str, lines: Sequence[SettingLine], axes: Axes, *, alone: bool) -> Panel | None:
    """Rate over the levels of the columns, one line per row, every backend among them; hollow where not valid."""
    if not axes.columns or axes.columns[0].axis is None:
        return None
    across = axes.columns[0]
    rows: dict[str, list[SettingLine]] = {}
    for line in lines:  # the fastest first, so that rows are in that order too
        rows.setdefault(setting_name(line.cell, axes.rows) if axes.rows else name, []).append(line)
    curves: list[tuple[str, BatchCurve]] = []
    for title, members in rows.items():
        members.sort(key=lambda line: across.level(line.cell))
        rated = [
            (_number(across, line.cell), rate, line.cell.validity.verdict is Verdict.VALID)
            for line in members
            if (rate := estimate(line.cell.rows_per_s_undisturbed)) is not None
        ]
        if rated:
            hollow = frozenset(level for level, _, valid in rated if not valid)
            curve = BatchCurve(title, [level for level, _, _ in rated], [rate for _, rate, _ in rated], hollow)
            curves.append((members[0].cell.backend, curve))
    if not any(len(curve.batches) > 1 for _, curve in curves):
        return None
    first = {backend: at for at, (backend, _) in reversed(list(enumerate(curves)))}  # the fastest of every backend
    order = sorted(range(len(curves)), key=lambda at: (at not in first.values(), at))[: len(MANY_MARKS)]
    drawn = [curves[at][1] for at in sorted(order)]
    caption = (
        "" if len(drawn) == len(curves) else f"{len(drawn)} of {len(curves)}, the fastest of every backend among them."
    )
    if any(curve.hollow for curve in drawn):
        caption = f"{caption} Hollow: not valid.".lstrip()

    def draw(key: str, width: int) -> str:
        return batch_chart(key, drawn, _UNIT, x=across.axis or "", width=width)

    return Panel(name, fitted(draw, key, alone=alone), caption=caption)


def _number(factor: Factor, cell: SweepCell) -> int:
    (level,) = factor.level(cell)
    return int(level)


def _effects(workload: WorkloadView, at: int, margin: float) -> Panel | None:
    effects = [
        Effect(
            name=line.name,
            change=100 * (rival.ratio - 1),
            low=100 * (rival.ci_low - 1),
            high=100 * (rival.ci_high - 1),
            decided=rival.standing in ("equivalent", "slower"),
        )
        for line in workload.lines
        if (rival := line.rival) is not None
        and rival.ci_low is not None
        and rival.ci_high is not None
        and rival.ratio <= _FARTHEST
    ]
    if not effects:
        return None

    def draw(key: str, width: int) -> str:
        label = "change of the time per row, % (above 0: slower)"
        shown = effects[:_EFFECTS]
        return effects_chart(key, "Settings against the best", shown, 100 * margin, label=label, width=width)

    chart = fitted(draw, f"effects-{at}", alone=True)
    shown, others = min(_EFFECTS, len(effects)), len(workload.lines) - 1
    more = [f"The {shown} nearest of {others}; the table has all."] if shown < others else []
    if not workload.answered:
        more.append("Hollow: not judged, as none is valid.")
    elif not all(effect.decided for effect in effects[:_EFFECTS]):
        more.append("Hollow: not distinguishable, or not judged.")
    against = "best" if workload.answered else "fastest"
    return Panel(f"Against the {against} setting: {workload.title}", chart, caption=" ".join(more))
