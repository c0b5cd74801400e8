"""The terminal and the exports: plain for a pipe, legible at 80 columns, and safe from what a record holds."""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.records import (
    baselines,
    dataset,
    evaluation,
    findings,
    inference,
    rates,
    run,
    training,
    workload_results,
)

from harness.record.accuracy import Confusion, TrainingLimits
from harness.record.model import Run, Validity, Verdict
from harness.reporting import progress, terminal
from harness.reporting.console import say
from harness.reporting.csv import render_csv
from harness.reporting.html import render
from harness.reporting.sections.figures import warnings_of
from harness.reporting.sections.headline import headline
from harness.reporting.sections.results import workload_groups

DIRECTORY = Path("results/runs/20260801T120000Z-3f2a")


def _printed(record: Run, *, width: int, framed: bool) -> str:
    buffer = io.StringIO()
    terminal.print_run(record, DIRECTORY, Console(file=buffer, width=width, force_terminal=framed, no_color=True))
    return buffer.getvalue()


def test_a_pipe_gets_one_plain_line_per_result_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_run(run(), DIRECTORY)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    lines = [line.replace("\u00a0", " ") for line in printed.splitlines()]
    assert sum(line.startswith("Autoencoder, NSL-KDD  ") for line in lines) == len(workload_results())
    assert any(
        "Offline" in line and "onnxruntime" in line and "4.68 M rows/s ±2.0 %" in line and "4.82 M rows/s" in line
        for line in lines
    )
    assert lines[-1] == f"Report: {DIRECTORY}/report.html"
    assert lines[-2] == f"✔ {headline(run()).text}".replace("\u00a0", " ")
    assert "    $ sysctl kernel.numa_balancing=0" in lines


def test_a_terminal_of_80_columns_cuts_nothing() -> None:
    printed = re.sub(r"\x1b\[[\d;]*m", "", _printed(run(), width=80, framed=True)).replace("\u00a0", " ")
    assert all(len(line) <= 80 for line in printed.splitlines())
    for shown in (
        "onnxruntime",
        "4.68 M",
        "4.82 M",
        "2.16 µs",
        "8.90 µs",
        "12.3 s",
        "✔ Valid",
        "published 0.87",
    ):
        assert shown in printed, shown


def test_a_detector_that_a_baseline_beats_is_marked() -> None:
    result = inference()
    assert result.accuracy is not None
    better = baselines("1-NN distance", accuracy=0.97)
    beaten = replace(result, accuracy=replace(result.accuracy, baseline_detectors=better))
    assert "1-NN distance 0.970, prevalence 0.569, beaten by 1-NN distance 0.970" in _printed(
        run(beaten), width=300, framed=False
    )
    assert "beaten" not in _printed(run(result), width=300, framed=False)


def test_reasons_are_printed_with_the_result_they_belong_to() -> None:
    invalid = Validity(Verdict.INVALID, ("3 of at least 6 blocks. Run with --blocks 6 or more.",))
    printed = _printed(run(inference(validity=invalid), training()), width=200, framed=False)
    assert "✖ Autoencoder, NSL-KDD, offline, eager: 3 of at least 6 blocks. Run with --blocks 6 or more." in printed
    assert "▲ Valid in part. Autoencoder" in printed


def test_a_name_in_a_record_commands_no_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J[bold red]x[/]"
    finding = replace(findings()[0], title=hostile, why=hostile, fix=(hostile,), effect=hostile)
    printed = _printed(run(inference(title=hostile, backend=hostile), findings=(finding,)), width=200, framed=False)
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "[bold red]x[/]" in printed


def test_output_that_cannot_show_a_shape_shows_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.print_run(run(), DIRECTORY)
    sys.stdout.flush()
    assert b"? Valid" in raw.getvalue()


