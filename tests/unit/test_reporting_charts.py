"""Charts: the same SVG for the same data, readable as text, and drawn whatever the data."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.measure.percentiles import ecdf
from harness.reporting.charts.accuracy import (
    ClassBar,
    Scores,
    classes_chart,
    epoch_chart,
    pr_chart,
    roc_chart,
    scores_chart,
)
from harness.reporting.charts.distribution import Distribution, distribution_chart
from harness.reporting.charts.effects import Effect, effects_chart
from harness.reporting.charts.history import Series, history_chart
from harness.reporting.charts.processes import ProcessRow, processes_chart
from harness.reporting.charts.rates import BatchCurve, Estimate, RateRow, batch_chart, rates_chart
from harness.reporting.charts.roofline import Ceiling, Kernel, roofline_chart
from harness.reporting.charts.svg import WIDE, WIDTH, fitted

HOSTILE = "</text><script>alert(1)</script> $\\frac{1}$ \x00\x1b & \u4e2d \ud800"


def _walk(samples: int, seed: int = 3) -> list[float]:
    source = random.Random(seed)
    return [source.lognormvariate(-13, 0.3) for _ in range(samples)]


CHARTS: dict[str, Callable[[str, str], str]] = {
    "distribution": lambda key, name: distribution_chart(key, [Distribution(name, _walk(500), {0.5: 2.2e-6})]),
    "one call": lambda key, name: distribution_chart(key, [Distribution(name, [1e-6], {})]),
    "equal calls": lambda key, name: distribution_chart(key, [Distribution(name, [1e-6] * 50, {})] * 5),
    "zero calls": lambda key, name: distribution_chart(key, [Distribution(name, [0.0] * 50, {})]),
    "rates": lambda key, name: rates_chart(key, name, [RateRow(name, Estimate(5e6, 4e6, 6e6), True)], "rows/s"),
    "wide rates": lambda key, name: rates_chart(
        key, name, [RateRow(name, Estimate(v), v > 9) for v in (1.0, 1e3, 1e9)], "rows/s"
    ),
    "zero rate": lambda key, name: rates_chart(key, name, [RateRow(name, Estimate(0.0), True)], "rows/s"),
    "batches": lambda key, name: batch_chart(
        key, [BatchCurve(name, [1, 64, 8192], [Estimate(1e5), Estimate(2e6, 1e6, 3e6), Estimate(3e6)])], "rows/s"
    ),
    "processes": lambda key, name: processes_chart(key, name, [ProcessRow(name, 1.0, 0.9, 1.1, [1.0, 1.02], [1.5])]),
    "no process": lambda key, name: processes_chart(key, name, [ProcessRow(name, 1.0, None, None, [], [])]),
    "roc": lambda key, name: roc_chart(key, [(0, 0), (0.1, 0.9), (1, 1)], (0.1, 0.9), 0.9),
    "pr": lambda key, name: pr_chart(key, [(0, 1), (1, 0.95)], None, None, 0.95),
    "scores": lambda key, name: scores_chart(key, Scores([0, 1, 2], [9_000_000, 1], [0, 27], False, 1.5)),
    "log scores": lambda key, name: scores_chart(key, Scores([1e-3, 1, 1e3], [5, 5], [5, 5], True, None)),
    "empty scores": lambda key, name: scores_chart(key, Scores([0, 1], [0], [0], False, None)),
    "classes": lambda key, name: classes_chart(
        key, [ClassBar(f"{name}{index}", index, 0.5, index == 0) for index in range(30)]
    ),
    "loss": lambda key, name: epoch_chart(key, {name: [5.0, 1.0, 0.01]}),
    "roofline": lambda key, name: roofline_chart(
        key,
        [Ceiling(name, 1e12), Ceiling("b", 5e11)],
        [Ceiling("m", 1e11), Ceiling("n", 5e10)],
        [Kernel(name, 2.0, 1e11)],
        "FLOP/s",
    ),
    "roofline alone": lambda key, name: roofline_chart(key, [Ceiling(name, 1e12)], [], [], "OP/s"),
    "flat loss": lambda key, name: epoch_chart(key, {"a": [0.0, 0.0], name: [-1.0, 1.0, 2.0]}),
}


@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_is_well_formed_titled_and_the_same_each_time(chart: str) -> None:
    svg = CHARTS[chart]("key", HOSTILE)
    assert svg == CHARTS[chart]("key", HOSTILE)
    root = ElementTree.fromstring(svg.encode("utf-8", "replace"))
    assert root.find("title") is not None
    assert (root.findtext("desc") or "").strip()
    assert {element.tag for element in root.iter()} <= {
        "svg", "title", "desc", "g", "path", "defs", "use", "text", "clipPath", "rect", "tspan",
    }  # fmt: skip
    assert "<script" not in svg
    assert not re.search(r"#00010[0-9]", svg), "a stand-in colour was not replaced"
    assert len(svg) < 16_000


def test_ids_of_two_charts_of_one_page_differ() -> None:
    pages = [set(re.findall(r' id="([^"]+)"', CHARTS["distribution"](key, "a"))) for key in ("w1", "w2")]
    assert pages[0]
    assert not pages[0] & pages[1]


def test_every_reference_inside_a_chart_is_found() -> None:
    for chart in CHARTS.values():
        svg = chart("k", "a")
        ids = set(re.findall(r' id="([^"]+)"', svg))
        assert set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', svg)) <= ids


@pytest.mark.parametrize("samples", [1, 2, 119, 120, 121, 5000])
def test_the_distribution_drawn_is_the_distribution_of_the_samples(samples: int) -> None:
    values = np.array(_walk(samples))
    x, share = ecdf(values)
    assert len(x) <= 125
    assert x[0] == values.min()
    assert share[-1] == 1.0
    for at, level in zip(x, share, strict=True):
        assert level == pytest.approx(np.mean(values <= at), abs=1e-12)
    assert all(later >= earlier for earlier, later in itertools.pairwise(x))


def _numbers(svg: str) -> list[float]:
    texts = re.findall(r">(\u2212?[\d.]+)<", svg)
    return [float(text.replace("\u2212", "-")) for text in texts]


@pytest.mark.parametrize("width", [WIDTH, WIDE])
def test_no_axis_of_times_goes_below_what_a_time_can_lose(width: int) -> None:
    wild = [Effect("a", -60, -95, 2000, decided=False), Effect("b", 900, 100, 9000, decided=True)]
    rows = [ProcessRow("a", 1.0, 0.1, 20.0, [0.2, 30.0], [21.0])]
    for svg in (effects_chart("k", "t", wild, 3.0, width=width), processes_chart("k", "t", rows, width=width)):
        assert min(_numbers(svg)) >= -100
        assert max(_numbers(svg)) <= 400


def test_a_narrow_span_of_rates_has_an_axis_that_can_be_read() -> None:
    svg = batch_chart("k", [BatchCurve("a", [1, 2], [Estimate(4.1e6), Estimate(4.6e6)])], "rows/s", x="cores")
    assert len(re.findall(r">\d M<|>0<", svg)) >= 3


def test_a_chart_alone_is_drawn_twice_with_ids_of_its_own() -> None:
    def draw(key: str, width: int) -> str:
        return rates_chart(key, "t", [RateRow("a", Estimate(5e6, 4e6, 6e6), True)], "rows/s", width=width)

    both = fitted(draw, "k", alone=True)
    ElementTree.fromstring(f"<p>{both}</p>")
    ids = re.findall(r' id="([^"]+)"', both)
    assert len(ids) == len(set(ids))
    assert both.count("<svg") == 2
    assert both.count('class="chart wide"') == 1
    assert fitted(draw, "k", alone=False).count("<svg") == 1


def test_ticks_of_times_that_lie_close_together_differ() -> None:
    """Two runs within half a per cent: three digits called two of the ticks 3.1 µs."""
    svg = history_chart("k", "t", Series(["a", "b"], [3.0985e-6, 3.109e-6], [], "s"))
    ticks = re.findall(r">([\d.]+) µs<", svg)
    assert len(ticks) > 1
    assert len(set(ticks)) == len(ticks)
