"""Measuring in real worker processes: all scenarios, a cold cache, and instances side by side."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.placement.model import Placement
from harness.placement.plan import plan, plan_apart
from harness.placement.verify import mismatches
from harness.platform.perf import EVENTS
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.workers.executor import ProcessExecutor
from harness.workers.jobs import ConcurrentJob, FitJob, HttpSetting, MeasureJob, divided
from harness.workers.outcomes import InstanceOutcome, JobResult, MeasureOutcome
from harness.workload.files import find_workload

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = os.pathsep.join([str(ROOT), str(ROOT / "tests")])


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", SUPPORT)
    patch.setenv("LPARBENCH_DATA", "")
    patch.chdir(tmp_path_factory.mktemp("anywhere"))
    yield
    patch.undo()


def cores(number: int) -> Placement:
    facts = probe(SysRoot("/"))
    return plan(facts.topology, cores=number, threads_per_core=1, limits=facts.limits)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fit")
    job = FitJob(
        workload=find_workload("support.misbehaving:Sound"),
        protocol="clean", data_dir=None, seeds=(0,), trainer="torch",
        epochs=None, rows=600, threads=1, directory=str(directory),
    )  # fmt: skip
    result = ProcessExecutor().run(job, cores(1), timeout_s=480)
    assert result.failure is None
    return directory


def measuring(fitted: Path, directory: Path, *scenarios: str, cpus: tuple[int, ...] = (0,)) -> MeasureJob:
    return MeasureJob(
        artifact=str(fitted), backend="eager", dtype="float32", scenarios=scenarios, batch_sizes=(8, 64),
        series_seconds=0.05, cpus=cpus, threads=len(cpus), seed=3, directory=str(directory),
    )  # fmt: skip


def measured(result: JobResult) -> MeasureOutcome:
    outcome = result.outcome(MeasureOutcome)
    assert outcome is not None, result.failure
    return outcome


def test_every_inference_scenario_leaves_its_series(fitted: Path, tmp_path: Path) -> None:
    where = cores(1)
    job = replace(
        measuring(fitted, tmp_path, "offline", "multi_stream", "single_stream", "server", cpus=where.cpus),
        p99_bound_s=0.02,
        counters=True,
    )
    outcome = measured(ProcessExecutor().run(replace(job, series_seconds=0.02), where, timeout_s=480))
    assert [series.batch_size for series in outcome.series["offline"]] == [8, 64]
    assert [series.batch_size for series in outcome.series["multi_stream"]] == [8]
    assert {*outcome.counters} == {*job.scenarios}, "each scenario is counted"
    for counters in outcome.counters.values():
        assert {*counters.values} | {*counters.missing} == {*EVENTS}
        assert counters.values.get("page_faults", 0) < 50_000, "of the scenario, not of the process"
    served = outcome.served["server"]
    assert served is not None
    assert served.bound_s == 0.02
    assert (served.rate is None) == (served.note is not None)
    if served.rate is not None:  # a machine that stalls for that long may have none
        assert outcome.series["server"][0].name == "request"
        assert served.latencies["p99_s"] <= 0.02


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: the generator has none of its own")
def test_the_model_is_served_over_http_from_a_core_that_the_load_does_not_have(tmp_path: Path) -> None:
    where, topology = cores(1), probe(SysRoot("/")).topology
    bundle = tmp_path / "bundle"
    fitting = FitJob(
        workload=find_workload("nsl-kdd-mlp"), protocol="clean", data_dir=None, synthetic="always", seeds=(0,),
        trainer="native", epochs=1, rows=600, threads=1, directory=str(tmp_path / "fit"), save=str(bundle),
    )  # fmt: skip
    assert ProcessExecutor().run(fitting, where, timeout_s=480).failure is None
    job = replace(
        measuring(tmp_path / "fit", tmp_path / "job", "http", cpus=where.cpus),
        backend="native", series_seconds=0.02, p99_bound_s=0.05,
        http=HttpSetting(str(bundle), where, plan_apart(topology, where)),
    )  # fmt: skip
    result = ProcessExecutor().run(job, where, timeout_s=480)
    served = measured(result).served["http"]
    assert served.bound_s == 0.05
    assert (served.rate is None) == (served.note is not None)
    assert served.rate is not None or "lagged" in str(served.note) or "no rate" in str(served.note)  # on a busy machine
    said = json.loads((tmp_path / "job" / "server" / "output.txt").read_text().splitlines()[0])
    assert tuple(said["cpus"]) == where.cpus
    assert said["backend"] == "native"
    placed = Placement.read(tmp_path / "job" / "client" / "placement.json")
    assert not {*placed.cpus} & {*where.cpus}
    assert mismatches(where, result.reports[0].observation) == ()
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(process.info)]


def test_a_cold_cache_times_single_calls(fitted: Path, tmp_path: Path) -> None:
    where = cores(1)
    job = replace(measuring(fitted, tmp_path, "offline", cpus=where.cpus), evict_bytes=4 << 20)
    result = ProcessExecutor().run(job, where, timeout_s=480)
    assert {series.inner for series in measured(result).series["offline"]} == {1}
    assert mismatches(where, result.reports[0].observation) == ()


def concurrent(fitted: Path, directory: Path, where: Placement) -> ConcurrentJob:
    job = divided(measuring(fitted, directory, "offline", cpus=where.cpus), where, 2)
    assert isinstance(job, ConcurrentJob)
    return job


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: instances cannot be side by side")
def test_instances_work_side_by_side_on_cpus_of_their_own(fitted: Path, tmp_path: Path) -> None:
    where = cores(2)
    result = ProcessExecutor().run(concurrent(fitted, tmp_path, where), where, timeout_s=480)
    assert result.failure is None
    assert [report.observation.cpus_allowed for report in result.reports] == [(where.cpus[0],), (where.cpus[1],)]
    windows = json.loads((tmp_path / "start.json").read_text())["windows"]  # of each batch size, the same for both
    for report in result.reports:
        assert isinstance(report.outcome, InstanceOutcome)
        assert [trace.series.batch_size for trace in report.outcome.traces] == [8, 64]
        for trace, window in zip(report.outcome.traces, windows, strict=True):
            assert trace.began_ns >= window["begin_ns"]
            assert len(trace.completed_ns) == len(trace.series.durations_ns) >= 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: instances cannot be side by side")
def test_one_instance_that_fails_ends_all_and_is_named(fitted: Path, tmp_path: Path) -> None:
    where = cores(2)
    job = concurrent(fitted, tmp_path, where)
    first, second = job.instances
    lost = replace(second, measure=replace(second.measure, artifact=str(tmp_path / "nothing here")))
    result = ProcessExecutor().run(replace(job, instances=(first, lost)), where, timeout_s=480)
    assert result.reports == ()
    assert "instance 2" in str(result.failure)
    assert not [child for child in psutil.Process().children(recursive=True) if "worker" in " ".join(child.cmdline())]
