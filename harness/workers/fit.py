"""The fit job: load, fit, evaluate, export. Runs in a worker process."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.datasets.base import EncodedDataset
from harness.datasets.pipeline import load
from harness.detectors.base import Detector
from harness.detectors.classifier import Classifier
from harness.detectors.export import Fitted, prepare, save_bundle
from harness.detectors.registry import resolve
from harness.detectors.replicated import fit_together
from harness.evaluation.metrics import Evaluation, evaluate
from harness.evaluation.operating_points import OperatingPoint, operating_points
from harness.linalg import trainer
from harness.record.model import DatasetRecord
from harness.scoring.artifacts import write_rows
from harness.training.context import FitContext, Vector
from harness.workers.jobs import FitJob
from harness.workers.variants import by_learning_rate, number_formats
from harness.workload.files import find_workload
from harness.workload.model import Workload


def fit(job: FitJob) -> dict[str, Any]:
    """Fit a detector with every seed, together where it can, and leave in the directory what measuring needs.

    Raises:
        InputError: a data file, the workload file, or the detector is not usable.
    """
    workload = find_workload(job.workload)
    if job.dataset is not None:
        workload = workload.on_dataset(job.dataset, job.label)
    options = workload.options_for(job.protocol)
    if job.rows is not None:
        options = {**options, "rows": job.rows}
    data = load(
        workload.dataset,
        protocol=job.protocol,
        directory=None if job.data_dir is None else Path(job.data_dir),
        options=options,
    )
    detectors = [resolve(workload.detector, _parameters(workload, job, seed)) for seed in job.seeds]
    native = job.trainer == "native" and detectors[0].native_training() is not None and trainer.available()
    validation_y = None if data.validation_y is None else data.validation_y.astype(np.int64)
    context = FitContext(X_val=data.validation_x, y_val=validation_y, trainer="native" if native else "torch")
    started = time.perf_counter()
    fit_together(detectors, data.train_x, data.train_y, context=context)
    train_seconds = time.perf_counter() - started
    directory = Path(job.directory)
    artifacts = prepare(detectors[0], directory)
    scores = [detector.decision_function(data.test_x) for detector in detectors]
    parameters = [_parameters(workload, job, seed) for seed in job.seeds]
    rates = job.learning_rates
    at_rates = by_learning_rate(workload.detector, parameters, rates, data, context) if rates else []
    # Of windows, a detector of rows sees the last step.
    test_x, train_x = (x if detectors[0].sequential else detectors[0].view(x) for x in (data.test_x, data.train_x))
    write_rows(directory, test_x, scores[0], train_x, data.train_y)
    points = _operating_points(detectors[0], scores[0], data)
    if job.save is not None:
        fitted = Fitted(workload.name, job.protocol, job.seeds[0], dataset_record(data), points)
        save_bundle(detectors[0], data, fitted, Path(job.save))
    scheduled = workload.training_for(job.protocol).epochs
    cut = scheduled is not None and job.epochs is not None and job.epochs < scheduled
    trains_on = ["eager", "native"] if detectors[0].native_training() and trainer.available() else ["eager"]
    return {
        "dataset": asdict(dataset_record(data)),
        "evaluations": [_evaluated(*pair, data).to_json() for pair in zip(detectors, scores, strict=True)],
        "operating_points": [point.to_json() for point in points],
        "remarks": list(detectors[0].remarks()),
        "epochs": [asdict(epoch) for epoch in detectors[0].history_],
        "scheduled_epochs": scheduled,
        "limits": {"epochs": job.epochs if cut else None, "rows": job.rows},
        "train_seconds": train_seconds,
        "trained_on": "native" if native else "eager",
        "trains_on": trains_on if detectors[0].history_ else [],
        "number_formats": number_formats(artifacts, detectors[0], scores[0], data),
        "learning_rates": at_rates,
        "backends": list(artifacts.backends),
        "unavailable": dict(artifacts.unavailable),
        "macs_per_row": artifacts.macs_per_row,
    }


def _parameters(workload: Workload, job: FitJob, seed: int) -> dict[str, Any]:
    found = workload.parameters_for(job.protocol, seed)
    if job.epochs is not None and "epochs" in found:
        found["epochs"] = min(job.epochs, found["epochs"])
    return found


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
        duplicates=dict(data.duplicates),
    )
