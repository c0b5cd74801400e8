"""The fit job: load, fit, evaluate, export. Runs in a worker process."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.datasets.base import load
from harness.datasets.coded_rows import CodedRows, Rows
from harness.datasets.encoded import EncodedDataset
from harness.detectors.base import Detector
from harness.detectors.classifier import Classifier
from harness.detectors.export import Fitted, prepare, save_bundle
from harness.detectors.registry import resolve
from harness.detectors.replicated import fit_together
from harness.errors import InputError, one_line
from harness.evaluation.metrics import Evaluation, evaluate, operating_points
from harness.linalg import trainer
from harness.record.accuracy import OperatingPoint, TrainingLimits
from harness.record.model import DatasetRecord
from harness.scoring.artifacts import write_rows
from harness.training.context import FitContext, Vector
from harness.training.rank_setting import RankSetting
from harness.workers.jobs import FitJob
from harness.workers.outcomes import FitOutcome, RankOutcome, TrainingFormatTrial
from harness.workers.readiness import check_ready
from harness.workers.row_scores import SCORES_FILE, write_row_scores
from harness.workers.variants import by_learning_rate, metrics_of, number_formats
from harness.workload.model import Value

if TYPE_CHECKING:
    from harness.training.ranks import Ranks

T = TypeVar("T")
_PLAIN = (int, float, tuple, list, dict, type(None))
_LONGEST_PARAMETER = 200  # characters

_SPLITS = (
    "Each training seed has a random split of its own: what differs between seeds includes what differs between splits."
)
_ONE_SPLIT = (
    "The test rows are one random split: how far another one would move the figures is in no interval here; that of "
    "--seeds 5 has it."
)


def fit(job: FitJob) -> FitOutcome | RankOutcome:
    """Fit a detector with every seed, together where it can, and leave in the directory what measuring needs.

    Raises:
        InputError: a data file or the detector is not usable.
        MeasurementError: another rank is gone.
    """
    workload, data = job.workload, _load(job)
    parameters = [_parameters(job, seed) for seed in job.seeds]
    detectors = [resolve(workload.detector, values) for values in parameters]
    first = detectors[0]
    natively = first.trains_natively and trainer.available()
    ranks = None if job.rank is None else _meet(job.rank, data)
    trainer_name: Literal["torch", "native"] = "native" if natively and _wants_native(job, first) else "torch"
    context = _with_validation(FitContext(trainer=trainer_name, ranks=ranks, streamed=data.streamed), data)
    _get_ready(first, data, job)
    before, started = 0.0 if ranks is None else ranks.reduce_s, time.perf_counter()  # meeting is no training
    together = detectors if data.split_seed is None else detectors[:1]  # the others: each on a split of its own
    fit_together(together, data.train_x, data.train_y, context=context)
    if ranks is not None:
        ranks.same("weights", (value.tobytes() for each in together for value in each.state().values()))
    train_seconds = time.perf_counter() - started - _measured_s(together)
    others, other_seconds = _on_other_splits(detectors[len(together) :], data, job, context, _scored)
    if ranks is not None and ranks.rank:
        return RankOutcome(ranks.reduce_s - before)
    directory = Path(job.directory)
    artifacts = prepare(first, directory, compiles=job.compiles)
    scores = [detector.decision_function(data.test_x) for detector in together]
    _keep_rows(first, data, scores[0], directory)
    points = _operating_points(first, scores[0], data)
    if job.scores:
        _keep_scores(first, data, scores[0], points, directory)
    record = _with_splits(data, 1 + len(others))
    if job.save is not None:
        fitted = Fitted(workload.name, job.protocol, job.seeds[0], record, points)
        save_bundle(first, data, fitted, Path(job.save))
    return FitOutcome(
        dataset=record,
        evaluations=(*(_evaluated(*pair, data) for pair in zip(together, scores, strict=True)), *others),
        operating_points=points,
        remarks=tuple(first.remarks()),
        epochs=tuple(first.history_),
        scheduled_epochs=workload.training_for(job.protocol).epochs,
        limits=_limits(job),
        train_seconds=train_seconds + other_seconds,
        trained_on="native" if trainer_name == "native" else "eager",
        trains_on=_loops(first, natively=natively),
        number_formats=number_formats(artifacts, first, scores[0], data),
        learning_rates=by_learning_rate(workload.detector, parameters, job.learning_rates, data, context),
        backends=artifacts.backends, unavailable=dict(artifacts.unavailable), macs_per_row=artifacts.macs_per_row,
        splits=1 + len(others),
        ranks=1 if ranks is None else ranks.count,
        reduce_seconds=0.0 if ranks is None else ranks.reduce_s - before,
        class_weights=first.class_weights_,
        parameters=_as_text(first.get_params()),
        weights=artifacts.weights(),
        epoch_unit=first.epoch_unit, validation_note=_why_unwatched(first, data),
    )  # fmt: skip


def _loops(detector: Detector, *, natively: bool) -> tuple[str, ...]:
    """Backends whose training loop can be timed; boosting takes no steps."""
    if not any(epoch.steps for epoch in detector.history_):
        return ()
    return ("eager", "native") if natively else ("eager",)


def _why_unwatched(detector: Detector, data: EncodedDataset) -> str:
    """Why no epoch has metrics of validation rows; empty where some have."""
    if not detector.history_:
        return "This method is fitted in one go: it has no epochs."
    if any(epoch.validation for epoch in detector.history_):
        return ""
    if data.validation_x is None:
        return f"The {data.protocol} protocol sets no validation rows of this workload aside (validation = 0)."
    return "The scores of the validation rows were not finite after any epoch."


def _measured_s(detectors: Sequence[Detector]) -> float:
    """What looking at validation rows took, which is no part of a training's time."""
    return sum(epoch.validation_s for detector in detectors for epoch in detector.history_)


