"""The schedule of worker processes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from harness.runs.schedule import Configuration, schedule
from harness.workers.jobs import FitJob, InstanceJob, MeasureJob, read_job, write_job

CONFIGURATIONS = [
    Configuration(workload, backend, "float32", ("offline", "single_stream"))
    for workload in ("mlp", "autoencoder")
    for backend in ("eager", "onnxruntime", "native")
]


@given(blocks=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_every_configuration_has_exactly_one_process_in_every_block(blocks: int, seed: int) -> None:
    slots = schedule(CONFIGURATIONS, blocks=blocks, seed=seed)
    assert Counter((slot.block, slot.configuration) for slot in slots) == Counter(
        {(block, configuration): 1 for block in range(blocks) for configuration in CONFIGURATIONS}
    )
    assert [slot.block for slot in slots] == sorted(slot.block for slot in slots)
    assert all(sorted(slot.scenarios) == sorted(slot.configuration.scenarios) for slot in slots)


def test_order_varies_between_blocks_and_repeats_with_the_seed() -> None:
    slots = schedule(CONFIGURATIONS, blocks=20, seed=1)
    assert slots == schedule(CONFIGURATIONS, blocks=20, seed=1)
    assert slots != schedule(CONFIGURATIONS, blocks=20, seed=2)
    first_of_block = {slot.configuration for slot in slots if slot.order == 0}
    assert len(first_of_block) > 3, "a shuffled order puts different configurations first"


def test_more_blocks_extend_a_schedule_without_changing_it() -> None:
    assert schedule(CONFIGURATIONS, blocks=8, seed=3)[: 6 * len(CONFIGURATIONS)] == schedule(
        CONFIGURATIONS, blocks=6, seed=3
    )


def test_jobs_survive_the_trip_through_their_file(tmp_path) -> None:
    jobs = (
        FitJob("nsl-kdd-mlp", "clean", None, (3, 4), "native", None, 5000, 1, str(tmp_path / "fit")),
        MeasureJob(
            str(tmp_path), "eager", "float32", ("offline",), (1, 4096), 0.2, (0, 8), 1, 7, str(tmp_path / "measure")
        ),
    )
    beside = InstanceJob(**{**vars(jobs[1]), "directory": str(tmp_path / "instance")}, start_file="start.json")
    jobs = (*jobs, beside)
    for job in jobs:
        assert read_job(write_job(job)) == job
