"""The accuracy part of a result: metrics over seeds, curves of the seed that is timed, and the floor to reach."""

from __future__ import annotations

from collections.abc import Sequence

from harness.evaluation.bootstrap import RESAMPLES, interval_of_mean, over_splits
from harness.evaluation.metrics import METRICS, Evaluation, over_seeds
from harness.record.accuracy import (
    Accuracy,
    Baselines,
    Counterpart,
    Epochs,
    FailedBaselines,
    FailedCounterpart,
    LearningRateAccuracy,
    PrecisionRecallCurve,
    RocCurve,
    ScoredBaselines,
    ScoredCounterpart,
    ScoreInterval,
    SeedDifference,
    TrainingFormatAccuracy,
    TrainingLimits,
)
from harness.record.spec import Protocol
from harness.training.context import Epoch
from harness.workers.outcomes import BaselineOutcome, FitOutcome, JobResult, LearningRateTrial, TrainingFormatTrial
from harness.workload.model import Workload

RARE = 0.05  # prevalence below which AUC-PR is the headline
CHANCE = 0.5
_BLIND_TO_RARITY = ("auc_roc", "accuracy")
OVER_SPLITS = (
    "95 % over {} random splits, each with a training of its own: Student's t with the variance corrected for the rows "
    "that splits share (Nadeau and Bengio 2003)"
)
INTERVAL = f"95 % stratified bootstrap over the test rows of the first seed, {RESAMPLES:,} resamples"


def accuracy_record(workload: Workload, protocol: Protocol, outcome: FitOutcome) -> Accuracy:
    """Accuracy of a workload from its fit."""
    evaluations, first = outcome.evaluations, outcome.evaluations[0]
    metrics = {name: over_seeds([getattr(evaluation, name) for evaluation in evaluations]) for name in METRICS}
    # A floor is that of the whole schedule and data set; what was limited has not been given the chance to reach it.
    limited = outcome.limits != TrainingLimits(None, None)
    origin = outcome.dataset.origin
    floor = None if limited or origin == "unknown" else workload.floor_for(protocol, origin)
    headline = _headline(workload, first, floor)
    return Accuracy(
        headline=headline,
        protocol=protocol,
        metrics=metrics,
        oracle=first.oracle,
        floor=floor,
        passed=None if floor is None else metrics[headline].mean >= floor,
        threshold=first.threshold,
        threshold_rule=first.threshold_rule,
        prevalence=first.prevalence,
        rows=first.rows,
        confusion=first.confusion,
        roc=RocCurve(*_columns(first.roc)),
        precision_recall=PrecisionRecallCurve(*_columns(first.pr)),
        histogram=first.histogram,
        per_class_recall=first.per_class,
        loss_curve=tuple(epoch.loss for epoch in outcome.epochs),
        epochs=Epochs(len(outcome.epochs), outcome.scheduled_epochs, outcome.epoch_unit),
        limits=outcome.limits,
        notes=(*workload.notes, *outcome.remarks),
        operating_points=outcome.operating_points,
        intervals=_intervals(outcome),
        number_formats=outcome.number_formats,
        learning_rates=tuple(_at_rate(trial) for trial in outcome.learning_rates),
        warnings=_warnings(first),
        validation_curve=_validation_curve(outcome.epochs),
        validation_note=outcome.validation_note,
        class_weights=outcome.class_weights,
        parameters=outcome.parameters,
        training_formats=tuple(_in_format(trial, outcome) for trial in outcome.training_formats),
    )


def _validation_curve(epochs: Sequence[Epoch]) -> dict[str, tuple[float | None, ...]]:
    names = dict.fromkeys(name for epoch in epochs for name in epoch.validation)
    return {name: tuple(epoch.validation.get(name) for epoch in epochs) for name in names}


def _headline(workload: Workload, first: Evaluation, floor: float | None) -> str:
    """The metric of the workload; where anomalies are rare and nothing holds it to that one, the one that shows it.

    At a prevalence of 0.1 % a ROC-AUC of 0.99 goes with nine false alarms of ten (Saito and Rehmsmeier 2015).
    """
    metric = workload.accuracy.metric
    held = floor is not None or workload.published is not None
    return "auc_pr" if first.prevalence < RARE and metric in _BLIND_TO_RARITY and not held else metric


