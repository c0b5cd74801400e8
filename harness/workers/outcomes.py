"""What worker processes answer, one type per kind of job, and how the parent learns of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from harness.evaluation.metrics import Evaluation
from harness.measure.overhead import Overhead
from harness.placement.verify import Observation
from harness.platform.facts import LoadedSoftware
from harness.platform.second_clock import Elapsed
from harness.record.accuracy import (
    BaselineBasis,
    BaselineDetector,
    EpochUnit,
    NumberFormatAccuracy,
    OperatingPoint,
    TrainingLimits,
)
from harness.record.model import DatasetRecord, ProcessCounters, Served
from harness.record.series import Series
from harness.record.spec import Scenario
from harness.roofline.measured import MeasuredRoof
from harness.training.context import Epoch

T = TypeVar("T")


@dataclass(frozen=True)
class SurveyOutcome:
    """Overhead of the timing loop, the software as loaded, and what the CPUs reach (None where not measured)."""

    overhead: Overhead
    software: LoadedSoftware
    roof: MeasuredRoof | None
    kind: Literal["survey"] = "survey"


@dataclass(frozen=True)
class CheckOutcome:
    """Test rows by workload, of those whose data were read."""

    test_rows: dict[str, int]
    kind: Literal["check"] = "check"


@dataclass(frozen=True)
class LearningRateTrial:
    """Metrics of each seed trained at one learning rate; ``diverged`` seeds have none."""

    learning_rate: float
    evaluations: tuple[dict[str, float], ...]
    diverged: int


@dataclass(frozen=True)
class TrainingFormatTrial:
    """Metrics of each seed trained with operands of products in ``dtype``, None of one that diverged; and the time."""

    dtype: str
    evaluations: tuple[dict[str, float] | None, ...]
    seconds: float
    kind: Literal["training_format"] = "training_format"


@dataclass(frozen=True)
class FitOutcome:
    """A workload fitted with every seed; what is of one detector only is of the first seed's.

    Attributes:
        evaluations: on the test rows, one per seed.
        splits: random splits that these are on; 1 where all are on the same test rows.
        trained_on: the backend whose trainer did it.
        trains_on: backends whose training rate can be sampled; none for a method that takes no steps.
        unavailable: backend -> what it lacks on this machine, and the remedy.
        macs_per_row: multiply-accumulates to score a row; None when it is not a matter of dense layers.
        ranks: processes that trained together.
        epoch_unit: what each of ``epochs`` is.
        validation_note: why no epoch has metrics of validation rows; empty where some have.
        class_weights: of normal rows and anomalies in the loss; empty where they count alike.
        parameters: of the constructor, as text.
        weights: numbers that every call of the scoring program reads; None where that is not known.
    """

    dataset: DatasetRecord
    evaluations: tuple[Evaluation, ...]
    operating_points: tuple[OperatingPoint, ...]
    remarks: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    scheduled_epochs: int | None
    limits: TrainingLimits
    train_seconds: float
    trained_on: str
    trains_on: tuple[str, ...]
    number_formats: tuple[NumberFormatAccuracy, ...]
    learning_rates: tuple[LearningRateTrial, ...]
    backends: tuple[str, ...]
    unavailable: dict[str, str]
    macs_per_row: int | None
    splits: int = 1
    ranks: int = 1
    reduce_seconds: float = 0.0  # of the training, spent in combining what the ranks have
    class_weights: tuple[float, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    weights: int | None = None
    training_formats: tuple[TrainingFormatTrial, ...] = ()
    epoch_unit: EpochUnit = "epoch"
    validation_note: str = ""
    kind: Literal["fit"] = "fit"


@dataclass(frozen=True)
class RankOutcome:
    """A rank other than the first, which has trained as far as that."""

    reduce_seconds: float
    kind: Literal["rank"] = "rank"


@dataclass(frozen=True)
class BaselineOutcome:
    """The baseline detectors of one data set and the rows that they rest on."""

    detectors: tuple[BaselineDetector, ...]
    basis: BaselineBasis
    kind: Literal["baseline"] = "baseline"


@dataclass(frozen=True)
class MeasureOutcome:
    """Series by scenario; ``served`` has the answers of the server and http scenarios."""

    series: dict[str, tuple[Series, ...]]
    served: dict[Scenario, Served]
    steal_share: float | None
    physical_cores: float | None = None  # that the partition consumed meanwhile
    counters: dict[Scenario, ProcessCounters] = field(default_factory=dict)
    frequency_ratio: float | None = None  # effective over nominal clock of its CPUs
    kind: Literal["measure"] = "measure"


@dataclass(frozen=True)
class TimedSeries:
    """A series on the clock that all instances share: when it began, and when each sample was completed."""

    series: Series
    began_ns: int
    completed_ns: tuple[int, ...]


@dataclass(frozen=True)
class InstanceOutcome:
    """What one of several instances did, a series per batch size that the rows allow; or what all of them served."""

    traces: tuple[TimedSeries, ...]
    steal_share: float | None
    served: Served | None = None
    physical_cores: float | None = None
    counters: ProcessCounters | None = None
    frequency_ratio: float | None = None
    kind: Literal["instance"] = "instance"


@dataclass(frozen=True)
class InputProblem:
    """Something wrong in the user's files, which the parent reports as its own error."""

    message: str
    remedy: str | None
    kind: Literal["input_problem"] = "input_problem"


WorkerOutcome = (
    CheckOutcome
    | SurveyOutcome
    | FitOutcome
    | TrainingFormatTrial
    | RankOutcome
    | BaselineOutcome
    | MeasureOutcome
    | InstanceOutcome
    | InputProblem
)


@dataclass(frozen=True)
class WorkerReport:
    """What one process leaves behind: its outcome, and what it used.

    ``observation`` is None after a problem; ``clocks`` also where the kernel does not tell.
    """

    outcome: WorkerOutcome
    wall_s: float
    rss_peak_bytes: int
    observation: Observation | None
    clocks: Elapsed | None = None


@dataclass(frozen=True)
class JobResult:
    """How a job ended: a report per process (one, or one per instance), or the cause of its failure in words."""

    reports: tuple[WorkerReport, ...]
    failure: str | None
    pid: int | None
    wall_s: float

    def outcome(self, kind: type[T]) -> T | None:
        """The outcome of the first process; None when the job failed."""
        if not self.reports:
            return None
        outcome = self.reports[0].outcome
        if not isinstance(outcome, kind):
            raise TypeError(f"a job answered {outcome.kind}, not {kind.__name__}")
        return outcome

    def with_outcome(self, outcome: WorkerOutcome) -> JobResult:
        """The same with another outcome of the first process."""
        first, *others = self.reports
        return replace(self, reports=(replace(first, outcome=outcome), *others))
