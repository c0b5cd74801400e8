"""A sweep in words, in a terminal, as a page and as CSV: the answer first, every setting, ties named as ties."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import records
from support.sweeps import BY_SMT, PLACEMENT, design_of, fit_outcome, journal_of, power_sweep, result_of, setting

from harness.errors import ExitCode
from harness.platform.facts import CpuFacts
from harness.record.sweep_model import Sweep
from harness.reporting.charts.heatmap import HeatAxis, HeatCell, Scale, heatmap_chart
from harness.reporting.sweep_charts import axes_of, charts_of
from harness.reporting.sweep_csv import render_sweep_csv
from harness.reporting.sweep_factors import BACKEND, BATCH, CORES, INSTANCES, PLACE, SMT, THREADS
from harness.reporting.sweep_html import render_sweep
from harness.reporting.sweep_terminal import print_sweep
from harness.reporting.sweep_view import view_of
from harness.runs.journal import FitEntry
from harness.runs.schedule import Configuration
from harness.sweeps.result import sweep_record
from harness.sweeps.session import exit_code

ONE = setting()
HOSTILE = "<script>alert(1)</script>\x1b[31m"


def by_smt(configuration: Configuration, block: int) -> float:
    return BY_SMT[configuration.smt] * configuration.cores**0.9 * (0.9 if configuration.node else 1.0)


def levels(**changes: Any) -> tuple[Configuration, ...]:
    return tuple(replace(ONE, smt=k, threads_per_core=k, **changes) for k in (1, 2, 4, 8))


def sweep(*settings: Configuration, rate=by_smt, skipped=None, blocks: int = 6, title: str | None = None) -> Sweep:
    plan = design_of(settings, records.facts(), skipped=skipped, blocks=blocks)
    if title is not None:
        plan = replace(plan, workloads=tuple(replace(each, title=title) for each in plan.workloads))
    return sweep_record(plan, journal_of(plan, rate))


def text_of(sentences: tuple[str, ...]) -> str:
    return " ".join(sentences).replace("\u00a0", " ")


def test_the_answer_names_the_best_its_ties_and_what_it_beats() -> None:
    view = view_of(power_sweep())
    (workload,) = view.workloads
    said = text_of(workload.sentences)
    assert said.startswith("Best with SMT 2, 4 cores, node 0: 3.4")
    assert "Equivalent within 3 %: SMT 4, 4 cores, node 0." in said
    assert (
        "% [+24.9, +25.4] with SMT 1, equivalent with SMT 4 (+0.6 % [+0.2, +0.9]) and +33.5 % [+33.2, +33.9] with SMT 8"
        in said
    )
    assert "Against SMT 2 and all else equal, in the mean of 6 pairs of settings, the time per row is +25." in said
    assert (
        "all else equal, in the mean of 8 pairs of settings, the time per row is × 3.48 [3.47, 3.50] with 1 core"
        in said
    )
    assert "in the mean of 12 pairs of settings, the time per row is +11.1 % [+10.9, +11.3] with node 1." in said
    assert workload.absent == ("No loss with more cores beyond 3\u00a0% is shown by the settings measured.",)
    assert exit_code(power_sweep()) is ExitCode.GOOD
    assert view.lead == ""
    assert (view.status.word, view.fixed) == ("Valid", "eager, float32, batch 64, 1 instance")
    assert view.skipped == ("8 settings: node 0 has 4 cores, not 8",)
    cliff, penalty = workload.losses
    assert (cliff.kind, penalty.kind) == ("SMT cliff", "NUMA penalty")
    assert cliff.text.startswith("With SMT 8 a row takes 33")
    assert "longer than with SMT 4, both with " in cliff.text
    assert cliff.text.endswith("longer in 5 other settings.")
    assert penalty.text.startswith("With node 1 a row takes 11")
    assert penalty.text.endswith("longer in 11 other settings.")
    assert [(one.cores, one.ties) for one in workload.by_cores] == [
        (1, "1 setting"),
        (2, "1 setting"),
        (4, "1 setting"),
    ]


def test_what_is_not_distinguishable_is_not_called_equivalent() -> None:
    swings = [0.9, 1.12, 0.95, 1.08, 1.0, 0.97]
    record = sweep(ONE, replace(ONE, cores=2), rate=lambda one, block: 1e6 * (swings[block] if one.cores == 2 else 1))
    (workload,) = view_of(record).workloads
    said = text_of(workload.sentences)
    assert "Equivalent" not in said
    assert "Not distinguishable from it; more blocks would decide: " in said
    assert "the time per row is not distinguishable with 1 core" in said


def test_factors_that_change_together_conclude_nothing_and_those_with_one_level_claim_nothing() -> None:
    """Two cores with small batches against one core with large ones: which of the two was it?"""
    record = sweep(replace(ONE, cores=2), replace(ONE, batch_sizes=(1024,)), rate=lambda each, block: 1e6 * each.cores)
    (workload,) = view_of(record).workloads
    said = text_of(workload.sentences)
    assert "the time per row is" not in said
    assert "No two valid settings differ only in having batch 64 or batch 1,024: nothing is concluded." in said
    assert "No two valid settings differ only in having 2 cores or 1 core: nothing is concluded." in said
    assert [text_of((text,)) for text in workload.absent] == [
        "Nothing is said about the SMT level, number of cores and NUMA node: no two valid settings differ only in that."
    ]
    (only,) = view_of(sweep(ONE)).workloads
    assert only.absent[0].startswith("Nothing is said about the SMT level, number of cores and NUMA node")
    cores = view_of(sweep(ONE, replace(ONE, cores=2))).workloads[0]
    assert cores.absent[0].startswith("No loss with more cores beyond")
    assert cores.absent[1].startswith("Nothing is said about the SMT level and NUMA node")
    assert "SMT" not in text_of(cores.sentences)


def test_interactions_do_not_leak_into_the_effect_of_a_factor() -> None:
    """Backend, batch size and cores, all eight settings measured: each effect is its own."""
    settings = [
        replace(ONE, backend=backend, batch_sizes=(batch,), cores=cores)
        for backend in ("eager", "native") for batch in (64, 1024) for cores in (1, 2)
    ]  # fmt: skip

    def rate(each: Configuration, block: int) -> float:
        return 1e6 * (1.1 if each.batch_sizes[0] > 64 else 1) * (3 if each.backend == "native" else 1) * each.cores**0.5

    effects = {effect.factor: effect for effect in sweep(*settings, rate=rate).effects}
    assert {factor: effect.pairs for factor, effect in effects.items()} == {"backend": 4, "batch_size": 4, "cores": 4}
    assert effects["batch_size"].ratio == pytest.approx(1.1, rel=0.01)
    assert effects["cores"].ratio == pytest.approx(2**0.5, rel=0.01)
    assert effects["backend"].ratio == pytest.approx(3, rel=0.01)
    assert {effect.standing for effect in effects.values()} == {"slower"}


def test_scaling_shows_every_backend_valid_or_not() -> None:
    settings = [replace(ONE, backend=b, cores=n) for b in ("eager", "native", "onnxruntime") for n in (1, 2, 4)]

    def rate(each: Configuration, block: int) -> float | None:
        return None if each.backend == "native" and block > 2 else 1e6 * each.cores  # three of six blocks: not valid

    (charts,) = charts_of(view_of(sweep(*settings, rate=rate)), 0.03)
    drawn = " ".join(panel.chart for panel in charts.scaling)
    assert all(f">{backend}<" in drawn for backend in ("eager", "native", "onnxruntime"))
    assert any("Hollow: not valid." in panel.caption for panel in charts.scaling)


def test_all_maps_of_a_page_share_one_scale_of_colours() -> None:
    scale = Scale(1e6, 4e6)
    assert scale.shade(4e6) == 2 * scale.shade(2e6) == 4 * scale.shade(1e6)
    wide = Scale(1e3, 1e7)
    assert 0 < wide.shade(1e3) < wide.shade(1e5) < wide.shade(1e7) == scale.shade(4e6)
    settings = [
        replace(ONE, backend=backend, cores=n, batch_sizes=(b,))
        for backend in ("eager", "native")
        for n in (1, 2)
        for b in (64, 128)
    ]
    page = render_sweep(
        sweep(*settings, rate=lambda each, block: 1e6 * (4 if each.backend == "native" else 1))
    ).decode()
    shades = [float(text) for text in re.findall(r"opacity:([\d.]+)", page) if float(text) < 0.5]
    assert max(shades) == pytest.approx(0.45, abs=0.01)
    assert sum(abs(shade - 0.1125) < 0.01 for shade in shades) >= 4  # the slow map is four times as light


def test_a_sweep_without_a_valid_setting_says_so_and_exits_with_2() -> None:
    record = sweep(*levels(), blocks=2)
    view = view_of(record)
    assert view.status.word == "Invalid"
    assert exit_code(record) is ExitCode.INCONCLUSIVE
    assert view.workloads[0].sentences[0] == "No setting gave a valid result."
    assert view.workloads[0].sentences[1].startswith("Not to be used: the fastest was SMT 4 with 998")
    reasons = [(one.settings, one.reason) for one in view.workloads[0].reasons]
    assert reasons == [("all settings", "2 of at least 6 blocks. Run with --blocks 6 or more, or a larger --budget.")]


def test_what_is_not_valid_is_not_judged_in_any_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Half the time in each of five blocks: its interval is far from 0, and five blocks are still too few."""
    record = sweep(ONE, replace(ONE, cores=2), rate=lambda one, block: 1e6 * one.cores, blocks=5)
    rival = record.best[0].rivals[0]
    assert rival.ci_low is not None
    assert rival.ci_low > 1.9
    assert (rival.standing, record.effects, record.losses) == ("not_judged", (), ())
    assert {row["against_best"] for row in csv.DictReader(io.StringIO(render_sweep_csv(record)))} == {
        "fastest",
        "not_judged",
    }
    print_sweep(record, Path("d"))
    for text in (capsys.readouterr().out, " ".join(Tags(render_sweep(record)).words)):
        assert "Not judged" in text
        assert "Fastest" in text
        assert "Not distinguishable" not in text


