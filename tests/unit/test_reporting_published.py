"""The table of published figures: which protocol stands where, what beats a system, and who could not be fitted."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from support.records import inference, run

from harness.record.codec import from_json, to_json
from harness.record.model import Run, Validity, Verdict
from harness.reporting import terminal
from harness.reporting.html import render
from harness.reporting.sections.published import published_rows


def _both(protocol: str = "clean", **accuracy: Any) -> Run:
    """A run under both protocols, ``protocol`` being its own."""
    result = inference()
    other = "as-published" if protocol == "clean" else "clean"
    counterpart = {
        "protocol": other,
        "metrics": {"accuracy": {"value": 0.871, "sd": 0.002, "n": 5}},
        "epochs": {"trained": 11, "scheduled": 30},
        "limits": {"epochs": 1, "rows": 2000},
    }
    found = {**(result.accuracy or {}), "protocol": protocol, "counterpart": counterpart, **accuracy}
    record = run(replace(result, accuracy=found, dataset=replace(result.dataset, protocol=protocol)))
    return replace(record, plan={**record.plan, "both_protocols": True})


def _printed(record: Run, width: int, *, framed: bool) -> str:
    buffer = io.StringIO()
    terminal.print_run(record, Path("there"), Console(file=buffer, width=width, force_terminal=framed, no_color=True))
    return buffer.getvalue().replace("\u00a0", " ")


def test_each_figure_stands_under_its_protocol() -> None:
    (row,) = published_rows(_both())
    assert row.published == "0.87"
    assert (row.clean.value, row.clean.note) == ("0.884 ± 0.004", "5 seeds")
    assert row.as_published.value == "0.871 ± 0.002"
    assert row.as_published.note == "5 seeds, 1 of 30 epochs, 2,000 training rows"
    assert row.cells()[4] == "0.884 ± 0.004 (5 seeds)"
    assert (row.reference_name, row.reference_value) == ("isolation forest", "0.810")
    assert row.reference == "isolation forest 0.810"
    assert not row.beaten
    assert row.difference.startswith(inference().published.difference)  # type: ignore[union-attr]
    (turned,) = published_rows(_both("as-published"))
    assert (turned.as_published, turned.clean) == (row.clean, row.as_published)
    assert turned.reference == "–"  # references are those of the run's own protocol


def test_a_better_reference_is_marked() -> None:
    better = [{"name": "1-NN distance", "metrics": {"accuracy": {"value": 0.95}}}]
    record = _both(references=better)
    assert published_rows(record)[0].beaten
    assert "1-NN distance 0.950 ▲ better" in _printed(record, 10_000, framed=False)
    page = render(record).decode()
    assert "Published figures, repeated" in page
    assert "▲ better" in page


def test_a_system_that_could_not_be_fitted_keeps_its_row() -> None:
    record = _both()
    failed = replace(record.results[0], accuracy=None, validity=Validity(Verdict.FAILED, ("out of memory: killed",)))
    (row,) = published_rows(from_json(to_json(replace(record, results=(failed,)))))
    assert (row.clean.value, row.clean.note) == ("failed", "out of memory: killed")
    assert row.as_published.value == "–"
    assert row.published == "0.87"


def test_a_run_under_one_protocol_has_no_such_table() -> None:
    assert published_rows(run()) == []
    assert "Published figures, repeated" not in render(run()).decode()


def test_a_terminal_has_the_explanations_below_the_table() -> None:
    printed = _printed(_both(), 80, framed=True)
    assert "Difference explained" not in printed
    assert "Autoencoder, NSL-KDD: " in printed
