"""Blocks of several instances, and blocks of a server, as metrics with known answers."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from support import records

from harness.compare.observations import side_of
from harness.record.model import Block, Series, Validity, Verdict
from harness.runs.assemble import Measured
from harness.runs.capacity import refused_capacity, server_metrics
from harness.runs.concurrent import combined_block, combined_metrics
from harness.runs.precision import headline_estimates
from harness.runs.schedule import Configuration, Slot
from harness.workers.jobs import Outcome

MS = 1_000_000
CONFIGURATION = Configuration("w", "eager", "float32", ("offline",))
OBSERVATION = {
    "cpus_allowed": [0], "cpus_sampled": [0], "threads": 1, "busy_threads": 1, "busy_cpus": [0],
    "page_nodes": {"0": 5}, "memory_policy": "bind:0", "node_cpus": {"0": [0, 1]}, "env": {},
}  # fmt: skip


def trace(step_ms: int, samples: int, *, inner: int = 1) -> dict:
    durations = (step_ms * MS,) * samples
    series = Series("call", 64, inner, durations, (0,) * samples, 0, True, None, None)
    return {"series": asdict(series), "began_ns": 0, "completed_ns": np.cumsum(durations).tolist()}


def instance(cpu: int, *traces: dict) -> dict:
    observation = {**OBSERVATION, "cpus_allowed": [cpu], "cpus_sampled": [cpu]}
    return {"traces": list(traces), "steal_share": 0.01 * cpu, "rss_peak_bytes": 100, "observation": observation}


def block(index: int, *instances: dict) -> Block:
    slot = Slot(index, 0, CONFIGURATION, ("offline",), 7)
    return combined_block(slot, Outcome({"instances": list(instances)}, None, 42, 1.5))


FAST = trace(10, 100)  # 100 samples per second for one second
SLOW = trace(20, 100, inner=2)  # 50 samples of two calls per second for two seconds


def test_only_the_window_in_which_all_worked_counts_and_samples_count_their_calls() -> None:
    one = block(0, instance(0, FAST), instance(1, SLOW))
    assert one.rates == {"64": pytest.approx(64 * (100 + 2 * 50))}
    together = one.details["together"]["64"]
    assert (together["least"], together["most"]) == (pytest.approx(6400), pytest.approx(6400))
    assert together["window_s"] == pytest.approx(1.0)
    assert together["window_share"] == pytest.approx(0.5)
    assert together["undisturbed_rows_per_s"] == pytest.approx(64 / 0.010 + 64 / 0.010)


def test_disturbed_samples_lower_the_count_and_not_the_undisturbed_rate() -> None:
    slowed = trace(10, 60)
    slowed["series"]["durations_ns"] = [10 * MS] * 40 + [30 * MS] * 20
    slowed["series"]["flags"] = [0] * 40 + [1] * 20
    slowed["completed_ns"] = np.cumsum(slowed["series"]["durations_ns"]).tolist()
    together = block(0, instance(0, FAST), instance(1, slowed)).details["together"]["64"]
    assert together["undisturbed_rows_per_s"] == pytest.approx(2 * 6400)
    assert together["rows_per_s"] == pytest.approx(64 * 160)


def test_a_block_of_instances_says_what_each_did() -> None:
    one = block(0, instance(0, FAST), instance(1, SLOW))
    assert one.cpus_allowed == (0, 1)
    assert one.details["instances"] == [[0], [1]]
    assert one.page_nodes == {"0": 10}
    assert one.rss_peak_bytes == 200
    assert one.steal_share == pytest.approx(0.005)
    assert len(one.series) == 2


def test_metrics_over_blocks_have_sum_extremes_and_the_least_window() -> None:
    found = combined_metrics([block(n, instance(0, FAST), instance(1, SLOW)) for n in range(6)], 64)
    assert found["rows_per_s"].value == pytest.approx(12800)
    assert found["rows_per_s"].n == 6
    assert found["instance_rows_per_s_min"].value == pytest.approx(6400)
    assert found["window_share"].value == pytest.approx(0.5)


def test_precision_is_that_of_the_sum() -> None:
    slot = Slot(0, 0, CONFIGURATION, ("offline",), 7)
    done = Measured(slot, None, Outcome({"instances": [instance(0, FAST), instance(1, SLOW)]}, None, 1, 1.0))
    lost = Measured(slot, None, Outcome(None, "hung", 1, 1.0))
    assert headline_estimates([done, lost, done]) == [[pytest.approx(12800)] * 2]


def served(rate: float | None, *, p99: float | None = 0.008, note: str | None = None) -> Block:
    details = {
        "served": {
            "rate": rate, "bound_s": 0.01, "service_s": 1e-3, "confirmations": 3, "requests": 3000,
            "latencies": {"p50_s": 0.002, "p90_s": 0.004, "p95_s": 0.005, "p99_s": p99, "p99_9_s": None},
            "tried": [], "kept_every": 1, "note": note,
        }
    }  # fmt: skip
    rates = {"1": rate} if rate is not None else {}
    return Block(0, 0, 1, 1, 1.0, None, 0.0, (0,), (0,), None, details=details, rates=rates)


def test_the_lowest_confirmed_rate_is_published_with_the_highest_latency() -> None:
    found = server_metrics([served(700), served(640, p99=0.0095), served(690)])
    assert found["rows_per_s"].value == 640
    assert found["rows_per_s"].ci_low is None
    assert "p99 at most 0.01 s; lowest of 3 processes" in str(found["rows_per_s"].note)
    assert found["p99_s"].value == 0.0095
    assert found["p99_9_s"].value is None
    assert "6636" in str(found["p99_9_s"].note)
    assert 640 < (found["rows_per_s_typical"].value or 0) < 700


def test_a_process_without_a_rate_makes_the_capacity_invalid() -> None:
    blocks = [served(700), served(None, note="no answer within 120 s")]
    found = refused_capacity(blocks, Validity(Verdict.VALID))
    assert found.verdict is Verdict.INVALID
    assert "1 of 2 processes" in found.reasons[0]
    assert "no answer within 120 s" in found.reasons[0]
    assert server_metrics([blocks[1]])["rows_per_s"].value is None
    assert refused_capacity(blocks[:1], Validity(Verdict.VALID)).verdict is Verdict.VALID


def test_compare_sees_the_rate_and_not_the_latency_at_it() -> None:
    """Half the capacity at the same latency is twice the time per request."""
    result = records.inference(scenario="server")
    blocks = tuple(replace(one, index=n, rates={"1": 500.0 + n}) for n, one in enumerate(result.blocks))
    (observation,) = side_of(records.run(replace(result, blocks=blocks))).observations.values()
    assert observation.seconds == {n: pytest.approx(1 / (500 + n)) for n in range(6)}
    zero = (replace(blocks[0], rates={"1": 0.0}), *blocks[1:])
    (observation,) = side_of(records.run(replace(result, blocks=zero))).observations.values()
    assert 0 not in observation.seconds