def test_the_only_valid_setting_is_not_the_best_of_anything() -> None:
    """Three of six blocks of the others: the one that is left is 12 times slower than what they gave."""
    record = sweep(*levels(), rate=lambda one, block: 1e5 if one.smt == 8 else None if block > 2 else 1.2e6)
    (workload,) = view_of(record).workloads
    assert text_of(workload.sentences).startswith("Only SMT 8 gave a valid result: 100 k rows/s")
    assert text_of(workload.sentences).endswith("Nothing is compared with it.")
    assert {(line.against, line.standing.word) for line in workload.lines} == {("–", "Not compared")}


def test_caveats_come_first() -> None:
    plan = design_of(levels(), replace(records.facts(), cpu=CpuFacts(architecture="x86_64")))
    plan = replace(plan, spec=replace(plan.spec, protocol="as-published"))
    journal = journal_of(plan, by_smt)
    journal[2] = FitEntry("w", "clean", result_of(fit_outcome(), PLACEMENT))
    unfinished = sweep_record(plan, journal[:-3])
    view = view_of(unfinished)
    assert view.status.word == "Unfinished"
    assert exit_code(unfinished) is ExitCode.INCONCLUSIVE
    assert view.lead == (
        "Unfinished, 3 of 24 measurements to go, synthetic data, x86-64 instead of Power, as-published protocol."
    )
    assert view_of(sweep_record(plan, journal)).lead.startswith("Synthetic data, x86-64 instead of Power")
    own = replace(plan, spec=replace(plan.spec, protocol="clean"))
    assert view_of(sweep_record(own, journal_of(own, by_smt))).lead == "x86-64 instead of Power."
    nothing = view_of(sweep_record(plan, []))
    assert nothing.workloads[0].sentences == ("Nothing was measured.",)
    assert nothing.status.word == "Unfinished"


