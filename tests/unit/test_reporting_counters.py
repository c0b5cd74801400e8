"""Counters on pages and in exports: the ratios of the processes, and what was not counted."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from support.records import counted, inference, run, workload_results
from support.sweeps import power_sweep

from harness.record.model import ProcessCounters
from harness.reporting.csv import render_csv
from harness.reporting.html import render
from harness.reporting.sections.counters import run_table, sweep_table
from harness.reporting.sweep_csv import render_sweep_csv
from harness.reporting.sweep_html import render_sweep

SCORED = counted(inference())
FIGURES = {
    "instructions_per_cycle": 1.5,
    "cache_misses_per_1000_instructions": 2.0,
    "physical_cores": 1.5,
    "entitled_share": 0.75,
    "frequency_ratio": 1.1,
}


def test_a_run_has_a_row_per_result_and_says_what_is_missing() -> None:
    table = run_table(run(*SCORED, inference("nsl-kdd-mlp")))
    assert table is not None
    assert len(table.rows) == 1, "a result that was not counted has no row"
    shown = dict(zip(table.head[1:], (str(cell).replace("\u00a0", " ") for cell in table.rows[0][1:]), strict=True))
    assert shown == {
        "Instructions per cycle": "1.50",
        "Cache misses per 1,000 instructions": "2.00",
        "Physical cores consumed": "1.50",
        "Of the entitlement": "75.0 %",
        "Clock, of nominal": "110 %",
    }
    assert table.notes[1:] == ("Not counted: node_loads: not permitted.",)
    page = render(run(*SCORED)).decode()
    assert "<h3>Counters</h3>" in page
    assert "Not counted: node_loads: not permitted." in page
    assert "<h3>Counters</h3>" not in render(run(*workload_results())).decode()


def test_the_export_of_a_run_has_each_ratio_as_a_line() -> None:
    lines = list(csv.DictReader(io.StringIO(render_csv(run(*SCORED)))))
    of_counters = {line["metric"]: line for line in lines if line["metric"] in FIGURES}
    assert {name: float(line["value"]) for name, line in of_counters.items()} == FIGURES
    assert {line["n"] for line in of_counters.values()} == {str(len(SCORED[0].processes))}
    assert "remote_load_share" not in {line["metric"] for line in lines}
    plain = {line["metric"] for line in csv.DictReader(io.StringIO(render_csv(run(inference()))))}
    assert plain & {*FIGURES} == set()


def test_a_sweep_shows_and_exports_them_per_setting() -> None:
    sweep = power_sweep()
    assert sweep_table(sweep, 10) is None
    values = ProcessCounters({"node_loads": 100.0, "node_load_misses": 25.0}, {})
    first, *others = sweep.cells
    cell = replace(first, processes=tuple(replace(each, counters=values) for each in first.processes))
    measured = replace(sweep, cells=(cell, *others))
    table = sweep_table(measured, 10)
    assert table is not None
    assert table.head[1:] == ("Loads from another node",)
    assert [str(row[1]).replace("\u00a0", " ") for row in table.rows] == ["25 %"]
    assert sweep_table(measured, 0) is None
    assert b"<h3>Counters</h3>" in render_sweep(measured)
    lines = list(csv.DictReader(io.StringIO(render_sweep_csv(measured))))
    assert [line["remote_load_share"] for line in lines] == ["0.25"] + [""] * len(others)
