"""The page of a sweep: the answer first, every setting in map and table, ties named as ties."""

from __future__ import annotations

from html.parser import HTMLParser

from harness.record.model import Metric
from harness.reporting.charts.effects import Effect
from harness.reporting.charts.heatmap import HeatCell, heatmap_chart
from harness.reporting.charts.rates import BatchCurve, Estimate
from harness.reporting.sections.status import BAD, GOOD, Status
from harness.reporting.sweep_html import Setting, SweepPage, render_sweep

VALID = Status("Valid", GOOD, "good")
INVALID = Status("Invalid", BAD, "bad")


def sweep_page() -> SweepPage:
    """SMT 1, 2, 4, 8 by 1 to 8 threads on two nodes; SMT2 wins, SMT4 ties."""
    settings = []
    for node in (0, 1):
        for smt in (1, 2, 4, 8):
            for threads in (1, 2, 4, 8):
                if threads > 4 * smt:
                    continue
                rate = 1e6 * threads**0.8 * {1: 0.8, 2: 1.0, 4: 0.99, 8: 0.76}[smt] * (1 - 0.1 * node)
                best = (node, smt, threads) == (0, 2, 8)
                tied = (node, smt, threads) == (0, 4, 8)
                name = f"SMT{smt}, {threads} threads, node {node}"
                change = 100 * (1e6 * 8**0.8 / rate - 1)
                settings.append(
                    Setting(
                        name=name,
                        panel=f"node {node}",
                        row=smt,
                        column=threads,
                        rate=Metric(rate, "row/s", 0.98 * rate, 1.02 * rate, 6),
                        status=INVALID if (node, smt, threads) == (1, 8, 1) else VALID,
                        best=best,
                        tied=tied,
                        change=None if best else Effect(name, change, change - 2, change + 2, not tied),
                    )
                )
    return SweepPage(
        title="<Autoencoder>, NSL-KDD",
        identity="20260801T120000Z-sweep",
        status=VALID,
        sentences=("SMT2 beats SMT8 by 31 % [27, 35] on node 0;", "SMT4 is equivalent."),
        axes=("SMT", "threads"),
        settings=tuple(settings),
        margin=3.0,
        curves=(BatchCurve("SMT2", [1, 2, 4, 8], [Estimate(1e6 * n**0.8) for n in (1, 2, 4, 8)]),),
        notes=("Every setting in 6 fresh processes, shuffled.",),
        command="lparbench sweep --smt 1,2,4,8",
    )


class _Tags(HTMLParser):
    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_every_setting_is_in_the_table_and_the_answer_is_first() -> None:
    page = sweep_page()
    html = render_sweep(page)
    assert html == render_sweep(page)
    found = _Tags(html)
    text = " ".join(found.words).replace("\u00a0", " ")
    assert text.index("SMT2 beats SMT8") < text.index("How much it matters") < text.index("All settings")
    assert all(one.name in text for one in page.settings)
    assert text.count("★ best") == 1
    assert "≈ tied" in text
    assert "<Autoencoder>" in text
    assert not {"script", "autoencoder"} & set(found.tags)
    assert found.tags.count("svg") == 4


def test_a_heat_map_prints_its_values_and_marks_what_is_special() -> None:
    cells = {
        (0, 0): HeatCell(1e6, best=True),
        (0, 1): HeatCell(9.9e5, tied=True),
        (1, 0): HeatCell(4e5, valid=False),
        (1, 1): HeatCell(0.0),
    }
    svg = heatmap_chart("k", "t", ["2", "8"], ["4", "8"], cells, axes_names=("SMT", "threads"), unit="row/s")
    for shown in (">1.00<", ">≈ 0.990<", ">✖ 0.400<", ">0<", "cells in M\u00a0row/s", "SMT 2, threads 4: 1.00\u00a0M"):
        assert shown in svg, shown


def test_a_sweep_of_which_nothing_was_measured_has_a_page() -> None:
    empty = SweepPage("x", "y", INVALID, ("Nothing was measured.",), ("SMT", "threads"), (), 3.0)
    assert "No effect could be estimated" in render_sweep(empty).decode()
