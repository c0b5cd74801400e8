"""Dataclasses of how good the scores of a workload are, as written to a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.record.fields import Count, NotNegative, Positive, PositiveCount, Share
from harness.record.spec import Protocol


@dataclass(frozen=True)
class SeedMean:
    """A metric over seeds: mean, sample standard deviation (None for one seed), number of seeds."""

    mean: float
    sd: NotNegative | None
    n: PositiveCount


@dataclass(frozen=True)
class Confusion:
    """Counts at the threshold; an anomaly is the positive class."""

    true_negative: Count
    false_positive: Count
    false_negative: Count
    true_positive: Count


@dataclass(frozen=True)
class Histogram:
    """Counts of normal and anomalous rows between ``edges`` (one more than counts); edges are scores."""

    edges: tuple[float, ...]
    normal: tuple[Count, ...]
    anomaly: tuple[Count, ...]
    scale: Literal["linear", "log"]


@dataclass(frozen=True)
class ClassRecall:
    """Share of the rows of one class that were flagged (for the normal class: the false-positive rate)."""

    rows: Count
    flagged: Share


@dataclass(frozen=True)
class OperatingPoint:
    """Counts and shares at one threshold; ``cost`` counts a false alarm as 1 and a miss as ``missed_cost``."""

    rule: str
    threshold: float
    precision: Share | None  # None: nothing is flagged
    recall: Share
    f1: Share
    true_positive: Count
    false_positive: Count
    false_negative: Count
    cost: NotNegative


@dataclass(frozen=True)
class RocCurve:
    """Receiver operating characteristic: a point per position, ascending."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """A point per position, by ascending recall."""

    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class ScoreInterval:
    """A confidence interval of a metric, and how it was obtained: of the first seed, or over random splits."""

    low: float
    high: float
    method: str


EpochUnit = Literal["epoch", "boosting round"]


@dataclass(frozen=True)
class Epochs:
    """Passes over the training rows; more are trained than scheduled where there are passes before those."""

    trained: Count
    scheduled: PositiveCount | None  # None: the method has none
    unit: EpochUnit = "epoch"  # a boosting round adds a tree; how many there are is part of the model


@dataclass(frozen=True)
class TrainingLimits:
    """What a run limited the training to; None where it did not."""

    epochs: PositiveCount | None
    rows: PositiveCount | None


@dataclass(frozen=True)
class NumberFormatAccuracy:
    """The detector that was timed, scored in a lower precision; differences are to float32."""

    backend: str
    dtype: str
    auc_roc: float
    auc_pr: float
    auc_roc_difference: float
    auc_pr_difference: float


@dataclass(frozen=True)
class LearningRateAccuracy:
    """Metrics over the seeds that did not diverge at one learning rate; empty where all of them did."""

    learning_rate: Positive
    metrics: dict[str, SeedMean]
    diverged: Count


@dataclass(frozen=True)
class SeedDifference:
    """A difference over seeds, seed by seed: its mean, and the limits of its 95 % interval, None where none differ."""

    mean: float
    low: float | None
    high: float | None
    n: PositiveCount


@dataclass(frozen=True)
class TrainingFormatAccuracy:
    """The seeds trained natively anew with operands of products rounded; sums and whatever is kept are float32.

    Attributes:
        dtype: to which they are rounded.
        metrics: over the seeds that did not diverge; empty where all did.
        differences: of these, to the same seeds trained in float32.
        seconds: of the fits.
        float32_seconds: of those in float32.
    """

    dtype: str
    metrics: dict[str, SeedMean]
    differences: dict[str, SeedDifference]
    diverged: Count
    seconds: NotNegative
    float32_seconds: NotNegative


@dataclass(frozen=True)
class ScoredBaseline:
    """A classical detector on the same data."""

    name: str
    detector: str
    metrics: dict[str, SeedMean]
    threshold_rule: str
    seconds: NotNegative
    kind: Literal["scored"] = "scored"


@dataclass(frozen=True)
class FailedBaseline:
    """A classical detector that could not be fitted, and why."""

    name: str
    detector: str
    failure: str
    kind: Literal["failed"] = "failed"


BaselineDetector = ScoredBaseline | FailedBaseline


@dataclass(frozen=True)
class BaselineBasis:
    """What the baseline detectors rest on: rows used of how many, their encoding, the prevalence among those scored."""

    train_rows: Count
    of_train_rows: Count
    test_rows: Count
    of_test_rows: Count
    encoding: str
    prevalence: Share
    seed: Count


@dataclass(frozen=True)
class ScoredBaselines:
    """Classical detectors on the data of a workload."""

    detectors: tuple[BaselineDetector, ...]
    basis: BaselineBasis
    kind: Literal["scored"] = "scored"


@dataclass(frozen=True)
class FailedBaselines:
    """Why there are no classical detectors."""

    failure: str
    kind: Literal["failed"] = "failed"


Baselines = ScoredBaselines | FailedBaselines


@dataclass(frozen=True)
class ScoredCounterpart:
    """The same workload under the protocol that the run did not ask for."""

    protocol: Protocol
    metrics: dict[str, SeedMean]
    oracle: tuple[str, ...]
    floor: float | None
    passed: bool | None
    threshold_rule: str
    prevalence: Share
    rows: Count
    epochs: Epochs
    kind: Literal["scored"] = "scored"


@dataclass(frozen=True)
class FailedCounterpart:
    """Why there is nothing under the other protocol."""

    protocol: Protocol
    failure: str
    kind: Literal["failed"] = "failed"


Counterpart = ScoredCounterpart | FailedCounterpart


@dataclass(frozen=True)
class Accuracy:
    """Metrics over seeds; threshold, confusion, curves and histogram are of the first seed, whose detector is timed.

    Attributes:
        headline: the metric that the workload is judged by.
        oracle: metrics that looked at the test labels.
        floor: of the headline metric; None where there is none, or the training was limited.
        passed: whether the floor was reached.
        loss_curve: mean training loss of each epoch.
        validation_curve: metric -> its value on validation rows after each epoch; None for an epoch without.
        validation_note: why there is no such value; empty where there is, or where the detector was not trained here.
        class_weights: of normal rows and anomalies in the loss; empty where they count alike.
        parameters: of the constructor of the first seed's detector, as text.
        intervals: metric -> its interval: over several random splits, or for those that rest on few anomalies.
        counterpart: under the other protocol, where it was asked for.
        warnings: what may be wrong with the scores.
    """

    headline: str
    protocol: Protocol
    metrics: dict[str, SeedMean]
    oracle: tuple[str, ...]
    floor: float | None
    passed: bool | None
    threshold: float
    threshold_rule: str
    prevalence: Share
    rows: Count
    confusion: Confusion
    roc: RocCurve
    precision_recall: PrecisionRecallCurve
    histogram: Histogram
    per_class_recall: dict[str, ClassRecall]
    loss_curve: tuple[float, ...]
    epochs: Epochs
    limits: TrainingLimits
    notes: tuple[str, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()
    intervals: dict[str, ScoreInterval] = field(default_factory=dict)
    number_formats: tuple[NumberFormatAccuracy, ...] = ()
    learning_rates: tuple[LearningRateAccuracy, ...] = ()
    baseline_detectors: Baselines | None = None
    counterpart: Counterpart | None = None
    warnings: tuple[str, ...] = ()
    validation_curve: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    class_weights: tuple[Positive, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    training_formats: tuple[TrainingFormatAccuracy, ...] = ()
    validation_note: str = ""

    def mean(self, metric: str | None) -> float | None:
        """Mean of a metric over seeds; None where it is not recorded."""
        known = None if metric is None else self.metrics.get(metric)
        return None if known is None else known.mean
