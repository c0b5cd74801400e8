"""One name, one quantity: rate times mean time per row is 1 in every record, page and export, within rounding."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console
from support.records import inference, rates, run, training
from support.sweeps import power_sweep

from harness.record.codec import normal
from harness.record.model import Metric, Run
from harness.reporting.csv import render_csv
from harness.reporting.html import render
from harness.reporting.metric_lines import metric_lines
from harness.reporting.openmetrics import openmetrics_text
from harness.reporting.pytest_benchmark_json import pytest_benchmark_text
from harness.reporting.sweep_csv import render_sweep_csv
from harness.reporting.sweep_html import render_sweep
from harness.reporting.sweep_terminal import print_sweep
from harness.reporting.terminal import print_run

RATE, PER_ROW = "rows_per_s", "mean_inference_per_row_s"
_PREFIXES = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_NUMBER = r"([\d.,]+)\u00a0?([nµmkMG]?)"


def whole_run() -> Run:
    """Every scenario, a disturbed process in each, several batch sizes, and several instances."""
    instances = inference(backend="native", instances=2, metrics=rates(2e-3, 8192), by_batch={})
    streams = (inference(scenario="single_stream"), inference(scenario="multi_stream"))
    return normal(run(training(), inference(), *streams, instances))


def product(rate: float | None, per_row: float | None) -> float:
    assert rate is not None
    assert per_row is not None
    return rate * per_row


def test_in_the_record_and_in_every_store_of_figures() -> None:
    pairs = 0
    for result in whole_run().results:
        lines: dict[tuple[int | None, str], Metric] = {
            (size, name): metric for size, name, metric in metric_lines(result)
        }
        for (size, name), metric in lines.items():
            if name == RATE:
                assert product(metric.value, lines[size, PER_ROW].value) == pytest.approx(1, rel=1e-9)
                assert lines[size, PER_ROW].value == pytest.approx(lines[size, "mean_inference_s"].value / (size or 1))
                assert lines[size, "rows_per_s_undisturbed"].value > metric.value  # in these records of disturbed runs
                pairs += 1
    assert pairs == 7
    for cell in power_sweep().cells:
        assert product(cell.rows_per_s.value, cell.mean_inference_per_row_s.value) == pytest.approx(1, rel=1e-9)


def test_in_csv_of_runs_and_sweeps() -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(whole_run()))))
    key = ("scenario", "backend", "batch_size", "instances")
    per_row = {tuple(row[name] for name in key): float(row["value"]) for row in rows if row["metric"] == PER_ROW}
    counted = {tuple(row[name] for name in key): float(row["value"]) for row in rows if row["metric"] == RATE}
    assert counted.keys() == per_row.keys()
    assert len(counted) == 7
    assert all(product(counted[name], per_row[name]) == pytest.approx(1, rel=1e-9) for name in counted)
    for row in csv.DictReader(io.StringIO(render_sweep_csv(power_sweep()))):
        assert product(float(row[RATE]), float(row[PER_ROW])) == pytest.approx(1, rel=1e-9)


def test_in_openmetrics() -> None:
    text = openmetrics_text(whole_run()).decode()
    estimates = re.compile(r'^lparbench_(\w+)\{(.*),bound="estimate",unit="[^"]*"\} (\S+)', re.MULTILINE)
    found: dict[str, dict[str, float]] = {}
    for name, labels, value in estimates.findall(text):
        found.setdefault(name, {})[labels] = float(value)
    assert found[RATE].keys() == found[PER_ROW].keys()
    assert all(found[RATE][labels] * value == pytest.approx(1, rel=1e-9) for labels, value in found[PER_ROW].items())


def test_the_export_of_times_says_which_estimate_it_gives() -> None:
    document = json.loads(pytest_benchmark_text(run(inference())))
    assert all("undisturbed" in one["extra_info"]["lparbench"]["unit"] for one in document["benchmarks"])


def test_in_the_tables_of_the_page() -> None:
    page = unescape(render(whole_run()).decode())
    rows = re.findall(
        rf'<td class="n">{_NUMBER}\u00a0?rows/s<small>[^<]*</small></td>\s*<td class="n[^"]*">{_NUMBER}\u00a0?rows/s'
        rf'<small>[^<]*</small></td>\s*<td class="n[^"]*">{_NUMBER}\u00a0?s'
        rf"(?:<small>{_NUMBER}\u00a0?s per row</small>)?</td>",
        page,
    )
    assert len(rows) == 4
    for row in rows:
        counted, undisturbed, mean, per_row = (_value(*row[at : at + 2]) for at in (0, 2, 4, 6))
        assert counted < undisturbed
        assert counted * (per_row or mean) == pytest.approx(1, abs=0.01)
    sweep = unescape(render_sweep(power_sweep()).decode())
    cells = re.findall(
        rf"<td class=\"n\">{_NUMBER}<small>[^<]*</small></td><td class=\"n[^\"]*\">{_NUMBER}"
        rf"<small>[^<]*</small></td><td class=\"n[^\"]*\">{_NUMBER}\u00a0?s<",
        sweep,
    )
    assert len(cells) == 24
    assert '<th scope="col" class="n">rows/s<small>' in sweep  # the unit of the first
    assert all(_value(*row[:2]) * _value(*row[4:6]) == pytest.approx(1, abs=0.01) for row in cells)


def test_in_the_terminal(tmp_path: Path) -> None:
    buffer = io.StringIO()
    print_run(whole_run(), tmp_path, Console(file=buffer, width=10_000, no_color=True))
    lines = [line for line in buffer.getvalue().splitlines() if "/row)" in line]
    assert len(lines) == 2
    for line in lines:
        counted = re.search(rf"{_NUMBER}\u00a0?rows/s", line)
        per_row = re.search(rf"\({_NUMBER}\u00a0?s/row\)", line)
        assert counted is not None
        assert per_row is not None
        assert _value(*counted.groups()) * _value(*per_row.groups()) == pytest.approx(1, abs=0.01)
    buffer = io.StringIO()
    print_sweep(power_sweep(), tmp_path, Console(file=buffer, width=10_000, no_color=True))
    rows = re.findall(rf"{_NUMBER}\u00a0?rows/s ±[^±]*?rows/s ±\S+\u00a0?% +{_NUMBER}\u00a0?s", buffer.getvalue())
    assert len(rows) == 24
    assert all(_value(*row[:2]) * _value(*row[2:4]) == pytest.approx(1, abs=0.01) for row in rows)


def test_a_disturbed_run_shows_two_rates_that_differ() -> None:
    disturbed = replace(inference(), metrics=rates(1.7e-3, 8192, disturbed=2.0))
    metrics = disturbed.metrics
    assert metrics["rows_per_s_undisturbed"].value == pytest.approx(2 * (metrics[RATE].value or 0))


def _value(number: str, prefix: str) -> float:
    return float(number.replace(",", "")) * _PREFIXES[prefix] if number else 0.0