def test_several_workloads_each_have_an_answer() -> None:
    settings = [replace(one, workload=name) for name in ("w", "x") for one in levels()]
    failing = sweep(*settings, rate=lambda one, block: None if one.workload == "x" else by_smt(one, block))
    view = view_of(failing)
    assert view.title == "Title of w and Title of x"
    assert view.workloads[0].sentences[0].startswith("Title of w: best with SMT 2: 1.0")
    assert view.workloads[1].sentences == ("Title of x: nothing was measured.",)
    assert view.status.word == "Invalid"
    assert exit_code(failing) is ExitCode.INCONCLUSIVE
    assert "SIGKILL" in view.workloads[1].reasons[0].reason


@pytest.mark.parametrize(
    ("factors", "rows", "columns", "panels"),
    [
        ((SMT, CORES, PLACE), (SMT,), (CORES,), (PLACE,)),
        ((BACKEND, SMT, THREADS, CORES), (SMT, THREADS), (CORES,), (BACKEND,)),
        ((BACKEND, BATCH, CORES), (BATCH,), (CORES,), (BACKEND,)),
        ((BACKEND, BATCH), (BACKEND,), (BATCH,), ()),
        ((INSTANCES,), (), (INSTANCES,), ()),
        ((), (), (), ()),
    ],
)
def test_heat_maps_have_the_factors_one_looks_for(factors, rows, columns, panels) -> None:
    axes = axes_of(factors)
    assert (axes.rows, axes.columns, axes.panels) == (rows, columns, panels)