def _warnings(first: Evaluation) -> tuple[str, ...]:
    interval = first.auc_roc_interval
    if interval is None or interval[1] >= CHANCE:
        return ()
    return (
        f"Scores seem turned: the ROC-AUC is {first.auc_roc:.3f} [{interval[0]:.3f}, {interval[1]:.3f}], below 0.5 "
        "with its whole 95 % interval. Does a higher score mean more anomalous; are the labels exchanged?",
    )


def _columns(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(x for x, _ in points), tuple(y for _, y in points)


def _intervals(outcome: FitOutcome) -> dict[str, ScoreInterval]:
    """Intervals over random splits of our own; else of metrics of the first seed that rest on few anomalies."""
    first, rows = outcome.evaluations[0], outcome.dataset.rows
    rests_on_few = first.auc_pr_interval
    intervals = {} if rests_on_few is None else {"auc_pr": ScoreInterval(*rests_on_few, INTERVAL)}
    for name in METRICS if outcome.splits > 1 else ():
        values = [getattr(evaluation, name) for evaluation in outcome.evaluations]
        if (limits := over_splits(values, rows["test"] / max(1, rows["train"]))) is not None:
            intervals[name] = ScoreInterval(*limits, OVER_SPLITS.format(len(values)))
    return intervals


def baselines_record(result: JobResult) -> Baselines:
    """The baseline detectors of a workload, and what they rest on, or why there are none."""
    outcome = result.outcome(BaselineOutcome)
    if outcome is None:
        return FailedBaselines(result.failure or "it left no outcome")
    return ScoredBaselines(outcome.detectors, outcome.basis)


def counterpart_record(workload: Workload, protocol: Protocol, result: JobResult) -> Counterpart:
    """Metrics of the same workload under the protocol that is not ``protocol``, or why there are none."""
    other = other_protocol(protocol)
    outcome = result.outcome(FitOutcome)
    if outcome is None:
        return FailedCounterpart(other, result.failure or "it left no outcome")
    whole = accuracy_record(workload, other, outcome)
    return ScoredCounterpart(
        protocol=other,
        metrics=whole.metrics,
        oracle=whole.oracle,
        floor=whole.floor,
        passed=whole.passed,
        threshold_rule=whole.threshold_rule,
        prevalence=whole.prevalence,
        rows=whole.rows,
        epochs=whole.epochs,
    )


def other_protocol(protocol: Protocol) -> Protocol:
    """The one of the two that this one is not."""
    return "as-published" if protocol == "clean" else "clean"


def _in_format(trial: TrainingFormatTrial, outcome: FitOutcome) -> TrainingFormatAccuracy:
    """Metrics of the seeds that did not diverge, and how they differ from the same seeds trained in float32."""
    pairs = [
        (lower, full) for lower, full in zip(trial.evaluations, outcome.evaluations, strict=True) if lower is not None
    ]
    rows = outcome.dataset.rows
    shared = rows["test"] / max(1, rows["train"]) if outcome.splits > 1 else 0.0
    metrics, differences = {}, {}
    for name in METRICS if pairs else ():
        metrics[name] = over_seeds([lower[name] for lower, _ in pairs])
        values = [lower[name] - getattr(full, name) for lower, full in pairs]
        low, high = interval_of_mean(values, shared) if min(values) < max(values) else (None, None)
        differences[name] = SeedDifference(over_seeds(values).mean, low, high, len(values))
    diverged = len(trial.evaluations) - len(pairs)
    return TrainingFormatAccuracy(trial.dtype, metrics, differences, diverged, trial.seconds, outcome.train_seconds)


def _at_rate(trial: LearningRateTrial) -> LearningRateAccuracy:
    """Metrics over the seeds of one learning rate; none when all of them diverged."""
    evaluations = trial.evaluations
    metrics = {name: over_seeds([each[name] for each in evaluations]) for name in METRICS} if evaluations else {}
    return LearningRateAccuracy(trial.learning_rate, metrics, trial.diverged)
