"""A sweep over settings as one HTML page in the frame of the run report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.content import content_dir
from harness.record.model import Metric
from harness.reporting.charts.effects import Effect, effects_chart
from harness.reporting.charts.heatmap import HeatCell, heatmap_chart
from harness.reporting.charts.rates import BatchCurve, batch_chart
from harness.reporting.sections.figures import Figure, figure
from harness.reporting.sections.panels import Panel
from harness.reporting.sections.status import Status

_EFFECTS = 12  # drawn, those next to the best; the table holds all settings


@dataclass(frozen=True)
class Setting:
    """One setting of a sweep and what it gives.

    Attributes:
        name: of the setting, whole: "SMT2, 4 threads, node 0".
        panel: what the heat maps are split by, such as "node 0".
        row: its row there, such as the SMT level.
        column: its column there, such as the number of threads.
        rate: with its interval, higher is better.
        status: of its result.
        best: it is the best.
        tied: it cannot be told from the best.
        change: against the best, in percent of the time per call; None for the best itself or without an interval.
    """

    name: str
    panel: str
    row: int
    column: int
    rate: Metric
    status: Status
    best: bool = False
    tied: bool = False
    change: Effect | None = None


@dataclass(frozen=True)
class SweepPage:
    """Everything the page of a sweep says.

    Attributes:
        title: what was swept: "Autoencoder, NSL-KDD".
        identity: the sweep's id and date.
        status: of the sweep as a whole.
        sentences: the answer first: "SMT2 beats SMT8 by 31 % [27, 35] on node 0; SMT4 is equivalent".
        axes: names of the heat maps' rows and columns.
        settings: all of them, measured or not valid.
        margin: the change in percent below which nobody cares.
        curves: rates over the number of cores, one per line.
        notes: how it was judged, cliffs and penalties found.
        command: the command that reproduces it.
    """

    title: str
    identity: str
    status: Status
    sentences: tuple[str, ...]
    axes: tuple[str, str]
    settings: tuple[Setting, ...]
    margin: float
    curves: tuple[BatchCurve, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class _Row:
    setting: Setting
    rate: Figure
    change: str = field(default="–")


def render_sweep(page: SweepPage) -> bytes:
    """The page as UTF-8; the same content gives the same bytes."""
    import jinja2

    folder = content_dir("reports")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("sweep.html.j2").render(
        page=page,
        maps=_maps(page),
        effects=_effects(page),
        scaling=_scaling(page),
        rows=[_Row(one, figure(one.rate), _change(one)) for one in _by_rate(page.settings)],
        style=(folder / "report.css").read_text(encoding="utf-8"),
    )
    return text.encode("utf-8", "replace")


def _maps(page: SweepPage) -> list[Panel]:
    """One heat map per panel, all with the same rows and columns, so that cells line up."""
    rows = sorted({one.row for one in page.settings})
    columns = sorted({one.column for one in page.settings})
    panels = []
    for at, name in enumerate(dict.fromkeys(one.panel for one in page.settings)):
        cells = {
            (rows.index(one.row), columns.index(one.column)): HeatCell(
                one.rate.value, one.status.kind == "good", best=one.best, tied=one.tied
            )
            for one in page.settings
            if one.panel == name and one.rate.value is not None
        }
        chart = heatmap_chart(
            f"map-{at}", f"Rates, {name}", [str(row) for row in rows], [str(column) for column in columns], cells,
            axes_names=page.axes, unit=_unit(page),
        )  # fmt: skip
        panels.append(Panel(name, chart))
    return panels


def _effects(page: SweepPage) -> Panel | None:
    found = [one.change for one in page.settings if one.change is not None]
    if not found:
        return None
    found.sort(key=lambda effect: (abs(effect.change), effect.name))
    chart = effects_chart("effects", "Settings against the best", found[:_EFFECTS], page.margin)
    return Panel("Against the best setting", chart)


def _scaling(page: SweepPage) -> Panel | None:
    if not page.curves:
        return None
    return Panel("Scaling", batch_chart("scaling", page.curves, _unit(page), x="cores"))


def _unit(page: SweepPage) -> str:
    return next((one.rate.unit for one in page.settings), "row/s")


def _by_rate(settings: Sequence[Setting]) -> list[Setting]:
    return sorted(settings, key=lambda one: (-(one.rate.value or 0.0), one.name))


def _change(one: Setting) -> str:
    if one.best:
        return "best"
    if one.change is None:
        return "–"
    return f"{one.change.change:+.1f} % [{one.change.low:+.1f}, {one.change.high:+.1f}]"
