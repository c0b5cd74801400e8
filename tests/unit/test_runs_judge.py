"""From samples of processes to metrics and verdicts."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log, sqrt
from statistics import mean, stdev

import pytest
from scipy import stats

from harness.record.model import ProcessRecord, Verdict
from harness.record.series import Series
from harness.runs.judge import inference_metrics, judge, latency_metrics, training_metrics

CALL_S = [1.00e-3, 1.02e-3, 0.98e-3, 1.01e-3, 0.99e-3, 1.03e-3]


def series(call_s: float, *, batch: int = 64, inner: int = 1, samples: int = 100, flags: int = 0) -> Series:
    duration = round(call_s * inner * 1e9)
    return Series(
        name="call",
        batch_size=batch,
        inner=inner,
        durations_ns=(9 * duration,) + (duration,) * samples,
        flags=(0,) + (flags,) * samples,
        warmup=1,
        steady=True,
        estimate_s=call_s,
        estimate_all_s=call_s,
    )


def process(block: int, *, failure: str | None = None, steal: float | None = 0.0) -> ProcessRecord:
    return ProcessRecord(block, 0, 1, 4321, 1.0, None, steal, (0,), (0,), None, failure=failure)


PROCESSES = [process(block) for block in range(6)]
SERIES = [series(call) for call in CALL_S]


def verdict(processes=PROCESSES, measured=SERIES, mismatches=(), disagreement=None, emulator=None):
    return judge(
        processes, measured, placement_mismatches=mismatches, accuracy_mismatch=disagreement, emulator=emulator
    )


def test_a_rate_is_the_geometric_mean_over_processes_with_a_t_interval() -> None:
    rates = [64 / call for call in CALL_S]
    centre = exp(mean(map(log, rates)))
    half = stats.t.ppf(0.975, 5) * stdev(map(log, rates)) / sqrt(6)
    for name in ("rows_per_s", "rows_per_s_undisturbed"):
        metric = inference_metrics(SERIES)[name]
        assert metric.value == pytest.approx(centre)
        assert (metric.ci_low, metric.ci_high) == pytest.approx((centre * exp(-half), centre * exp(half)))
        assert metric.n == 6


def test_throughput_counts_every_call_and_the_undisturbed_rate_only_the_quiet_ones() -> None:
    """Half of the calls take three times as long: the mean call twice, the undisturbed median once the quiet time."""
    quiet, slow = 1_000_000, 3_000_000
    mixed = Series("call", 64, 1, (9 * quiet, *([quiet, slow] * 50)), (0, *([0, 1] * 50)), 1, True, None, None)
    metrics = inference_metrics([mixed])
    assert metrics["rows_per_s"].value == pytest.approx(64 / 2e-3)
    assert metrics["rows_per_s_undisturbed"].value == pytest.approx(64 / 1e-3)
    assert metrics["mean_inference_s"].value == pytest.approx(2e-3)
    assert metrics["call_s"].value == pytest.approx(1e-3)
    assert metrics["rows_per_s"].value * metrics["mean_inference_per_row_s"].value == pytest.approx(1, rel=1e-12)
    training = training_metrics([mixed], 64)
    assert training["train_rows_per_s"].value == pytest.approx(64 / 2e-3)
    assert training["train_rows_per_s_undisturbed"].value == pytest.approx(64 / 1e-3)
    assert training["train_rows_per_s"].value * training["mean_step_s"].value == pytest.approx(64, rel=1e-12)


def test_mean_inference_time_is_per_call_after_warm_up_whatever_the_inner_count() -> None:
    metrics = inference_metrics([series(2e-6, batch=1, inner=512)])
    assert metrics["mean_inference_s"].value == pytest.approx(2e-6)
    assert metrics["mean_inference_s"].ci_low is None, "one process has no interval"
    metrics = inference_metrics([series(1e-3, batch=64)])
    assert metrics["mean_inference_per_row_s"].value == pytest.approx(1e-3 / 64)


def test_percentiles_appear_only_where_the_requests_allow() -> None:
    metrics = latency_metrics([series(1e-4, batch=1, samples=111) for _ in range(6)])  # 666 requests
    assert metrics["p99_s"].value == pytest.approx(1e-4)
    assert metrics["p99_9_s"].value is None
    assert "6636" in str(metrics["p99_9_s"].note)


def test_percentiles_of_batch_means_are_refused() -> None:
    metrics = latency_metrics([series(1e-6, batch=1, inner=1024, samples=2000)])
    assert all(metric.value is None for metric in metrics.values())


def test_training_rate_counts_the_rows_of_a_step() -> None:
    metrics = training_metrics([series(5e-4)] * 6, 64)
    assert metrics["train_rows_per_s"].value == pytest.approx(128_000)


def test_undisturbed_agreeing_processes_are_valid() -> None:
    assert verdict().verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("changes", "expected", "word"),
    [
        ({"processes": PROCESSES[:1], "measured": SERIES[:1]}, Verdict.INVALID, "blocks"),
        ({"measured": [series(1e-3, flags=1)] * 6}, Verdict.INVALID, "undisturbed"),
        ({"processes": [process(0, steal=0.3), *PROCESSES[1:]]}, Verdict.INVALID, "hypervisor"),
        ({"mismatches": ["thread 7 ran on CPU 3"]}, Verdict.INVALID, "CPU 3"),
        ({"disagreement": "scores DISAGREE"}, Verdict.INVALID, "DISAGREE"),
        ({"measured": [replace(one, steady=False) for one in SERIES]}, Verdict.NO_STEADY_STATE, "settle"),
        ({"emulator": "qemu-user"}, Verdict.TIMINGS_REFUSED, "qemu-user"),
        ({"emulator": "qemu-user", "disagreement": "scores DISAGREE"}, Verdict.INVALID, "DISAGREE"),
    ],
)
def test_each_defect_gives_its_verdict_and_says_why(changes: dict, expected: Verdict, word: str) -> None:
    found = verdict(**changes)
    assert found.verdict is expected
    assert word in " ".join(found.reasons)


def test_a_failed_process_is_named_and_all_failed_is_a_failure() -> None:
    one_lost = verdict(processes=[process(9, failure="killed by signal 9 (SIGKILL)"), *PROCESSES])
    assert one_lost.verdict is Verdict.VALID
    assert "SIGKILL" in one_lost.reasons[0]
    assert verdict(processes=[process(0, failure="hung")], measured=[]).verdict is Verdict.FAILED
