"""Variants of a fit: the scores in lower precision, and the training at other learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.datasets.encoded import EncodedDataset
from harness.detectors.base import Detector
from harness.detectors.opening import open_scorer
from harness.detectors.registry import resolve
from harness.detectors.replicated import Replicated, fit_together
from harness.errors import InputError
from harness.evaluation.metrics import METRICS, evaluate
from harness.record.accuracy import NumberFormatAccuracy
from harness.scoring.artifacts import Artifacts
from harness.scoring.backends import BACKENDS
from harness.training.context import FitContext, Matrix, Vector
from harness.workers.outcomes import LearningRateTrial
from harness.workload.model import Value

FULL = "float32"


def number_formats(
    artifacts: Artifacts, detector: Detector, own: Vector, data: EncodedDataset
) -> tuple[NumberFormatAccuracy, ...]:
    """ROC-AUC and AUC-PR of the test rows in every lower precision that can run the detector.

    Args:
        artifacts: of ``detector``.
        detector: the fitted detector.
        own: its scores of the test rows (n,), in float32.
        data: with the test labels.

    Returns:
        One per backend and number format; empty for a detector without dense layers.
    """
    if not artifacts.macs_per_row:
        return ()

    def areas(scores: Vector) -> tuple[float, float]:
        evaluation = evaluate(scores, data.test_y, detector.threshold_for(scores))
        return evaluation.auc_roc, evaluation.auc_pr

    full_roc, full_pr = areas(own)
    lower = []
    for backend in artifacts.backends:
        for dtype in BACKENDS[backend]:
            if dtype == FULL:
                continue
            try:
                scorer = open_scorer(artifacts.directory, backend, dtype)
                blocks = detector.checked_blocks(data.test_x)
                scores = np.concatenate([scorer.score(_as_exported(detector, rows)) for rows in blocks])
            except InputError:  # this backend cannot lower the precision of this program
                continue
            if not np.isfinite(scores).all():
                continue
            roc, pr = areas(scores)
            lower.append(NumberFormatAccuracy(backend, dtype, roc, pr, roc - full_roc, pr - full_pr))
    return tuple(lower)


def _as_exported(detector: Detector, rows: Matrix) -> Matrix:
    """What the exported scoring of a detector takes: rows if it was fitted on rows, even if it sees them as windows."""
    return rows.reshape(len(rows), -1) if detector.steps_ is None else rows


def by_learning_rate(
    detector: str,
    parameters: Sequence[Mapping[str, Value]],
    rates: Sequence[float],
    data: EncodedDataset,
    context: FitContext,
) -> tuple[LearningRateTrial, ...]:
    """The accuracy at each of ``rates``, every seed of all of them trained together as replicas.

    Args:
        detector: name or ``module:Class``.
        parameters: constructor arguments, one set per seed.
        rates: learning rates to train with.
        data: training and test rows.
        context: of the training; its listeners stay silent, and its ranks do not share this one.

    Raises:
        InputError: the detector cannot be trained so.
    """
    if not rates:
        return ()
    detectors = [resolve(detector, {**values, "learning_rate": rate}) for rate in rates for values in parameters]
    if not isinstance(detectors[0], Replicated):
        raise InputError(f"{detector} has no learning rate to vary.", remedy="Leave out --learning-rates.")
    fit_together(detectors, data.train_x, data.train_y, context=replace(context, on_epoch=None, ranks=None))
    seeds = len(parameters)
    trials = []
    for index, rate in enumerate(rates):
        trained = detectors[index * seeds : (index + 1) * seeds]
        evaluations = tuple(metrics for each in trained if (metrics := metrics_of(each, data)) is not None)
        trials.append(LearningRateTrial(rate, evaluations, diverged=seeds - len(evaluations)))
    return tuple(trials)


def metrics_of(detector: Detector, data: EncodedDataset) -> dict[str, float] | None:
    """Every metric on the test rows; None of a detector that diverged."""
    scores = detector.decision_function(data.test_x)
    if not np.isfinite(scores).all():
        return None
    evaluation = evaluate(scores, data.test_y, detector.threshold_for(scores))
    return {name: float(getattr(evaluation, name)) for name in METRICS}