def test_csv_holds_every_figure_in_full() -> None:
    record = run()
    rows = list(csv.DictReader(io.StringIO(render_csv(record))))
    expected = sum(
        len(result.metrics)
        + sum(len(metrics) for size, metrics in result.by_batch.items() if size != result.batch_size)
        + len(result.accuracy.metrics)
        for result in record.results
    )
    assert len(rows) == expected
    offline = record.results[1]
    (rate,) = (
        row
        for row in rows
        if (row["scenario"], row["backend"], row["metric"], row["batch_size"])
        == ("offline", "eager", "rows_per_s", str(offline.batch_size))
    )
    assert float(rate["value"]) == offline.metrics["rows_per_s"].value
    assert rate["cpus"] == "0-1,8-9"
    (missing, *_) = (row for row in rows if row["metric"] == "p99_9_s")
    assert missing["value"] == ""
    assert "6636" in missing["note"]


def test_csv_runs_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(run(inference("=cmd|' /C calc'!A0", backend="@x"))))))
    assert {row["workload"] for row in rows} == {"'=cmd|' /C calc'!A0"}
    assert {row["backend"] for row in rows} == {"'@x"}


@pytest.mark.parametrize(("quiet", "watched", "lines"), [(True, True, []), (False, False, ["survey", "block 1"])])
def test_progress_is_silent_when_asked_and_never_on_standard_output(
    quiet: bool, watched: bool, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: watched)
    with progress.progress_for(quiet=quiet) as shown:
        shown.start(3, "survey")
        shown.advance("block 1")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == lines
    assert captured.out == ""


def test_progress_names_the_work_at_hand_and_leaves_no_trace_on_standard_output() -> None:
    buffer = io.StringIO()
    bar = progress.Bar(Console(file=buffer, force_terminal=True, width=120))
    bar.start(3, "survey of the machine")
    bar.advance("block 1 of 6: [bold]mlp")
    bar.close()
    assert "block 1 of 6: [bold]mlp" in buffer.getvalue()
    assert "1/3" in buffer.getvalue()


def test_a_terminal_breaks_sentences_between_words_and_no_command() -> None:
    kept, piped = io.StringIO(), io.StringIO()
    sentence = "✔ 6 cores serve 5,000 req/s at p99 ≤ 5 ms: capacity 5,370 [5,300, 5,460] req/s, measured."
    command = f"  $ mksyscfg -r lpar -i {'x' * 40} --flag"
    for text in (sentence, command):
        say(Console(file=kept, force_terminal=True, color_system=None, width=40), text)
        say(Console(file=piped, width=40), text)
    assert kept.getvalue().splitlines() == [
        "✔ 6 cores serve 5,000 req/s at p99 ≤ 5",
        "  ms: capacity 5,370 [5,300, 5,460]",
        "  req/s, measured.",
        command,
    ]
    assert piped.getvalue().splitlines() == [sentence, command]


@pytest.mark.parametrize("width", [80, 100])
def test_progress_keeps_units_and_times_where_the_text_is_too_long_for_the_line(width: int) -> None:
    buffer = io.StringIO()
    bar = progress.Bar(Console(file=buffer, force_terminal=True, width=width, legacy_windows=False))
    bar.start(26, "survey of the machine")
    bar.advance("block 1 of 6: SMT 1, 2 cores x 1, node 0, memory of node 1, onnxruntime, float32, batch 4096")
    bar.close()
    lines = [
        line for line in re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", buffer.getvalue()).split("\r") if "block 1" in line
    ]
    assert lines
    assert all(re.search(r" 1/26 \d:\d\d:\d\d left \S+ block 1 of 6: SMT 1, 2 .*…", line) for line in lines)
    assert max(map(len, lines)) <= width + 1


