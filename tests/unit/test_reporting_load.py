"""A load test as record, page and text: what was measured is in all of them, and nothing of it runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.loads import SPEC, load_record, stalled

from harness.errors import InputError
from harness.record.load_model import LatencyCurve, Limit, LoadRecord, ProcessUse
from harness.record.store import LOAD_NAME, load_load_test, load_text
from harness.reporting.load_html import render_load
from harness.reporting.load_view import lines, sentence_of, status_of
from harness.reporting.stored import page_of
from harness.serving.bottleneck import limited_by, process_times, uses
from harness.serving.drift import DriftState
from harness.serving.load import judge
from harness.serving.metrics import Metrics, ProcessTime, openmetrics

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> {{ 7*7 }} $\\frac$ \x00 \x1b[2J \u202e'


def test_the_record_comes_back_from_disk_and_its_page_from_the_record(tmp_path: Path) -> None:
    record = load_record()
    path = tmp_path / LOAD_NAME
    path.write_text(load_text(record), encoding="utf-8")
    assert load_text(load_load_test(path)) == load_text(record)
    page = page_of(tmp_path)
    assert page.content == render_load(record)
    assert (page.status, page.verdict) == ("Bound not held", sentence_of(record))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["result"]["timeline"]["due"].append(1), "not of the same length"),
        (lambda d: d["result"]["curve"]["seconds"].reverse(), "must rise"),
        (lambda d: d["result"].pop("curve"), "key 'curve' is missing"),
        (lambda d: d["result"].update(limited_by="gremlins"), "limited_by"),
        (lambda d: d["spec"].update(rate=0), "spec.rate"),
    ],
)
def test_a_damaged_record_is_refused_by_its_path(tmp_path: Path, change: Any, message: str) -> None:
    document = json.loads(load_text(load_record()))
    del document["digest"]
    change(document)
    path = tmp_path / LOAD_NAME
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        load_load_test(path)


def test_the_timeline_and_the_curve_are_those_of_the_requests() -> None:
    sent, times = stalled(failed=100)
    result = judge(sent, SPEC, times, None, ())
    timeline, ends = result.timeline, times + sent.latencies_ns
    good, step_ns = sent.statuses == 200, round(result.timeline.step_s * 1e9)
    assert len(timeline.due) <= 61
    for counts, moments in ((timeline.due, times), (timeline.answered, ends[good]), (timeline.failed, ends[~good])):
        assert sum(counts) == len(moments)
        for at in (0, 20, 22, len(counts) - 1):
            assert counts[at] == ((moments >= at * step_ns) & (moments < (at + 1) * step_ns)).sum()
    assert min(timeline.answered[20:22]) == 0  # the standstill
    latencies = sent.latencies_ns[good] * 1e-9
    for second, share in zip(result.curve.seconds, result.curve.shares, strict=True):
        assert share == pytest.approx((latencies <= second).sum() / len(times), abs=1e-12)
    assert result.curve.shares[-1] == pytest.approx(0.99)  # what failed is never reached
    nothing = replace(sent, statuses=np.zeros(len(times), dtype=np.int16))
    assert judge(nothing, SPEC, times, None, ()).curve == LatencyCurve((), ())


def test_page_and_terminal_say_what_was_measured() -> None:
    record = load_record()
    page, text = render_load(record).decode(), "\n".join(lines(record))
    for shown in (page, text):
        assert "the server&#39;s front" in shown or "the server's front" in shown
        assert "40 × 503" in shown
        assert "front-0" in shown
    assert "synthetic rows" in page
    assert "p99.9 – (requests failed)" in text
    assert "<small>requests failed</small>" in page
    for shown in (page, text):
        assert (
            "1,000 req/s (940 to 1,060), met in half of the trials (12\u00a0% left out that miss the bound at any "
            "rate); 80\u00a0% (78\u00a0% to 82\u00a0%) of what a closed loop" in shown
        )
    assert record.search is not None
    earlier = replace(record, search=replace(record.search, missed_anyway=None))
    assert "(940 to 1,060), met in three trials of four; 80" in "\n".join(lines(earlier))
    assert page.count('<svg class="chart"') == 2
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.parametrize("failed", [0, 10_000])
def test_a_page_of_hostile_words_runs_nothing(failed: int) -> None:
    record = load_record(HOSTILE, failed)
    spec = replace(record.spec, url=HOSTILE)
    result = replace(record.result, reasons=(HOSTILE,), processes=(ProcessUse(HOSTILE, "server", 1, 1.0, 0.1, 1.0),))
    record = replace(record, spec=spec, rows=HOSTILE, result=result)
    page = render_load(record).decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7*7 }}" in page
    assert "\x1b" not in "\n".join(lines(record))


@pytest.mark.parametrize(("rate", "text"), [(0.5, "0.500"), (12.34, "12.3"), (20_123.4, "20,123")])
def test_a_rate_is_given_as_it_was(rate: float, text: str) -> None:
    record = load_record()
    result = replace(record.result, offered_per_s=rate, achieved_per_s=rate)
    assert next(lines(replace(record, result=result))).startswith(f"offered {text} req/s, answered {text} req/s ")


def _status(record: LoadRecord, **changes: Any) -> str:
    return status_of(replace(record, result=replace(record.result, **changes))).word


def test_a_figure_that_is_not_valid_is_not_called_good() -> None:
    record = load_record(failed=0)
    assert _status(record, met=True) == "Bound held"
    assert _status(record, met=True, reasons=("x",)) == "Invalid"
    assert _status(record, met=None) == "Valid"
    assert _status(load_record(failed=1), met=None) == "Valid, with failures"


def test_processes_say_in_the_metrics_what_they_took() -> None:
    front, scorer = Metrics("front-0"), Metrics("scorer-0")
    scorer.score_s.add(1.5)
    total = Metrics()
    total.add(front.counts())
    total.add(scorer.counts())
    again = Metrics("scorer-0")  # started again: what its predecessor took is counted on
    again.add(scorer.counts())
    times = process_times(openmetrics(total, {}, DriftState(2000, 0, 0, (), {}), 0.0).decode())
    assert times.keys() == {"front-0", "scorer-0"}
    assert times["scorer-0"].scoring_s == pytest.approx(1.5)
    assert times["front-0"].cpu_s > 0
    assert again.processes["scorer-0"].cpu_s == pytest.approx(2 * times["scorer-0"].cpu_s, rel=0.2)
    assert again.processes["scorer-0"].scoring_s == pytest.approx(1.5)
    assert process_times('# EOF\nlparbench_process_cpus{process="x"} nan\n') == {}


@pytest.mark.parametrize(
    ("after", "answered", "lagged", "limit"),
    [
        ({"server": ProcessTime(1, 9.5, 1.0)}, 500.0, False, "front"),
        ({"server": ProcessTime(1, 9.5, 8.0)}, 500.0, False, "scorer"),
        ({"server": ProcessTime(1, 9.5, 8.0)}, 500.0, True, "generator"),
        ({"server": ProcessTime(1, 9.5, 8.0)}, 1000.0, False, "nothing"),
        ({"server": ProcessTime(1, 4.0, 1.0)}, 500.0, False, "unknown"),
        ({}, 500.0, False, "unknown"),
        ({"front-0": ProcessTime(1, 2, 0), "front-1": ProcessTime(1, 9.9, 0), "scorer-0": ProcessTime(2, 9, 4)}, 500.0,
         False, "front"),
        ({"front-0": ProcessTime(1, 2, 0), "scorer-0": ProcessTime(2, 19, 4)}, 500.0, False, "scorer"),
        ({"front-0": ProcessTime(1, 2, 0), "scorer-0": ProcessTime(2, 9, 9.5)}, 500.0, False, "scorer"),
    ],
)  # fmt: skip
def test_what_was_busy_all_the_time_is_what_limited(
    after: dict[str, ProcessTime], answered: float, lagged: bool, limit: Limit
) -> None:
    sent, times = stalled()
    result = replace(judge(sent, SPEC, times, None, ()), achieved_per_s=answered, offered_per_s=1000.0, met=None)
    began = {name: ProcessTime(each.cpus, 1.0, 1.0) for name, each in after.items()}
    ended = {name: ProcessTime(each.cpus, each.cpu_s + 1, each.scoring_s + 1) for name, each in after.items()}
    assert limited_by(result, lagged, uses(began, ended, 10.0)) == limit


def test_a_record_is_known_by_what_it_holds(tmp_path: Path) -> None:
    record = load_record()
    path = tmp_path / "monday.json"
    path.write_text(load_text(record))
    assert page_of(path).content == render_load(record)
