"""``GET /``: what the server does, for people; the report's style sheet, no script."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from harness.content import content_dir
from harness.platform.parse import format_cpulist
from harness.serving.drift import FLAGGED, SCORES, DriftState, Sample
from harness.serving.exchange import Reply
from harness.serving.history import KEPT, STEP_S, History, Step
from harness.serving.metrics import Metrics
from harness.wording import plural

_HTML = "text/html; charset=utf-8"
_NOTHING_ELSE = (  # the page says so too, but not who may frame it
    "Content-Security-Policy",
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
)
_REFRESH = (("Refresh", str(round(STEP_S))), ("Cache-Control", "no-store"))
_LEFT, _TOP, _WIDTH, _HEIGHT = 62.0, 8.0, 282.0, 110.0
_STATISTICS = 10
_OF_STATISTIC = {"psi": "stability index of {}", "ks": "distance of the {}", "flagged": "share flagged",
                 "missing": "missing values of {}"}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A series of a chart."""

    name: str
    colour: int  # of the style sheet, from 1
    paths: tuple[str, ...]  # points of its unbroken parts
    last: str  # with its unit


@dataclass(frozen=True)
class Chart:
    """Lines over time."""

    title: str
    caption: str
    top: str  # the value at the upper edge, with its unit
    mark: float | None  # height of a line across
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class View:
    """What the page is about.

    Attributes:
        described: as ``GET /health`` has it.
        levels: names, from harmless to grave.
        drift: as ``GET /drift`` has it.
    """

    described: dict[str, Any]
    detector: str
    draining: bool
    history: History
    metrics: Metrics
    levels: tuple[str, ...]
    drift: DriftState
    endpoints: tuple[str, ...]
    most_cards: int | None


def page(view: View) -> Reply:
    """The page of this moment."""
    by_size = sorted(view.drift.samples(), key=lambda sample: -sample.of_bound)
    worst = [each for number, each in enumerate(by_size) if number < _STATISTICS or each.name == SCORES]
    return html(
        "serve.html.j2", _REFRESH,
        model=view.described,
        sentence=_sentence(view),
        cpus=f"{'CPU' if len(view.described['cpus']) == 1 else 'CPUs'} {format_cpulist(tuple(view.described['cpus']))}",
        windows=f"{plural(view.drift.windows, 'window')} of {plural(view.drift.window_rows, 'row')}, "
        f"{plural(view.drift.alarms, 'alarm')}",
        detector=view.detector,
        draining=view.draining,
        charts=charts(view.history, view.levels),
        minutes=f"{KEPT * STEP_S / 60:g}",
        counts=_counts(view),
        drift=view.drift,
        drifted=sorted(view.drift.drifted, key=lambda name: name not in (SCORES, FLAGGED)),
        worst=[(_named(each), f"{each.value:.3g}", f"{each.bound:.3g}", each.over) for each in worst],
        endpoints=view.endpoints,
        box=(_LEFT, _TOP, _WIDTH, _HEIGHT),
    )  # fmt: skip


def _named(sample: Sample) -> str:
    return _OF_STATISTIC[sample.statistic].format(sample.name)


def html(name: str, headers: tuple[tuple[str, str], ...] = (), /, **values: Any) -> Reply:
    """A template in the report's look, filled; all that is filled in is escaped."""
    style = (content_dir("reports") / "report.css").read_text(encoding="utf-8")
    text = _templates().get_template(name).render(style=style, **values)
    return Reply(200, text.encode(), _HTML, (_NOTHING_ELSE, *headers))


def charts(history: History, names: tuple[str, ...]) -> tuple[Chart, ...]:
    """Rate, latency, levels and drift over time; levels in the order of ``names``."""
    steps = list(history.steps)
    seen = {name for step in steps for name in step.levels}
    shares = {name: [_share(step, name) for step in steps] for name in names if name in seen}
    return (
        _chart("Requests", "answered with a status below 400, and the others", "/s", {
            "answered": [step.answered_per_s for step in steps], "refused": [step.refused_per_s for step in steps],
        }),
        _chart("Latency", "from a request's last byte to its answer", " ms", {
            "p50": [None if step.p50_s is None else 1e3 * step.p50_s for step in steps],
            "p99": [None if step.p99_s is None else 1e3 * step.p99_s for step in steps],
        }),
        _chart("Levels", "share of the rows scored", " %", shares),
        _chart("Drift", "the statistic that is largest over its bound; above 1 is drift", "", {
            "drift": [step.drift for step in steps],
        }, mark=1.0),
    )  # fmt: skip


def _chart(
    title: str, caption: str, unit: str, series: dict[str, list[float | None]], mark: float | None = None
) -> Chart:
    values = [value for line in series.values() for value in line if value is not None]
    top = max([*values, 1.2 * mark if mark else 0.0]) or 1.0
    lines = tuple(_line(name, number % 4 + 1, line, top, unit) for number, (name, line) in enumerate(series.items()))
    at = None if mark is None else _TOP + _HEIGHT * (1 - mark / top)
    return Chart(title, caption, f"{_short(top)}{unit}", at, lines)


def _line(name: str, colour: int, values: list[float | None], top: float, unit: str) -> Line:
    paths: list[list[str]] = [[]]
    for place, value in enumerate(values, KEPT - len(values)):
        if value is None:
            paths.append([])
            continue
        x, y = _LEFT + _WIDTH * place / (KEPT - 1), _TOP + _HEIGHT * (1 - value / top)
        paths[-1].append(f"{x:.1f},{y:.1f}")
    known = [value for value in values if value is not None]
    last = f"{_short(known[-1])}{unit}" if known else "–"
    return Line(name, colour, tuple(" ".join(path) for path in paths if path), last)


def _sentence(view: View) -> str:
    """``nsl-kdd-mlp answers 2.4 requests a second, 99 % of them within 4.85 ms.``"""
    name, step = view.described["model"], view.history.steps[-1] if view.history.steps else None
    if step is None:
        return f"{name} is ready; nothing was asked yet."
    rate = _short(step.answered_per_s)
    text = f"{name} answers {rate} {'request' if rate == '1' else 'requests'} a second"
    if step.p99_s is not None and step.answered_per_s:
        text += f", 99 % of them within {_short(1e3 * step.p99_s)} ms"
    return f"{text}; {_short(step.refused_per_s)} a second are refused." if step.refused_per_s else f"{text}."


def _short(value: float) -> str:
    """Three digits, and from a thousand on whole numbers: 0.292, 48.1, 30,380."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def _share(step: Step, level: str) -> float | None:
    total = sum(step.levels.values())
    return 100 * step.levels.get(level, 0) / total if total else None


def _counts(view: View) -> list[tuple[str, str]]:
    metrics = view.metrics
    answered = sum(count for (_, status), count in metrics.requests.items() if status < 400)
    levels = [f"{name} {metrics.decisions[name]:,}" for name in view.levels if metrics.decisions[name]]
    counts = [
        ("answered", f"{answered:,}"),
        ("refused", ", ".join(f"{count:,} {reason}" for reason, count in sorted(metrics.rejected.items())) or "0"),
        ("under way", f"{metrics.in_flight:,}"),
        ("rows by level", ", ".join(levels) or "none"),
    ]
    if view.most_cards is not None and metrics.streams is not None:
        evicted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(metrics.streams.evicted.items()))
        counts += [("cards", f"{metrics.cards:,} of at most {view.most_cards:,}"), ("forgotten", evicted or "0")]
    return counts


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(content_dir("reports")), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
