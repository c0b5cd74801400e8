"""Classical references beside a detector: on the same data set, protocol and split, at a bounded cost.

What a detector costs is only justified by what cheaper methods miss, so every accuracy is shown beside these. They are
computed once per data set and protocol of a run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.evaluation.metrics import METRICS, evaluate
from harness.record.spec import Protocol
from harness.workers.jobs import ReferencesJob
from harness.workload.model import Workload

TRAIN_ROWS = 20_000  # at most this many rows are learnt from
TEST_ROWS = 20_000  # and at most this many scored; which ones is drawn with the share of anomalies kept
SEED = 0

# Options that say how a detector wants its rows prepared. References take the data set's default encoding, fitted on
# training rows of both kinds, under either protocol: preparation is part of a method, and theirs is the plain one.
_PREPARATION = ("encoding", "refit", "scaler_rows", "train_rows", "validation")


@dataclass(frozen=True)
class _Reference:
    name: str
    detector: str
    parameters: Mapping[str, Any]
    learns_from_labels: bool = False


_REFERENCES = (
    _Reference("isolation forest", "isolation-forest", {"n_estimators": 100}),
    _Reference("1-NN distance", "knn", {"n_neighbors": 1, "max_samples": 5_000}),
    _Reference("PCA", "pca", {}),
    _Reference("gradient boosting", "gradient-boosting", {"max_iter": 100}, learns_from_labels=True),
)


def references_job(
    workload: Workload, protocol: Protocol, data_dir: Path | None, rows: int | None, threads: int
) -> ReferencesJob:
    """What gives the references of a workload; workloads that share data, protocol and threshold rule have equal jobs.

    Its ``directory`` is still empty.
    """
    options = {key: value for key, value in workload.options_for(protocol).items() if key not in _PREPARATION}
    if rows is not None:
        options["rows"] = rows
    parameters = workload.parameters_for(protocol, SEED)
    # Where a publication flags a fixed share of the test rows, or validation labels choose, the references do so too.
    rule, contamination = parameters.get("threshold"), parameters.get("contamination")
    threshold = rule if rule in ("flagged_share", "validation") else "percentile"
    return ReferencesJob(
        dataset=workload.dataset,
        protocol=protocol,
        options=options,
        threshold=threshold,
        contamination=contamination if threshold == "flagged_share" and isinstance(contamination, float) else None,
        data_dir=None if data_dir is None else str(data_dir),
        threads=threads,
        directory="",
    )


def key_of(job: ReferencesJob) -> str:
    """Equal for jobs with the same outcome."""
    return json.dumps(asdict(replace(job, directory="")), sort_keys=True)


def score_references(job: ReferencesJob) -> dict[str, Any]:
    """Fit and evaluate each reference; runs in a worker process.

    The result has ``references`` (``name``, ``detector``, ``metrics``, ``threshold_rule``, ``seconds``, or ``failure``
    in words) and ``basis``: the rows used of how many, their encoding and the prevalence among the rows scored.
    """
    from harness.datasets.pipeline import load
    from harness.datasets.registry import default_encoding

    encoding = default_encoding(job.dataset)
    data = load(
        job.dataset,
        protocol=job.protocol,
        directory=None if job.data_dir is None else Path(job.data_dir),
        options={**job.options, "encoding": encoding},
    )
    rng = np.random.default_rng(SEED)
    learnt, scored = _drawn(data.train_y, TRAIN_ROWS, rng), _drawn(data.test_y, TEST_ROWS, rng)
    arrays = _Arrays(
        data.train_x[learnt], data.train_y[learnt], data.validation_x, data.validation_y, data.test_x[scored],
        data.test_y[scored],
    )  # fmt: skip
    return {
        "references": [_scored(each, arrays, job) for each in _REFERENCES],
        "basis": {
            "train_rows": len(learnt),
            "of_train_rows": len(data.train_y),
            "test_rows": len(scored),
            "of_test_rows": len(data.test_y),
            "encoding": encoding,
            "prevalence": float(np.mean(arrays.test_y == 1)),
            "seed": SEED,
        },
    }


@dataclass(frozen=True)
class _Arrays:
    train_x: NDArray[np.float32]
    train_y: NDArray[np.int8]
    validation_x: NDArray[np.float32] | None
    validation_y: NDArray[np.int8] | None
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int8]


def _scored(reference: _Reference, arrays: _Arrays, job: ReferencesJob) -> dict[str, Any]:
    from harness.detectors.registry import resolve
    from harness.training.context import FitContext

    parameters = {**reference.parameters, "random_state": SEED}
    if not reference.learns_from_labels:
        parameters["threshold"] = _rule(job.threshold, arrays.validation_y)
        if job.contamination is not None:
            parameters["contamination"] = job.contamination
    told = {"name": reference.name, "detector": reference.detector}
    started = time.perf_counter()
    try:
        detector = resolve(reference.detector, parameters)
        labels = None if arrays.validation_y is None else arrays.validation_y.astype(np.int64)
        detector.fit(arrays.train_x, arrays.train_y, context=FitContext(X_val=arrays.validation_x, y_val=labels))
        scores = detector.decision_function(arrays.test_x)
        found = evaluate(scores, arrays.test_y, detector.threshold_for(scores))
    except InputError as error:
        return {**told, "failure": error.message}
    return {
        **told,
        "metrics": {name: {"value": getattr(found, name), "sd": None, "n": 1} for name in METRICS},
        "threshold_rule": found.threshold_rule,
        "seconds": time.perf_counter() - started,
    }


def _rule(wanted: str, validation: NDArray[np.int8] | None) -> str:
    """The rule asked for, or a percentile where it takes labels that are not there."""
    if wanted == "validation" and (validation is None or len(np.unique(validation)) < 2):
        return "percentile"
    return wanted


def _drawn(labels: NDArray[np.int8], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions of at most ``most`` rows in order, each label keeping its share (and at least one row)."""
    if len(labels) <= most:
        return np.arange(len(labels))
    chosen = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        chosen.append(rng.choice(places, size=max(1, round(most * len(places) / len(labels))), replace=False))
    return np.sort(np.concatenate(chosen))