def fit_in_format(job: FitJob) -> TrainingFormatTrial:
    """Train every seed natively on its own split with operands of products in the job's format; evaluate each.

    Raises:
        InputError: a data file or the detector is not usable.
    """
    data = _load(job)
    detectors = [resolve(job.workload.detector, _parameters(job, seed)) for seed in job.seeds]
    lower = _with_validation(FitContext(trainer="native", dtype=job.dtype, streamed=data.streamed), data)
    _get_ready(detectors[0], data, job)
    started = time.perf_counter()
    together = detectors if data.split_seed is None else detectors[:1]
    fit_together(together, data.train_x, data.train_y, context=lower)
    seconds = time.perf_counter() - started - _measured_s(together)
    others, other_seconds = _on_other_splits(detectors[len(together) :], data, job, lower, metrics_of)
    evaluations = (*(metrics_of(each, data) for each in together), *others)
    return TrainingFormatTrial(job.dtype, evaluations, seconds + other_seconds)


def _keep_scores(
    detector: Detector, data: EncodedDataset, scores: Vector, points: Sequence[OperatingPoint], directory: Path
) -> None:
    cuts = [point.threshold for point in points]
    write_row_scores(directory / SCORES_FILE, scores, data, detector.threshold_for(scores).value, cuts)


def _as_text(parameters: Mapping[str, object]) -> dict[str, str]:
    """Parameters as they are written; of an object its class, for its own text may differ from run to run."""
    texts = {
        name: repr(value)
        if isinstance(value, _PLAIN)
        else str(value)
        if isinstance(value, str)
        else type(value).__name__
        for name, value in parameters.items()
    }
    return {name: one_line(text)[:_LONGEST_PARAMETER] for name, text in texts.items()}


def _wants_native(job: FitJob, detector: Detector) -> bool:
    """Whether the native trainer is asked for: with the backend, or without where the detector has no such backend."""
    return job.trainer == "native" or not detector.native_backend


def _with_splits(data: EncodedDataset, splits: int) -> DatasetRecord:
    """What a run record says of a data set, and of the random splits that it was divided by."""
    on_splits = [] if data.split_seed is None else [_SPLITS if splits > 1 else _ONE_SPLIT]
    return replace(dataset_record(data), notes=(*data.notes, *on_splits))


def _with_validation(context: FitContext, data: EncodedDataset) -> FitContext:
    labels = None if data.validation_y is None else data.validation_y.astype(np.int64)
    return replace(context, X_val=data.validation_x, y_val=labels)


def _limits(job: FitJob) -> TrainingLimits:
    cut = job.epochs is not None and _stages_beyond(job, job.workload.parameters_for(job.protocol, job.seeds[0]))
    return TrainingLimits(epochs=job.epochs if cut else None, rows=job.rows)


def _meet(setting: RankSetting, data: EncodedDataset) -> Ranks:
    """The ranks, which all have the same rows."""
    from harness.training.ranks import connect

    ranks = connect(setting)
    ranks.same("data files", (f"{name} {digest}".encode() for name, digest in sorted(data.sha256.items())))
    ranks.same("training rows", (np.ascontiguousarray(part).data for part in (*_parts(data.train_x), data.train_y)))
    return ranks


