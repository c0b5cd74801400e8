"""Measuring in real worker processes: all scenarios, a cold cache, and instances side by side."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.placement.plan import Placement, plan
from harness.placement.verify import Observation, mismatches
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.workers.executor import ProcessExecutor
from harness.workers.jobs import FitJob, InstanceJob, MeasureJob, TogetherJob

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])


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
    return plan(facts.topology, cores=number, threads_per_core=1, allowed=facts.limits.allowed_cpus)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fit")
    job = FitJob("misbehaving:Sound", "clean", None, (0,), "torch", None, 600, 1, str(directory))
    outcome = ProcessExecutor().run(job, cores(1), timeout_s=120)
    assert outcome.failure is None
    return directory


def measuring(fitted: Path, directory: Path, *scenarios: str, cpus: tuple[int, ...] = (0,)) -> MeasureJob:
    return MeasureJob(str(fitted), "eager", "float32", scenarios, (8, 64), 0.05, cpus, len(cpus), 3, str(directory))


def test_every_inference_scenario_leaves_its_series(fitted: Path, tmp_path: Path) -> None:
    where = cores(1)
    job = replace(
        measuring(fitted, tmp_path, "offline", "multi_stream", "single_stream", "server", cpus=where.cpus),
        p99_bound_s=0.02,
    )
    outcome = ProcessExecutor().run(replace(job, series_seconds=0.02), where, timeout_s=300)
    assert outcome.failure is None
    assert outcome.payload is not None
    series = outcome.payload["series"]
    assert [one["batch_size"] for one in series["offline"]] == [8, 64]
    assert [one["batch_size"] for one in series["multi_stream"]] == [8]
    served = outcome.payload["served"]
    assert served["bound_s"] == 0.02
    assert (served["rate"] is None) == (served["note"] is not None)
    if served["rate"] is not None:  # a machine that stalls for that long may have none
        assert series["server"][0]["name"] == "request"
        assert served["latencies"]["p99_s"] <= 0.02


def test_a_cold_cache_times_single_calls(fitted: Path, tmp_path: Path) -> None:
    where = cores(1)
    job = replace(measuring(fitted, tmp_path, "offline", cpus=where.cpus), evict_bytes=4 << 20)
    outcome = ProcessExecutor().run(job, where, timeout_s=120)
    assert outcome.payload is not None, outcome.failure
    assert {one["inner"] for one in outcome.payload["series"]["offline"]} == {1}
    observation = Observation.from_json(outcome.payload["observation"])
    assert mismatches(where, observation) == ()


def together(fitted: Path, directory: Path, where: Placement, artifacts: tuple[Path, ...] = ()) -> TogetherJob:
    instances = []
    for index, cpu in enumerate(where.cpus):
        base = measuring((artifacts or (fitted, fitted))[index], directory / str(index), cpus=(cpu,))
        instances.append(InstanceJob(**vars(base), start_file=str(directory / "start.json")))
    return TogetherJob(tuple(instances), str(directory))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: instances cannot be side by side")
def test_instances_work_side_by_side_on_cpus_of_their_own(fitted: Path, tmp_path: Path) -> None:
    where = cores(2)
    outcome = ProcessExecutor().run(together(fitted, tmp_path, where), where, timeout_s=120)
    assert outcome.payload is not None, outcome.failure
    first, second = outcome.payload["instances"]
    assert first["observation"]["cpus_allowed"] == [where.cpus[0]]
    assert second["observation"]["cpus_allowed"] == [where.cpus[1]]
    for mine, other in zip(first["traces"], second["traces"], strict=True):
        assert mine["series"]["batch_size"] == other["series"]["batch_size"]
        assert max(mine["began_ns"], other["began_ns"]) < min(mine["completed_ns"][-1], other["completed_ns"][-1])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: instances cannot be side by side")
def test_one_instance_that_fails_ends_all_and_is_named(fitted: Path, tmp_path: Path) -> None:
    where = cores(2)
    job = together(fitted, tmp_path, where, artifacts=(fitted, tmp_path / "nothing here"))
    outcome = ProcessExecutor().run(job, where, timeout_s=120)
    assert outcome.payload is None
    assert "instance 2" in str(outcome.failure)
    assert not [child for child in psutil.Process().children(recursive=True) if "worker" in " ".join(child.cmdline())]
