"""What a worker process is asked to do; written as JSON into the job's own directory, which it fills."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.decode import decode_json_file, encode
from harness.placement.instances import divide_among_instances
from harness.placement.model import Placement
from harness.record.spec import Protocol, Reduction, Scenario, Synthetic, TrainingDtype
from harness.training.rank_setting import RankGroup, RankSetting
from harness.workload.model import Value, Workload

JOB_FILE = "job.json"


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """Load the data, fit one detector with every seed, evaluate each, and leave the first one's artifacts.

    Attributes:
        trainer: ``native`` where the detector can be trained so, and the kernels are built.
        epochs: at most so many in each stage; None for the workload's own schedule.
        rows: of the training file; None for all.
        learning_rates: to train every seed with as well, for their accuracy alone.
        dtype: of products in training; in any but float32 seeds are trained for their accuracy and time alone.
        save: directory that receives a model bundle of the first seed.
        scores: whether the first seed's score of every test row is written.
        bundle: that is taken as it is, in place of a fit.
        compiles: whether the compile backend is wanted.
        directory: receives artifacts and the report.
        rank: that this process is of several which train together; only the first evaluates and leaves artifacts.
    """

    workload: Workload
    protocol: Protocol
    data_dir: str | None
    seeds: tuple[int, ...]
    trainer: Literal["torch", "native"]
    epochs: int | None
    rows: int | None
    threads: int
    directory: str
    synthetic: Synthetic = "when-missing"
    learning_rates: tuple[float, ...] = ()
    dtype: TrainingDtype = "float32"
    save: str | None = None
    scores: bool = False
    bundle: str | None = None
    rank: RankSetting | None = None
    compiles: bool = True
    kind: Literal["fit"] = "fit"


@dataclass(frozen=True, kw_only=True)
class CheckJob:
    """Build somebody else's detectors and read data, so that what is wrong in them costs neither survey nor fit.

    Attributes:
        workloads: those of ``module:Class`` are built.
        read: names of those whose data are read.
        rows: of the training file; None for all.
        save: whether the fitted detectors will be saved as bundles.
    """

    workloads: tuple[Workload, ...]
    read: tuple[str, ...]
    protocol: Protocol
    data_dir: str | None
    rows: int | None
    directory: str
    synthetic: Synthetic
    save: bool = False
    kind: Literal["check"] = "check"


@dataclass(frozen=True, kw_only=True)
class BaselineJob:
    """Fit and evaluate the baseline detectors on one data set, as one protocol splits it.

    Attributes:
        options: of the data set: those that say which rows it has, not how a detector prepares them.
        threshold: rule of the detectors that learn from normal rows.
        contamination: of that rule; None for their own default.
        splits: as many as the detector has where they are drawn at random, the same ones.
    """

    dataset: str
    protocol: Protocol
    options: dict[str, Value]
    threshold: str
    contamination: float | None
    data_dir: str | None
    threads: int
    directory: str
    splits: int = 1
    synthetic: Synthetic = "when-missing"
    kind: Literal["baseline"] = "baseline"


@dataclass(frozen=True)
class HttpSetting:
    """The http scenario: what is served, where, and where the load comes from."""

    bundle: str
    server: Placement
    generator: Placement


@dataclass(frozen=True, kw_only=True)
class MeasureJob:
    """Time the scenarios of one configuration in a fresh process.

    Attributes:
        artifact: directory that a FitJob filled.
        scenarios: in the order to run them.
        batch_sizes: of the offline scenario; the last is the headline.
        series_seconds: time to spend on each series.
        p99_bound_s: of the server and http scenarios.
        arrivals: of their requests: "poisson", "constant", or a file of recorded ones.
        evict_bytes: cold-cache mode: what is read through the caches before each sample.
        counters: whether to count instructions and the like over each scenario.
    """

    artifact: str
    backend: str
    dtype: str
    scenarios: tuple[Scenario, ...]
    batch_sizes: tuple[int, ...]
    series_seconds: float
    cpus: tuple[int, ...]
    threads: int
    seed: int
    directory: str
    p99_bound_s: float = 0.01
    arrivals: str = "poisson"
    evict_bytes: int | None = None
    http: HttpSetting | None = None
    counters: bool = False
    kind: Literal["measure"] = "measure"


@dataclass(frozen=True, kw_only=True)
class InstanceJob:
    """Time the offline or the server scenario at the same time as other instances, from their common signal on.

    ``start_file`` appears when all ``instances`` are ready: ``harness.workers.rendezvous``; ``index`` is this one's.
    """

    measure: MeasureJob
    start_file: str
    index: int = 0
    instances: int = 1
    kind: Literal["instance"] = "instance"

    @property
    def directory(self) -> str:
        """That of the job itself."""
        return self.measure.directory


@dataclass(frozen=True, kw_only=True)
class SurveyJob:
    """Measure the overhead of the timing loop, and ask the loaded libraries what they run on.

    Attributes:
        roof: also measure what the CPUs reach, which takes seconds.
        cache_bytes: of the last level, to measure memory and kernels as well.
        kept: file that keeps the roof for later runs; None keeps none.
        fresh: measure although the file has it.
    """

    threads: int
    cpus: tuple[int, ...]
    directory: str
    roof: bool = True
    cache_bytes: int | None = None
    kept: str | None = None
    fresh: bool = False
    kind: Literal["survey"] = "survey"


@dataclass(frozen=True)
class ConcurrentJob:
    """One configuration in several processes at once, each on its part of the placement."""

    instances: tuple[InstanceJob, ...]
    placements: tuple[Placement, ...]  # one per instance
    directory: str


@dataclass(frozen=True)
class RankedJob:
    """One fit by several processes, each on a placement of its own; the first one's outcome is that of the fit."""

    ranks: tuple[FitJob, ...]
    placements: tuple[Placement, ...]
    directory: str


