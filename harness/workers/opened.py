"""A model bundle in place of a fit: its files as they are, and rows made of its own columns, for a bundle has none."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.record.accuracy import TrainingLimits
from harness.scoring.artifacts import write_rows
from harness.serving.model import ServedModel
from harness.serving.payloads import ROWS, made_rows
from harness.workers.jobs import FitJob
from harness.workers.outcomes import FitOutcome

_SEED = 0
MADE = "the rows were made of the bundle's own columns, or of random features where it takes encoded rows"


def opened(job: FitJob, bundle: Path) -> FitOutcome:
    """Leave in the job's directory what measuring needs of a bundle; nothing is trained, and nothing known of accuracy.

    Raises:
        InputError: it is no bundle, or cannot be scored here.
    """
    model = ServedModel.open(bundle, None, job.threads)
    directory = Path(job.directory)
    for target in (directory, *([Path(job.save)] if job.save is not None else [])):
        shutil.copytree(bundle, target, dirs_exist_ok=True)
    rows = _rows(model)
    write_rows(directory, rows, model.score(rows), rows, np.zeros(len(rows), dtype=np.int8))
    provenance, exported = model.bundle.manifest.provenance, model.bundle.artifacts
    return FitOutcome(
        dataset=replace(provenance.dataset, notes=(*provenance.dataset.notes, MADE)),
        evaluations=(),
        operating_points=(),
        remarks=(),
        epochs=(),
        scheduled_epochs=None,
        limits=TrainingLimits(None, None),
        train_seconds=0.0,
        trained_on="nowhere: opened",
        trains_on=(),
        number_formats=(),
        learning_rates=(),
        backends=exported.backends,
        unavailable=dict(exported.unavailable),
        macs_per_row=exported.macs_per_row,
        weights=exported.weights(),
    )


def _rows(model: ServedModel) -> NDArray[np.float32]:
    if model.encoder is not None:
        return model.encoder.encode(made_rows(model, _SEED), "rows")
    return np.random.default_rng(_SEED).standard_normal(model.shape(ROWS), dtype=np.float32)