def test_progress_is_closed_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(progress.Silence, "close", lambda self: closed.append(self))
    with pytest.raises(KeyboardInterrupt), progress.progress_for(quiet=True):
        raise KeyboardInterrupt
    assert len(closed) == 1


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (replace(run(), results=()), "No workload has a result. Nothing was measured. 2 findings cost performance."),
        (
            run(training()),
            "Autoencoder, NSL-KDD on 2 cores × 2 threads of node 0: training 298 k rows/s ±2.0 % "
            "(312 k rows/s undisturbed), accuracy 0.884 "
            "(published 0.87). Valid. 2 findings cost performance.",
        ),
        (
            run(*(inference(f"w{index}", accuracy=None, published=None) for index in range(6)), findings=()),
            "w0 on 2 cores × 2 threads of node 0: 4.68 M rows/s ±2.0 % (4.82 M rows/s undisturbed); "
            "w1: 4.68 M rows/s ±2.0 % (4.82 M rows/s undisturbed); "
            "w2: 4.68 M rows/s ±2.0 % (4.82 M rows/s undisturbed); "
            "w3: 4.68 M rows/s ±2.0 % (4.82 M rows/s undisturbed); 2 more workloads below. Valid. "
            "No finding costs performance.",
        ),
    ],
)
def test_the_verdict_in_one_sentence(record: Run, text: str) -> None:
    assert headline(record).text.replace("\u00a0", " ") == text


def test_the_verdict_names_each_backend_where_they_differ() -> None:
    slow = inference(
        metrics={
            **inference().metrics,
            "rows_per_s_undisturbed": replace(inference().metrics["rows_per_s_undisturbed"], value=1e6),
        }
    )
    fast = inference(backend="onnxruntime")
    quick = inference(scenario="single_stream")
    said = headline(run(slow, fast, quick)).text.replace("\u00a0", " ")
    assert (
        "4.68 M rows/s ±2.0 % (4.82 M rows/s undisturbed) with onnxruntime, 2.16 µs per call at batch 1 with eager"
        in said
    )


def test_a_delivered_rate_far_below_the_undisturbed_one_is_warned_about_wherever_it_stands() -> None:
    """15.0 M rows/s undisturbed of which 5.5 M were delivered is no capacity to size by."""
    apart = inference(metrics={**inference().metrics, **rates(8192 / 15e6, 8192, disturbed=15 / 5.5)})
    record = run(apart, findings=())
    said = headline(record).text.replace("\u00a0", " ")
    assert said.startswith("Rates delivered are up to 63 % below undisturbed ones. ")
    assert "5.50 M rows/s ±2.0 % (15.0 M rows/s undisturbed)" in said
    assert headline(record).status.word == "Valid, disturbed"
    (group,) = workload_groups(record)
    assert group.rows[0].status.word == "Valid, disturbed"
    assert "63\u00a0% below the undisturbed rate" in str(group.remarks[0])
    for printed in (_printed(record, width=200, framed=False), bytes(render(record)).decode()):
        assert "Valid, disturbed" in printed
        assert "Size by rows/s" in printed
    close = inference(metrics={**inference().metrics, **rates(1.7e-3, 8192, disturbed=1.05)})
    assert headline(run(close)).status.word == "Valid"


@pytest.mark.parametrize(
    ("changes", "aside"),
    [
        ({"dataset": dataset(origin="synthetic")}, ""),
        ({"dataset": replace(dataset(), verified=False)}, ""),
        ({"accuracy": replace(evaluation(), limits=TrainingLimits(1, None))}, " (1 of 30 epochs)"),
        ({"accuracy": replace(evaluation(), limits=TrainingLimits(None, 2000))}, " (2,000 training rows)"),
        ({"accuracy": replace(evaluation(), limits=TrainingLimits(1, 2000))}, " (1 of 30 epochs, 2,000 training rows)"),
    ],
)
def test_no_published_figure_stands_next_to_other_data_or_a_shortened_training(
    changes: dict[str, Any], aside: str
) -> None:
    record = run(*(replace(result, **changes) for result in workload_results()), findings=())
    assert f"accuracy 0.884{aside}." in headline(record).text
    shown = bytes(render(record)).decode().partition("How it was measured")[0]
    for text in (shown, _printed(record, width=200, framed=False), _printed(record, width=80, framed=True)):
        assert "published 0.87" not in text
        assert "0.87<" not in text


