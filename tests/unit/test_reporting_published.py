"""The table of published figures: which protocol stands where, what beats a system, and who could not be fitted."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.records import baselines, evaluation, inference, run, spec

from harness.errors import InputError
from harness.record.accuracy import Epochs, ScoredCounterpart, SeedMean, TrainingLimits
from harness.record.codec import normal
from harness.record.model import Run, Validity, Verdict
from harness.record.spec import Protocol
from harness.reporting import terminal
from harness.reporting.html import render
from harness.reporting.published_markdown import render_published
from harness.reporting.sections.published import HEAD, published_rows


def _both(protocol: Protocol = "clean", **accuracy: Any) -> Run:
    """A run under both protocols, ``protocol`` being its own."""
    result = inference()
    other: Protocol = "as-published" if protocol == "clean" else "clean"
    counterpart = ScoredCounterpart(
        protocol=other, metrics={"accuracy": SeedMean(0.871, 0.002, 5)}, oracle=(), floor=None, passed=None,
        threshold_rule="a percentile", prevalence=0.5, rows=100, epochs=Epochs(11, 30),
    )  # fmt: skip
    recorded = replace(evaluation(), protocol=protocol, counterpart=counterpart, **accuracy)
    result = replace(result, accuracy=recorded, dataset=replace(result.dataset, protocol=protocol))
    return run(result, spec=spec(both_protocols=True))


def test_the_table_for_a_page_of_documentation() -> None:
    record = _both(notes=("epochs | seeds differ <b>",))
    written = render_published([record])
    assert "epochs \\| seeds differ &lt;b&gt;" in written
    lines = written.replace("\\|", "").replace("\\", "").splitlines()
    assert record.created in lines[0]
    head, row = (line.split(" | ") for line in (lines[2], lines[4]))
    assert len(head) == len(row) == len(HEAD)
    assert row[2:6] == ["accuracy 0.87", "0.871 ± 0.002 (5 seeds)", "0.884 ± 0.004 (5 seeds)", "isolation forest 0.810"]
    with pytest.raises(InputError, match="under one protocol"):
        render_published([record, run(inference())])


def test_runs_of_several_evenings_make_one_table() -> None:
    record = _both()
    lines = render_published([record, replace(record, run_id="another")]).splitlines()
    assert [line.startswith("- Run ") for line in lines[:3]] == [True, True, False]
    assert "another" in lines[1]
    assert len(lines) == 3 + 2 + 2


def _printed(record: Run, width: int, *, framed: bool) -> str:
    buffer = io.StringIO()
    terminal.print_run(record, Path("there"), Console(file=buffer, width=width, force_terminal=framed, no_color=True))
    return buffer.getvalue().replace("\u00a0", " ")


def test_each_figure_stands_under_its_protocol() -> None:
    (row,) = published_rows(_both())
    assert row.published == "0.87"
    assert (row.clean.value, row.clean.note) == ("0.884 ± 0.004", "5 seeds")
    assert row.as_published.value == "0.871 ± 0.002"
    assert row.as_published.note == "5 seeds"
    assert row.cells()[4] == "0.884 ± 0.004 (5 seeds)"
    assert (row.baseline_name, row.baseline_value) == ("isolation forest", "0.810")
    assert row.baseline == "isolation forest 0.810"
    assert not row.beaten
    assert row.difference.startswith(inference().published.difference)  # type: ignore[union-attr]
    (turned,) = published_rows(_both("as-published"))
    assert (turned.as_published, turned.clean) == (row.clean, row.as_published)
    assert turned.baseline == "–"  # baselines are those of the run's own protocol


def test_a_better_baseline_is_marked() -> None:
    record = _both(baseline_detectors=baselines("1-NN distance", accuracy=0.95))
    assert published_rows(record)[0].beaten
    assert "1-NN distance 0.950 ▲ better" in _printed(record, 10_000, framed=False)
    page = render(record).decode()
    assert "Published figures, repeated" in page
    assert "▲ better" in page


def test_a_system_that_could_not_be_fitted_keeps_its_row() -> None:
    record = _both()
    failed = replace(record.results[0], accuracy=None, validity=Validity(Verdict.FAILED, ("out of memory: killed",)))
    (row,) = published_rows(normal(replace(record, results=(failed,))))
    assert (row.clean.value, row.clean.note) == ("failed", "out of memory: killed")
    assert row.as_published.value == "–"
    assert row.published == "0.87"


def test_what_limited_the_training_is_said_below_the_figure() -> None:
    (row,) = published_rows(_both(limits=TrainingLimits(1, 2000)))
    assert row.clean.note == "5 seeds, 1 of 30 epochs, 2,000 training rows"


def test_a_run_under_one_protocol_has_no_such_table() -> None:
    assert published_rows(run()) == []
    assert "Published figures, repeated" not in render(run()).decode()


def test_a_terminal_has_the_explanations_below_the_table() -> None:
    printed = _printed(_both(), 80, framed=True)
    assert "Difference explained" not in printed
    assert "Autoencoder, NSL-KDD: " in printed
