"""Blocks of several instances, and blocks of a server, as metrics with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import records

from harness.compare.environment import differences, refuse_separated
from harness.compare.observations import Side, side_of
from harness.errors import EnvironmentMismatchError
from harness.placement.model import MemoryBinding
from harness.placement.verify import Observation
from harness.record.model import ProcessRecord, Served, Validity, Verdict
from harness.record.series import Series
from harness.runs.capacity import refused_capacity, server_metrics
from harness.runs.concurrent import concurrent_metrics
from harness.runs.engine import measured
from harness.runs.precision import headline_estimates
from harness.runs.processes import process_record
from harness.runs.schedule import Configuration, Slot
from harness.workers.outcomes import InstanceOutcome, JobResult, TimedSeries, WorkerReport

MS = 1_000_000
CONFIGURATION = Configuration("w", "eager", "float32", ("offline",), instances=2)
OBSERVATION = Observation((0,), (0,), 1, 1, (0,), {0: 5}, MemoryBinding((0,)), {0: (0, 1)}, {})


def trace(step_ms: int, samples: int, *, inner: int = 1) -> TimedSeries:
    durations = (step_ms * MS,) * samples
    series = Series("call", 64, inner, durations, (0,) * samples, 0, True, None, None)
    return TimedSeries(series, 0, tuple(np.cumsum(durations).tolist()))


def instance(cpu: int, *traces: TimedSeries) -> WorkerReport:
    observation = replace(OBSERVATION, cpus_allowed=(cpu,), cpus_sampled=(cpu,))
    return WorkerReport(InstanceOutcome(traces, 0.01 * cpu), 1.0, 100, observation)


def measurement(block: int, *instances: WorkerReport, failure: str | None = None):
    return measured(Slot(block, 0, 0, ("offline",), 7), (), JobResult(instances, failure, 42, 1.5))


def process(block: int, *instances: WorkerReport) -> ProcessRecord:
    return process_record(measurement(block, *instances), "offline")


FAST = trace(10, 100)  # 100 samples per second for one second
SLOW = trace(20, 100, inner=2)  # 50 samples of two calls per second for two seconds


def test_only_the_window_in_which_all_worked_counts_and_samples_count_their_calls() -> None:
    (rate,) = process(0, instance(0, FAST), instance(1, SLOW)).concurrent
    assert (rate.batch_size, rate.rows_per_s) == (64, pytest.approx(64 * (100 + 2 * 50)))
    assert (rate.rows_per_s_min, rate.rows_per_s_max) == (pytest.approx(6400), pytest.approx(6400))
    assert rate.window_s == pytest.approx(1.0)
    assert rate.window_share == pytest.approx(0.5)
    assert rate.rows_per_s_undisturbed == pytest.approx(64 / 0.010 + 64 / 0.010)


def test_disturbed_samples_lower_the_count_and_not_the_undisturbed_rate() -> None:
    durations = (10 * MS,) * 40 + (30 * MS,) * 20
    series = replace(FAST.series, durations_ns=durations, flags=(0,) * 40 + (1,) * 20)
    slowed = TimedSeries(series, 0, tuple(np.cumsum(durations).tolist()))
    (rate,) = process(0, instance(0, FAST), instance(1, slowed)).concurrent
    assert rate.rows_per_s_undisturbed == pytest.approx(2 * 6400)
    assert rate.rows_per_s == pytest.approx(64 * 160)


def test_a_record_of_instances_says_what_each_did() -> None:
    record = process(0, instance(0, FAST), instance(1, SLOW))
    assert record.cpus_allowed == (0, 1)
    assert record.instances == ((0,), (1,))
    assert record.page_nodes == {0: 10}
    assert record.rss_peak_bytes == 200
    assert record.steal_share == pytest.approx(0.005)
    assert len(record.series) == 2


def test_metrics_over_blocks_have_sum_extremes_and_the_least_window() -> None:
    metrics = concurrent_metrics([process(n, instance(0, FAST), instance(1, SLOW)) for n in range(6)], 64)
    assert metrics["rows_per_s"].value == pytest.approx(12800)
    assert metrics["rows_per_s"].n == 6
    assert metrics["rows_per_s"].value * metrics["mean_inference_per_row_s"].value == pytest.approx(1)
    assert metrics["instance_rows_per_s_min"].value == pytest.approx(6400)
    assert metrics["window_share"].value == pytest.approx(0.5)


def test_precision_is_that_of_the_sum() -> None:
    done = measurement(0, instance(0, FAST), instance(1, SLOW))
    lost = measurement(1, failure="hung")
    assert headline_estimates([CONFIGURATION], [done, lost, done]) == [[pytest.approx(12800)] * 2]


def served(
    rate: float | None, *, p99: float | None = 0.008, note: str | None = None, block: int = 0, confirmations: int = 0
) -> ProcessRecord:
    outcome = Served(
        rate=rate,
        bound_s=0.01,
        service_s=1e-3,
        confirmations=confirmations,
        requests=3000,
        latencies={"p50_s": 0.002, "p90_s": 0.004, "p95_s": 0.005, "p99_s": p99, "p99_9_s": None},
        tried=(),
        kept_every=1,
        note=note,
    )
    return ProcessRecord(block, 0, 1, pid=1, wall_s=1.0, steal_share=0.0, served=outcome)


def test_the_lowest_rate_is_published_with_the_highest_latency() -> None:
    metrics = server_metrics([served(700), served(640, p99=0.0095), served(690)])
    assert metrics["rows_per_s"].value == 640
    assert metrics["rows_per_s"].ci_low is None
    rule = "p99 at most 0.01 s; lowest of 3 processes, at which half of the trials meet it"
    assert metrics["rows_per_s"].note == rule
    earlier = server_metrics([served(700, confirmations=3)])["rows_per_s"].note
    assert earlier == "p99 at most 0.01 s; lowest of 1 process, each confirmed 3 times"
    assert metrics["p99_s"].value == 0.0095
    assert metrics["p99_9_s"].value is None
    assert "6636" in str(metrics["p99_9_s"].note)
    assert 640 < (metrics["rows_per_s_typical"].value or 0) < 700


def test_a_process_without_a_rate_makes_the_capacity_invalid() -> None:
    processes = [served(700), served(None, note="no answer within 120 s")]
    validity = refused_capacity(processes, Validity(Verdict.VALID))
    assert validity.verdict is Verdict.INVALID
    assert "1 of 2 processes" in validity.reasons[0]
    assert "no answer within 120 s" in validity.reasons[0]
    assert server_metrics([processes[1]])["rows_per_s"].value is None
    assert refused_capacity(processes[:1], Validity(Verdict.VALID)).verdict is Verdict.VALID


def test_compare_sees_the_rate_and_not_the_latency_at_it() -> None:
    """Half the capacity at the same latency is twice the time per request."""
    result = records.inference(scenario="server")
    processes = tuple(served(500.0 + n, block=n) for n in range(6))
    (observation,) = side_of(records.run(replace(result, processes=processes))).observations.values()
    assert observation.seconds == {n: pytest.approx(1 / (500 + n)) for n in range(6)}
    zero = (served(None), *processes[1:])
    (observation,) = side_of(records.run(replace(result, processes=zero))).observations.values()
    assert 0 not in observation.seconds


def test_a_rate_is_not_compared_with_one_that_another_search_confirmed() -> None:
    result = records.inference(scenario="server")

    def side(confirmations: int) -> Side:
        processes = tuple(served(500.0 + n, block=n, confirmations=confirmations) for n in range(6))
        return side_of(records.run(replace(result, processes=processes)))

    assert not [each for each in differences(side(0), side(0)) if each.separates]
    with pytest.raises(EnvironmentMismatchError, match="each confirmed 3 times"):
        refuse_separated(differences(side(0), side(3)), ())
