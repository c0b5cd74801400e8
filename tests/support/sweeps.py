"""Sweeps without a machine: designs, worker processes that answer from a table of rates, and journals made by hand."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from support import records

from harness.placement.model import MemoryBinding, Placement
from harness.placement.smt import SmtMethod
from harness.placement.verify import Observation
from harness.platform.facts import Facts
from harness.record.accuracy import TrainingLimits
from harness.record.model import DatasetRecord
from harness.record.series import Series
from harness.record.spec import RunSpec
from harness.record.sweep_model import Sweep
from harness.runs.design import Design, Grid
from harness.runs.engine import measured
from harness.runs.journal import Entry, FitEntry, SessionEntry, SurveyEntry
from harness.runs.schedule import Configuration
from harness.scoring import artifacts
from harness.sweeps.result import sweep_record
from harness.sweeps.settings import Factors, Location, bounds_of, configurations_of
from harness.workers.jobs import ConcurrentJob, FitJob, Job, MeasureJob, SurveyJob
from harness.workers.outcomes import (
    FitOutcome,
    InstanceOutcome,
    JobResult,
    MeasureOutcome,
    TimedSeries,
    WorkerOutcome,
    WorkerReport,
)
from harness.workload.model import Workload

Rate = Callable[[MeasureJob | ConcurrentJob, Placement], float]
_SAMPLES = 40
_SAMPLE_NS = 2_000_000


class Quiet:
    """Progress that only keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.units = 0

    def start(self, total: int, text: str) -> None:
        self.units = total

    def advance(self, text: str) -> None:
        self.units -= 1

    def expect(self, total: int) -> None:
        """Units are counted down from the first number."""

    def say(self, text: str) -> None:
        self.said.append(text)


def factors(**changes: Any) -> Factors:
    """One level of everything, but for ``changes``."""
    single = Factors(("w",), (8,), (8,), (1,), (Location(0),), (64,), ("eager",), ("float32",), (1,))
    return replace(single, **changes)


def setting(**changes: Any) -> Configuration:
    """SMT 8 with all threads of one core of node 0, 64 rows per call, but for ``changes``."""
    single = Configuration(
        "w", "eager", "float32", ("offline",), (64,), cores=1, threads_per_core=8, instances=1, node=0, smt=8
    )
    return replace(single, **changes)


def sweep_design(
    facts: Facts, chosen: Factors, *, blocks: int = 6, seed: int = 1, method: SmtMethod = SmtMethod.SWITCHED
) -> Design:
    """The design of these factors on the machine of these facts."""
    bounds = bounds_of(facts.topology, facts.limits, method)
    configurations, skipped = configurations_of(chosen, bounds)
    return design_of(configurations, facts, blocks=blocks, seed=seed, method=method, skipped=skipped)


def design_of(
    configurations: tuple[Configuration, ...],
    facts: Facts,
    *,
    blocks: int = 6,
    seed: int = 1,
    method: SmtMethod = SmtMethod.SWITCHED,
    skipped: Mapping[str, int] | None = None,
) -> Design:
    """The design of these configurations."""
    names = tuple(dict.fromkeys(configuration.workload for configuration in configurations))
    return Design(
        identity="20260801T120000Z-sweep-3f2a1b",
        created="2026-08-01T12:00:00Z",
        argv=("lparbench", "sweep", "w", "--cores", "1,2"),
        spec=RunSpec(names, seeds=1, epochs=1, blocks=blocks, series_seconds=0.1, seed=seed),
        workloads=tuple(Workload(name, f"Title of {name}", "mlp", "nsl-kdd") for name in names),
        facts=facts,
        grid=Grid(configurations, method, 0.03, dict(skipped or {})),
    )


def noise(block: int, cell: int, sd: float = 0.004) -> float:
    """A factor of about 1 that depends on the slot alone."""
    return math.exp(random.Random(f"{block}/{cell}").gauss(0, sd))


class ScriptedExecutor:
    """Answers jobs at once: ``rate`` rows per second for each setting, in samples of 2 ms.

    Attributes:
        measured: directory name and CPUs of every measurement, in order.
    """

    def __init__(self, rate: Rate, *, seconds: float = 0.0, backends: tuple[str, ...] = ("eager", "native")) -> None:
        self.rate, self.seconds, self.backends = rate, seconds, backends
        self.measured: list[tuple[str, tuple[int, ...]]] = []

    def run(self, job: Job, placement: Placement, *, timeout_s: float) -> JobResult:
        if isinstance(job, SurveyJob):
            return JobResult((), "no survey here", 1, 0.5)
        if isinstance(job, FitJob):
            directory = Path(job.directory)
            directory.mkdir(parents=True)
            artifacts.write_rows(directory, *(np.ones(8, np.float32) for _ in range(4)))
            return result_of(fit_outcome(self.backends), placement)
        assert isinstance(job, MeasureJob | ConcurrentJob)
        self.measured.append((Path(job.directory).name, placement.cpus))
        time.sleep(self.seconds)
        block, _, index = Path(job.directory).name.partition("-")
        rate = self.rate(job, placement) * noise(int(block), int(index))
        jobs = [each.measure for each in job.instances] if isinstance(job, ConcurrentJob) else [job]
        for each in jobs:
            Path(each.directory).mkdir(parents=True)
            artifacts.write_measured_scores(Path(each.directory), np.ones(8, np.float32))
        if isinstance(job, ConcurrentJob):
            traces = [timed_series(jobs[0].batch_sizes[0], rate / len(jobs)) for _ in jobs]
            reports = [
                report_of(InstanceOutcome((each,), 0.0), part)
                for each, part in zip(traces, job.placements, strict=True)
            ]
            return JobResult(tuple(reports), None, 1, 0.5)
        series = timed_series(job.batch_sizes[0], rate).series
        return result_of(MeasureOutcome({"offline": (series,)}, {}, 0.0), placement)


