"""The schedule of worker processes, and the jobs that they are given."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.runs.schedule import Configuration, block_of
from harness.workers.jobs import FitJob, InstanceJob, MeasureJob, SurveyJob, read_job, write_job
from harness.workload.files import find_workload

CONFIGURATIONS = [
    Configuration(workload, backend, "float32", ("offline", "single_stream"))
    for workload in ("mlp", "autoencoder")
    for backend in ("eager", "onnxruntime", "native")
]
configuration_lists = st.lists(
    st.builds(
        Configuration,
        workload=st.sampled_from(["a", "b"]),
        backend=st.sampled_from(["eager", "native"]),
        dtype=st.just("float32"),
        scenarios=st.sampled_from([("offline",), ("offline", "train", "single_stream"), ()]),
        batch_sizes=st.tuples(st.integers(1, 4096)),
        node=st.sampled_from([None, 0, 8]),
        smt=st.sampled_from([None, 1, 2, 4, 8]),
    ),
    min_size=1,
    max_size=12,
)


@given(chosen=configuration_lists, block=st.integers(0, 30), seed=st.integers(0, 2**31))
def test_a_block_holds_each_configuration_once_and_switches_smt_once_per_level(chosen, block: int, seed: int) -> None:
    slots = block_of(chosen, block=block, seed=seed)
    assert slots == block_of(chosen, block=block, seed=seed)
    assert sorted(slot.configuration for slot in slots) == list(range(len(chosen)))
    assert [slot.order for slot in slots] == list(range(len(chosen)))
    assert {slot.block for slot in slots} == {block}
    assert len({slot.name for slot in slots}) == len(slots)
    levels = [chosen[slot.configuration].smt for slot in slots]
    assert sum(a != b for a, b in pairwise(levels)) == len(set(levels)) - 1
    for slot in slots:
        assert sorted(slot.scenarios) == sorted(chosen[slot.configuration].scenarios)


def test_order_varies_between_blocks_and_repeats_with_the_seed() -> None:
    def order(seed: int) -> list[tuple[int, ...]]:
        blocks = (block_of(CONFIGURATIONS, block=block, seed=seed) for block in range(20))
        return [tuple(slot.configuration for slot in slots) for slots in blocks]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert len(set(order(1))) > 15
    assert len({indexes[0] for indexes in order(1)}) > 3, "a shuffled order puts different configurations first"


def test_scenarios_are_shuffled_and_seeds_are_a_slots_own() -> None:
    slots = [slot for block in range(20) for slot in block_of(CONFIGURATIONS, block=block, seed=3)]
    assert {slot.scenarios for slot in slots} == {("offline", "single_stream"), ("single_stream", "offline")}
    assert len({slot.seed for slot in slots}) == len(slots)


def test_jobs_survive_the_trip_through_their_file(tmp_path) -> None:
    fit = FitJob(
        workload=find_workload("nsl-kdd-mlp"), protocol="clean", data_dir=None, seeds=(3, 4), trainer="native",
        epochs=None, rows=5000, threads=1, directory=str(tmp_path / "fit"), learning_rates=(1e-3,), save="kept",
        dtype="bfloat16",
    )  # fmt: skip
    measure = MeasureJob(
        artifact=str(tmp_path), backend="eager", dtype="float32", scenarios=("offline",), batch_sizes=(1, 4096),
        series_seconds=0.2, cpus=(0, 8), threads=1, seed=7, directory=str(tmp_path / "measure"),
    )  # fmt: skip
    survey = SurveyJob(threads=1, cpus=(0,), directory=str(tmp_path / "survey"), roof=False)
    for job in (fit, measure, InstanceJob(measure=measure, start_file="start.json"), survey):
        assert read_job(write_job(job)) == job