class Tags(HTMLParser):
    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_has_the_answer_first_a_map_per_node_and_every_setting() -> None:
    record = power_sweep()
    page = render_sweep(record)
    assert page == render_sweep(record)
    assert len(page) < 200_000
    found = Tags(page)
    text = " ".join(found.words).replace("\u00a0", " ")
    order = [
        "Best with SMT 2",
        "How much it matters",
        "The band is",
        "all maps share the colours",
        "The best for each",
        "Left out",
    ]
    places = [text.index(one) for one in order]
    assert places == sorted(places)
    assert all(line.name in text for line in view_of(record).workloads[0].lines)
    assert found.tags.count("svg") == 2 + 2 + 2  # effects, narrow and wide; two nodes, each with map and scaling
    assert "SMT cliff" in text
    assert "NUMA penalty" in text
    assert "lparbench sweep w --cores 1,2" in text
    assert "8 settings: node 0 has 4 cores, not 8" in text


def test_names_from_a_record_are_text_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    record = sweep(*levels(), title=HOSTILE)
    assert "script" not in Tags(render_sweep(record)).tags
    print_sweep(record, Path("d"))
    assert "\x1b[31m" not in capsys.readouterr().out
    formula = sweep(replace(ONE, workload="=HYPERLINK(1)"))
    assert "\n=HYPER" not in render_sweep_csv(formula).replace(",", "\n")


@pytest.mark.parametrize("settings", [(), (ONE,), (ONE, replace(ONE, workload="x"))])
def test_sweeps_of_nothing_and_of_one_setting_have_a_page(settings: tuple[Configuration, ...]) -> None:
    page = render_sweep(sweep(*settings)).decode()
    assert "the only setting" in page or not settings


def test_a_sweep_of_many_settings_stays_a_page_that_can_be_mailed() -> None:
    settings = [
        replace(one, cores=cores, batch_sizes=(batch,), backend=backend, node=node)
        for one in levels()
        for cores in (1, 2, 4, 8, 16)
        for batch in (64, 4096)
        for backend in ("eager", "onnxruntime", "native")
        for node in (0, 1, 8, 9, 10, 11)
    ]
    record = sweep(*settings)
    page = render_sweep(record)
    assert len(page) < 1_000_000
    assert b"more maps of slower settings are not drawn" in page
    assert b"120 slower settings are not listed" in page


def test_a_pipe_gets_every_setting_and_a_terminal_the_fastest(capsys: pytest.CaptureFixture[str]) -> None:
    record = power_sweep()
    print_sweep(record, Path("results/sweeps/here"))
    out = capsys.readouterr().out.replace("\u00a0", " ")
    assert out.count("rows/s") >= 24
    assert "Left out, 8 settings: node 0 has 4 cores, not 8." in out
    assert "✔ Best with SMT 2, 4 cores, node 0" in out
    assert "Report: results/sweeps/here/report.html" in out
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    print_sweep(record, Path("here"), screen)
    shown = screen.file.getvalue()
    assert "4 slower settings are in the report." in shown


def test_csv_has_a_line_per_setting_with_all_its_processes() -> None:
    record = power_sweep()
    rows = list(csv.DictReader(io.StringIO(render_sweep_csv(record))))
    assert len(rows) == 24
    (best,) = [row for row in rows if row["against_best"] == "best"]
    assert (best["smt"], best["cores"], best["node"], best["memory_node"]) == ("2", "4", "0", "")
    assert [row["smt"] for row in rows if row["against_best"] == "equivalent"] == ["4"]
    blocks = dict(part.split(":") for part in best["rows_per_s_undisturbed_by_block"].split())
    assert float(blocks["0"]) == pytest.approx(float(best["rows_per_s_undisturbed"]), rel=0.05)
    assert len(blocks) == 6


def test_a_heat_map_prints_its_values_and_marks_what_is_special() -> None:
    cells = {
        (0, 0): HeatCell(1e6, best=True),
        (0, 1): HeatCell(9.9e5, tied=True),
        (1, 0): HeatCell(4e5, valid=False),
        (1, 1): HeatCell(0.0),
    }
    svg = heatmap_chart("k", "t", HeatAxis("SMT", ["2", "8"]), HeatAxis("threads", ["4", "8"]), cells, unit="rows/s")
    for shown in (">1.00<", ">≈ 0.990<", ">✖ 0.400<", ">0<", "cells in M\u00a0rows/s", "SMT 2, threads 4: 1.00\u00a0M"):
        assert shown in svg, shown