def timed_series(batch: int, rate: float) -> TimedSeries:
    """Samples of about 2 ms at ``rate`` rows per second."""
    inner = max(1, round(rate * _SAMPLE_NS * 1e-9 / batch))
    duration = round(batch * inner / rate * 1e9)
    call_s = duration * 1e-9 / inner
    series = Series("call", batch, inner, (duration,) * _SAMPLES, (0,) * _SAMPLES, 0, True, call_s, call_s)
    return TimedSeries(series, 0, tuple(np.cumsum(series.durations_ns).tolist()))


def fit_outcome(backends: tuple[str, ...] = ("eager",), origin: str = "synthetic") -> FitOutcome:
    """A fit of which only the data set and the backends matter."""
    dataset = DatasetRecord("nsl-kdd", origin, "clean", {}, None, {"train": 10, "test": 8}, 4, 0.5)
    return FitOutcome(
        dataset=dataset,
        evaluations=(),
        operating_points=(),
        remarks=(),
        epochs=(),
        scheduled_epochs=1,
        limits=TrainingLimits(None, None),
        train_seconds=1.0,
        trained_on="eager",
        trains_on=(),
        number_formats=(),
        learning_rates=(),
        backends=backends,
        unavailable={},
        macs_per_row=None,
    )


def report_of(outcome: WorkerOutcome, placement: Placement) -> WorkerReport:
    """A worker that ran just where it was placed."""
    observation = Observation(
        cpus_allowed=placement.cpus,
        cpus_sampled=placement.cpus,
        threads=placement.threads,
        busy_threads=placement.threads,
        busy_cpus=placement.cpus,
        page_nodes=dict.fromkeys(placement.memory_nodes, 100),
        memory_policy=placement.memory_policy,
        node_cpus={},
        env=dict(placement.env),
    )
    return WorkerReport(outcome, 0.5, 1 << 20, observation)


def result_of(outcome: WorkerOutcome, placement: Placement) -> JobResult:
    """A job of one process that did its work."""
    return JobResult((report_of(outcome, placement),), None, 1, 0.5)


PLACEMENT = Placement(tuple(range(8)), 0, (0,), (0,), MemoryBinding((0,)), 8, 8, 1, {})


def journal_of(design: Design, rate: Callable[[Configuration, int], float | None]) -> list[Entry]:
    """A finished journal: ``rate`` of a configuration in a block, None where the process failed."""
    assert design.grid is not None
    entries: list[Entry] = [SessionEntry("2026-08-01T12:00:00Z"), SurveyEntry(JobResult((), "no survey", None, 2.0))]
    for workload in design.workloads:
        entries.append(FitEntry(workload.name, "clean", result_of(fit_outcome(origin="real"), PLACEMENT)))
    for slot in design.slots():
        configuration = design.grid.configurations[slot.configuration]
        value = rate(configuration, slot.block)
        if value is None:
            result = JobResult((), "killed by signal 9 (SIGKILL)", 1, 2.0)
        else:
            batch = configuration.batch_sizes[-1]
            duration = round(batch / (value * noise(slot.block, slot.configuration)) * 1e9)
            call_s = duration * 1e-9
            series = Series("call", batch, 1, (duration,) * _SAMPLES, (0,) * _SAMPLES, 0, True, call_s, call_s)
            result = result_of(MeasureOutcome({"offline": (series,)}, {}, 0.0), PLACEMENT)
        entries.append(measured(slot, (PLACEMENT,), result))
    return entries


BY_SMT = {1: 0.8e6, 2: 1.0e6, 4: 0.995e6, 8: 0.75e6}


def power_sweep(title: str = "Autoencoder, NSL-KDD", backend: str = "eager") -> Sweep:
    """SMT 1, 2, 4, 8 by 1, 2 and 4 cores on two nodes: SMT 2 wins, SMT 4 ties, SMT 8 and node 1 lose."""
    configurations = tuple(
        setting(backend=backend, node=node, smt=smt, threads_per_core=smt, cores=cores)
        for cores in (1, 2, 4)
        for node in (0, 1)
        for smt in BY_SMT
    )

    def rate(configuration: Configuration, block: int) -> float:
        return BY_SMT[configuration.smt or 1] * configuration.cores**0.9 * (0.9 if configuration.node else 1.0)

    design = design_of(configurations, records.facts(), skipped={"node 0 has 4 cores, not 8": 8})
    workloads = tuple(replace(workload, title=title) for workload in design.workloads)
    design = replace(design, workloads=workloads)
    return sweep_record(design, journal_of(design, rate))
