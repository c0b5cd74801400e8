"""What a fit tells beside its own accuracy: the scores in lower precision, and the training at other learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.datasets.base import EncodedDataset
from harness.detectors.base import Detector
from harness.detectors.opening import open_scorer
from harness.detectors.registry import resolve
from harness.detectors.replicated import Replicated, fit_together
from harness.errors import InputError
from harness.evaluation.metrics import METRICS, evaluate
from harness.scoring.artifacts import Artifacts
from harness.scoring.backends import BACKENDS
from harness.training.context import FitContext, Vector

FULL = "float32"


def number_formats(artifacts: Artifacts, detector: Detector, own: Vector, data: EncodedDataset) -> list[dict[str, Any]]:
    """ROC-AUC and AUC-PR of the test rows in every lower precision that can run the detector, beside float32.

    Args:
        artifacts: of ``detector``.
        detector: the fitted detector.
        own: its scores of the test rows, in float32.
        data: with the test labels.

    Returns:
        ``backend``, ``dtype``, ``auc_roc``, ``auc_pr`` and their differences to float32 (``auc_roc_difference``, ...);
        empty for a detector without dense layers.
    """
    if not artifacts.macs_per_row:
        return []

    def areas(scores: Vector) -> dict[str, float]:
        found = evaluate(scores, data.test_y, detector.threshold_for(scores))
        return {"auc_roc": found.auc_roc, "auc_pr": found.auc_pr}

    rows = detector.view(data.test_x)
    full, lower = areas(own), []
    for backend in artifacts.backends:
        for dtype in BACKENDS[backend].dtypes:
            if dtype == FULL:
                continue
            try:
                scores = open_scorer(artifacts.directory, backend, dtype).score(rows)
            except InputError:  # this backend cannot lower the precision of this program
                continue
            if not np.isfinite(scores).all():
                continue
            found = areas(scores)
            differences = {f"{name}_difference": found[name] - full[name] for name in found}
            lower.append({"backend": backend, "dtype": dtype, **found, **differences})
    return lower


def by_learning_rate(
    detector: str,
    parameters: Sequence[dict[str, Any]],
    rates: Sequence[float],
    data: EncodedDataset,
    context: FitContext,
) -> list[dict[str, Any]]:
    """The accuracy at each of ``rates``, every seed of all of them trained together as replicas.

    Args:
        detector: name or ``module:Class``.
        parameters: constructor arguments, one set per seed.
        rates: learning rates to train with.
        data: training and test rows.
        context: of the training; its listeners stay silent.

    Returns:
        ``learning_rate``, the ``evaluations`` by metric of the seeds whose scores are numbers, and how many diverged.

    Raises:
        InputError: the detector cannot be trained so.
    """
    detectors = [resolve(detector, {**one, "learning_rate": rate}) for rate in rates for one in parameters]
    if not isinstance(detectors[0], Replicated):
        raise InputError(f"{detector} has no learning rate to vary.", remedy="Leave out --learning-rates.")
    fit_together(detectors, data.train_x, data.train_y, context=replace(context, on_epoch=None))
    seeds = len(parameters)
    told = []
    for index, rate in enumerate(rates):
        trained = detectors[index * seeds : (index + 1) * seeds]
        evaluations = [found for one in trained if (found := _metrics(one, data)) is not None]
        told.append({"learning_rate": rate, "evaluations": evaluations, "diverged": seeds - len(evaluations)})
    return told


def _metrics(detector: Detector, data: EncodedDataset) -> dict[str, float] | None:
    scores = detector.decision_function(data.test_x)
    if not np.isfinite(scores).all():
        return None
    found = evaluate(scores, data.test_y, detector.threshold_for(scores)).to_json()
    return {name: found[name] for name in METRICS}