WorkerJob = CheckJob | FitJob | BaselineJob | MeasureJob | InstanceJob | SurveyJob  # of one process
Job = WorkerJob | ConcurrentJob | RankedJob


def divided(job: MeasureJob, placement: Placement, instances: int) -> MeasureJob | ConcurrentJob:
    """The job once per part of the placement, each with an order of rows of its own; itself for one instance.

    Raises:
        InputError: the placement cannot be divided so.
    """
    if instances == 1:
        return job
    directory = Path(job.directory)
    start_file = str(directory / "start.json")
    parts = divide_among_instances(placement, instances)
    jobs = tuple(
        InstanceJob(
            measure=replace(
                job,
                cpus=part.cpus,
                threads=part.threads,
                seed=job.seed + index,
                directory=str(directory / f"instance-{index}"),
            ),
            start_file=start_file,
            index=index,
            instances=instances,
        )
        for index, part in enumerate(parts)
    )
    return ConcurrentJob(jobs, parts, job.directory)


def ranked(
    job: FitJob, placements: tuple[Placement, ...], group: RankGroup | None = None, reduce: Reduction = "gloo"
) -> RankedJob:
    """The fit by one process per placement, which meet in its directory, or with the others of ``group`` over gloo.

    Raises:
        InputError: there is no way to where the group meets.
    """
    directory = Path(job.directory)

    def setting(at: int) -> RankSetting:
        if group is not None:
            return group.setting(group.first + at)
        return RankSetting(at, len(placements), str(directory / "meeting"), reduce=reduce)

    ranks = tuple(
        replace(
            job,
            rank=setting(at),
            threads=placement.threads,
            directory=str(directory / f"rank-{at}") if at else job.directory,
        )
        for at, placement in enumerate(placements)
    )
    return RankedJob(ranks, placements, job.directory)


@dataclass(frozen=True)
class _Envelope:
    job: WorkerJob


def write_job(job: WorkerJob) -> Path:
    """Write the job into its own directory, creating it."""
    directory = Path(job.directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / JOB_FILE
    path.write_text(json.dumps(encode(_Envelope(job))), encoding="utf-8")
    return path


def read_job(path: Path) -> WorkerJob:
    """Read what ``write_job`` wrote.

    Raises:
        InputError: it is not a job.
    """
    return decode_json_file(_Envelope, path).job