def test_figures_that_may_not_be_used_are_no_headline() -> None:
    few = Validity(Verdict.INVALID, ("2 of at least 6 blocks. Run with --blocks 6 or more.",))
    whole = headline(run(*(replace(result, validity=few) for result in workload_results())))
    assert whole.sentences == (f"No result may be used: {few.reasons[0].rstrip('.')}",)
    assert whole.aside.startswith("Not to be used: Autoencoder, NSL-KDD on 2 cores × 2 threads of node 0: 4.68")
    assert whole.text.count("--blocks 6 or more") == 1
    part = headline(run(inference(validity=few), inference(scenario="single_stream")))
    assert "M rows/s" not in " ".join(part.sentences)
    assert "2.16" in part.sentences[0]
    assert part.closing.startswith("1 of 2 results not valid.")


def test_a_detector_that_flags_nothing_or_everything_says_so() -> None:
    def warned(**counts: int) -> str:
        accuracy = evaluation()
        return " ".join(warnings_of(inference(accuracy=replace(accuracy, confusion=Confusion(**counts)))))

    assert warned(true_negative=90, false_positive=0, false_negative=10, true_positive=0) == (
        "At its threshold the detector flags none of the 10 anomalies."
    )
    assert "flags 1,997 of 2,000 rows" in warned(
        true_negative=3, false_positive=1897, false_negative=0, true_positive=100
    )
    assert warned(true_negative=90, false_positive=2, false_negative=4, true_positive=6) == ""


def test_warnings_about_data_and_scores_are_on_terminal_and_page_and_in_the_headline() -> None:
    warned = []
    for result in workload_results():
        assert result.accuracy is not None
        data = replace(result.dataset, warnings=("Column 'x' alone separates the labels.",))
        accuracy = replace(result.accuracy, warnings=("Scores seem turned.",))
        warned.append(replace(result, dataset=data, accuracy=accuracy))
    record = run(*warned)
    page = bytes(render(record)).decode()
    for width in (80, 200):
        printed = " ".join(_printed(record, width=width, framed=True).split())
        for warning in ("Column 'x' alone separates the labels.", "Scores seem turned."):
            assert printed.count(warning) == 1
            assert page.count(warning.replace("'", "&#39;")) >= 1
        assert "warnings about the data or scores of 1 workload" in printed.replace("\u00a0", " ").casefold()
    assert "about the data" not in headline(run()).text


def test_what_a_worker_says_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as a line nor in the bar, whose text names workloads and the reasons of workers."""
    hostile = "a\x1b[2J\x9b1m\x07\u202eb\rc\nd"
    clean = "a\ufffd[2J\ufffd1m\ufffd\ufffdb\ufffdc\ufffdd"
    with progress.progress_for(quiet=False) as lines:
        lines.say(hostile)
    assert capsys.readouterr().err == f"{clean}\n"
    drawn = io.StringIO()
    bar = progress.Bar(Console(file=drawn, width=200))
    bar.start(2, hostile)
    bar.advance(hostile)
    bar.say(hostile)
    bar.close()
    assert drawn.getvalue().startswith(f"{clean}\n")
    assert not [c for c in drawn.getvalue() if not c.isprintable() and c not in "\n\u00a0"]


def test_in_a_pipe_each_stage_and_block_is_one_line_with_the_time_left(capsys) -> None:
    now = [0.0]
    lines = progress.Lines(lambda: now[0])
    lines.start(6, "survey of the machine")
    lines.advance("nsl-kdd-mlp: training 5 seeds")
    for block in (1, 2):
        for workload in ("a", "b"):
            lines.advance(f"block {block} of 2: {workload}")
            now[0] += 10.0
    assert capsys.readouterr().err.splitlines() == [
        "survey of the machine",
        "nsl-kdd-mlp: training 5 seeds",
        "block 1 of 2",
        "block 2 of 2, about 20 s left",
    ]


def test_what_is_to_be_known_of_the_placement_is_in_the_terminal_and_on_the_page(tmp_path: Path) -> None:
    note = "Node 2 has no memory: it is taken from node 3."
    record = run()
    record = replace(record, placement=replace(record.placement, notes=(note,)))
    out = io.StringIO()
    terminal.print_run(record, tmp_path, Console(file=out, width=200))
    assert note in out.getvalue()
    assert note in render(record).decode()