def _parts(rows: Rows) -> Iterator[NDArray[np.float32]]:
    yield from rows.blocks() if isinstance(rows, CodedRows) else [rows]


def _on_other_splits(
    detectors: Sequence[Detector],
    data: EncodedDataset,
    job: FitJob,
    context: FitContext,
    evaluated: Callable[[Detector, EncodedDataset], T],
) -> tuple[list[T], float]:
    """Each detector fitted and evaluated on a random split of its own, and the seconds that the fits took."""
    evaluations: list[T] = []
    seconds = 0.0
    for number, detector in enumerate(detectors, 1):
        other = _load(job, seed=int(data.split_seed or 0) + number)
        started = time.perf_counter()
        detector.fit(other.train_x, other.train_y, context=replace(_with_validation(context, other), charted=False))
        seconds += time.perf_counter() - started - _measured_s([detector])
        evaluations.append(evaluated(detector, other))
    return evaluations, seconds


def _load(job: FitJob, seed: int | None = None) -> EncodedDataset:
    options = dict(job.workload.options_for(job.protocol))
    if seed is not None:
        options["seed"] = seed
    if job.rows is not None:
        options["rows"] = job.rows
    directory = None if job.data_dir is None else Path(job.data_dir)
    return load(
        job.workload.dataset, protocol=job.protocol, directory=directory, options=options, synthetic=job.synthetic
    )


def _get_ready(detector: Detector, data: EncodedDataset, job: FitJob) -> None:
    """See that the detector can learn from the rows, and import what it needs, which is no training.

    Raises:
        InputError: it cannot, see `check_ready`; or they are a stream, and it takes all rows at once.
    """
    if data.streamed is not None and not detector.streams:
        raise InputError(
            f"{detector.identity()} is not trained on a stream of rows.",
            remedy="Leave streamed out of [dataset_options], or take lstm.",
        )
    check_ready(detector, data, job.workload.options_for(job.protocol))
    for name in detector.libraries:
        with contextlib.suppress(ImportError):  # the fit says what is not there
            importlib.import_module(name)


def _keep_rows(detector: Detector, data: EncodedDataset, scores: Vector, directory: Path) -> None:
    """The rows that are measured with and their scores; of windows, a detector of rows sees the last step."""

    def seen(x: Rows) -> Rows:
        return x if detector.sequential or isinstance(x, CodedRows) else detector.view(x)

    write_rows(directory, seen(data.test_x), scores, seen(data.train_x), data.train_y)


def _parameters(job: FitJob, seed: int) -> dict[str, Value]:
    parameters = job.workload.parameters_for(job.protocol, seed)
    return {**parameters, **_stages_beyond(job, parameters)}


def _stages_beyond(job: FitJob, parameters: dict[str, Value]) -> dict[str, Value]:
    """Each stage of the training that has more epochs than the job allows, with those that it allows."""
    if job.epochs is None:
        return {}
    detector = resolve(job.workload.detector, parameters)
    scheduled = {name: value for name, value in detector.get_params().items() if name in detector.stages}
    return {name: job.epochs for name, value in scheduled.items() if isinstance(value, int) and value > job.epochs}


def _scored(detector: Detector, data: EncodedDataset) -> Evaluation:
    return _evaluated(detector, detector.decision_function(data.test_x), data)


def _evaluated(detector: Detector, scores: Vector, data: EncodedDataset) -> Evaluation:
    threshold = detector.threshold_for(scores)
    classes = None if data.test_class is None else data.test_class.tolist()
    return evaluate(scores, data.test_y, threshold, classes)


def _operating_points(detector: Detector, scores: Vector, data: EncodedDataset) -> tuple[OperatingPoint, ...]:
    """Of a detector that learns from labels, where there are labelled validation rows."""
    if not isinstance(detector, Classifier) or data.validation_x is None or data.validation_y is None:
        return ()
    return operating_points(
        (detector.decision_function(data.validation_x), data.validation_y),
        (scores, data.test_y),
        missed_cost=detector.missed_cost,
        target_recall=detector.target_recall,
    )


def dataset_record(data: EncodedDataset) -> DatasetRecord:
    """What a run record says of a data set."""
    return DatasetRecord(
        name=data.name,
        origin=data.origin,
        protocol=data.protocol,
        sha256=dict(data.sha256),
        verified=data.verified,
        rows=data.rows,
        features=len(data.feature_names),
        prevalence=data.prevalence,
        notes=data.notes,
        warnings=data.warnings,
        duplicates=dict(data.duplicates),
    )
