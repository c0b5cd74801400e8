"""Every backend has a training time, measured or estimated, or the reason why it has none."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support import records
from support.sweeps import PLACEMENT, fit_outcome, result_of

from harness.record.model import Metric
from harness.reporting.html import render
from harness.reporting.terminal import print_run
from harness.runs.engine import Fit
from harness.runs.training_time import training_time
from harness.training.context import Epoch
from harness.workload.files import load_workload

RATE = Metric(5_000.0, "rows/s", 4_000.0, 6_250.0, 6)


def _fit(seeds: int = 1, **changes: object) -> Fit:
    epochs = tuple(Epoch(at, {"loss": 1.0}, 0.1, 16, 1_000) for at in range(20))
    outcome = replace(fit_outcome(), train_seconds=8.0, epochs=epochs, **changes)  # type: ignore[arg-type]
    return Fit(load_workload("nsl-kdd-mlp"), "clean", seeds, Path("fit"), result_of(outcome, PLACEMENT))


def test_the_backend_that_trained_has_the_time_of_the_whole_fit() -> None:
    for seeds, note in ((1, "no interval from one fit"), (5, "no interval from 5 seeds together")):
        assert training_time(_fit(seeds), "eager", "float32", RATE) == Metric(8.0, "s", n=1, note=note)


def test_a_method_without_steps_has_it_too() -> None:
    assert training_time(_fit(trains_on=()), "eager", "float32", None) == Metric(
        8.0, "s", n=1, note="no interval from one fit"
    )


def test_another_backend_that_trains_has_an_estimate_from_its_loop() -> None:
    fit = _fit(trained_on="native", trains_on=("eager", "native"))
    time = training_time(fit, "eager", "float32", RATE)
    assert time is not None
    assert (time.value, time.ci_low, time.ci_high, time.n) == (4.0, 3.2, 5.0, 6)
    assert time.note == "estimated: 20,000 rows in 20 passes at the rate of its loop; trained with native"
    twice = training_time(replace(fit, seeds=2), "eager", "float32", replace(RATE, ci_low=None, ci_high=None))
    assert twice is not None
    assert (twice.value, twice.ci_low) == (8.0, None)
    assert str(twice.note).startswith("estimated: 2 seeds, 20,000 rows")


@pytest.mark.parametrize(
    ("changes", "backend", "dtype", "reason"),
    [
        ({"trains_on": ("eager",)}, "onnxruntime", "float32", "scores only; trained with eager"),
        ({"trains_on": ("eager",)}, "compile", "float32", "scores only; trained with eager"),
        ({"trains_on": ("eager",)}, "native", "float32", "no native training for this detector; trained with eager"),
        ({"trains_on": ("eager",)}, "eager", "bfloat16", "trained in float32, converted to score"),
        (
            {"trains_on": ("eager", "native"), "trained_on": "native"},
            "eager",
            "float32",
            "its loop was not timed; trained with native",
        ),
    ],
)
def test_an_absent_time_says_why(changes: dict[str, object], backend: str, dtype: str, reason: str) -> None:
    assert training_time(_fit(**changes), backend, dtype, None) == Metric(None, "s", n=0, note=reason)


def test_nothing_is_said_of_a_failed_fit() -> None:
    fit = _fit()
    assert training_time(replace(fit, result=replace(fit.result, reports=())), "eager", "float32", None) is None


def test_the_reason_is_on_the_page_and_the_terminal(tmp_path: Path) -> None:
    reason = "scores only; trained with eager"
    result = records.inference()
    result = replace(result, metrics={**result.metrics, "train_seconds": Metric(None, "s", n=0, note=reason)})
    record = records.run(result)
    assert reason in render(record).decode()
    buffer = io.StringIO()
    print_run(record, tmp_path, Console(file=buffer, width=200, no_color=True))
    assert f"offline, eager: training time: {reason}" in buffer.getvalue()
