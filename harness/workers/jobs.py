"""What a worker process is asked to do, and what comes back: plain JSON files, so that a crash loses nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class FitJob:
    """Load the data, fit one detector with every seed, evaluate each, and leave the first one's artifacts."""

    workload: str  # name or path of a workload file, or "module:Class"
    protocol: Literal["clean", "as-published"]
    data_dir: str | None
    seeds: tuple[int, ...]
    trainer: Literal["torch", "native"]  # native: where the detector can be trained so, and the kernels are built
    epochs: int | None  # None: the workload's own schedule
    rows: int | None  # None: every row of the training file
    threads: int
    directory: str  # where artifacts and the outcome go
    learning_rates: tuple[float, ...] = ()  # to train every seed with as well, for their accuracy alone
    dataset: str | None = None  # instead of the workload's
    label: str | None = None  # label column of that data set
    save: str | None = None  # directory of the model bundle to keep of the first seed


@dataclass(frozen=True)
class ReferencesJob:
    """Fit and evaluate the classical references on one data set, as one protocol splits it."""

    dataset: str
    protocol: Literal["clean", "as-published"]
    options: dict[str, Any]  # of the data set: those that say which rows it has, not how a detector prepares them
    threshold: str  # rule of the references that learn from normal rows
    contamination: float | None  # of that rule; None: their own default
    data_dir: str | None
    threads: int
    directory: str


@dataclass(frozen=True)
class MeasureJob:
    """Time the scenarios of one configuration in a fresh process."""

    artifact: str  # directory a FitJob filled
    backend: str
    dtype: str
    scenarios: tuple[str, ...]  # in the order to run them
    batch_sizes: tuple[int, ...]  # of the offline scenario; the last is the headline
    series_seconds: float  # time to spend on each series
    steal_cpus: tuple[int, ...]
    threads: int
    seed: int
    directory: str
    p99_bound_s: float = 0.01  # of the server scenario
    evict_bytes: int | None = None  # cold-cache mode: what is read through the caches before each sample


@dataclass(frozen=True)
class InstanceJob(MeasureJob):
    """Time the offline scenario beside other instances, from the common signal on."""

    start_file: str = field(kw_only=True)  # appears when all instances are ready: ``harness.workers.rendezvous``


@dataclass(frozen=True)
class TogetherJob:
    """Time one configuration in several processes at once, each on its part of the placement."""

    instances: tuple[InstanceJob, ...]
    directory: str


@dataclass(frozen=True)
class SurveyJob:
    """Measure the floor of the timing loop and ask the loaded libraries what they run on."""

    threads: int
    cpus: tuple[int, ...]
    directory: str
    peak: bool = True  # also measure what the CPUs reach, which takes seconds
    cache_bytes: int | None = None  # of the last level, to measure memory and kernels as well


WorkerJob = FitJob | ReferencesJob | MeasureJob | InstanceJob | SurveyJob  # of one process
Job = WorkerJob | TogetherJob

_KINDS: dict[str, type[WorkerJob]] = {
    "fit": FitJob,
    "references": ReferencesJob,
    "measure": MeasureJob,
    "instance": InstanceJob,
    "survey": SurveyJob,
}


def write_job(job: WorkerJob) -> Path:
    """Write ``job.json`` into the job's own directory, creating it."""
    kind = next(name for name, cls in _KINDS.items() if type(job) is cls)
    directory = Path(job.directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "job.json"
    path.write_text(json.dumps({"kind": kind, **asdict(job)}), encoding="utf-8")
    return path


def read_job(path: Path) -> WorkerJob:
    """Read what ``write_job`` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    cls = _KINDS[values.pop("kind")]
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    return cls(**arguments)


@dataclass(frozen=True)
class Outcome:
    """How a worker ended: its payload, or the cause of its failure in words."""

    payload: dict[str, Any] | None
    failure: str | None
    pid: int | None
    wall_s: float
    details: dict[str, Any] = field(default_factory=dict)
