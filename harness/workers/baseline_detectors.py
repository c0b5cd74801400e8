"""Baseline detectors: classical methods on the same data set, protocol and split, at a bounded cost.

What a detector costs is only justified by what cheaper methods miss, so every accuracy is shown with these. They are
computed once per data set and protocol of a run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.datasets.coded_rows import Rows, chosen_rows
from harness.errors import InputError
from harness.evaluation.metrics import METRICS, evaluate, over_seeds
from harness.record.accuracy import BaselineBasis, BaselineDetector, FailedBaseline, ScoredBaseline, SeedMean
from harness.record.spec import Protocol
from harness.workers.jobs import BaselineJob
from harness.workers.outcomes import BaselineOutcome
from harness.workload.model import Workload

if TYPE_CHECKING:
    from harness.datasets.encoded import EncodedDataset

TRAIN_ROWS = 20_000  # at most this many rows are trained on
TEST_ROWS = 20_000  # and at most this many scored; which ones is drawn with the share of anomalies kept
SEED = 0

# Options that say how a detector wants its rows prepared. Baseline detectors take the data set's default encoding,
# fitted on training rows of both kinds, under either protocol: preparation is part of a method; theirs is the plain
# one.
_PREPARATION = ("encoding", "refit", "scaler_rows", "streamed", "train_rows", "validation")


@dataclass(frozen=True)
class _Baseline:
    name: str
    detector: str
    parameters: Mapping[str, Any]
    learns_from_labels: bool = False


_BASELINES = (
    _Baseline("isolation forest", "isolation-forest", {"n_estimators": 100}),
    _Baseline("1-NN distance", "knn", {"n_neighbors": 1, "max_samples": 5_000}),
    _Baseline("PCA", "pca", {}),
    _Baseline("gradient boosting", "gradient-boosting", {"max_iter": 100}, learns_from_labels=True),
)


def baseline_job(
    workload: Workload, protocol: Protocol, data_dir: str | None, rows: int | None, threads: int, seeds: int = 1
) -> BaselineJob:
    """The baseline detectors of a workload; workloads that share data, protocol and threshold rule have equal jobs.

    Its ``directory`` is still empty.
    """
    options = {key: value for key, value in workload.options_for(protocol).items() if key not in _PREPARATION}
    if rows is not None:
        options["rows"] = rows
    parameters = workload.parameters_for(protocol, SEED)
    # Where a publication flags a fixed share of the test rows, or validation labels choose, the baselines do so too.
    rule, contamination = parameters.get("threshold"), parameters.get("contamination")
    threshold = rule if rule in ("flagged_share", "validation") else "percentile"
    return BaselineJob(
        dataset=workload.dataset,
        protocol=protocol,
        options=options,
        threshold=threshold,
        contamination=contamination if threshold == "flagged_share" and isinstance(contamination, float) else None,
        data_dir=data_dir,
        threads=threads,
        directory="",
        splits=seeds,
    )


def score_baselines(job: BaselineJob) -> BaselineOutcome:
    """Fit and evaluate each baseline detector on every split that the detector has; runs in a worker process."""
    from harness.datasets.registry import default_encoding

    encoding = default_encoding(job.dataset)
    data = _loaded(job, encoding)
    arrays = _arrays(data)
    basis = BaselineBasis(
        train_rows=len(arrays.train_y),
        of_train_rows=len(data.train_y),
        test_rows=len(arrays.test_y),
        of_test_rows=len(data.test_y),
        encoding=encoding,
        prevalence=float(np.mean(arrays.test_y == 1)),
        seed=SEED,
    )
    scored = [[_scored(baseline, arrays, job, SEED)] for baseline in _BASELINES]
    for number in range(1, job.splits if data.split_seed is not None else 1):  # as workers/fit.py draws them
        other = _arrays(_loaded(job, encoding, int(data.split_seed or 0) + number))
        for results, baseline in zip(scored, _BASELINES, strict=True):
            results.append(_scored(baseline, other, job, SEED + number))
    return BaselineOutcome(tuple(_over_splits(results) for results in scored), basis)


def _loaded(job: BaselineJob, encoding: str, seed: int | None = None) -> EncodedDataset:
    from harness.datasets.base import load

    return load(
        job.dataset,
        protocol=job.protocol,
        directory=None if job.data_dir is None else Path(job.data_dir),
        options={**job.options, "encoding": encoding, **({} if seed is None else {"seed": seed})},
        synthetic=job.synthetic,
    )


def _arrays(data: EncodedDataset) -> _Arrays:
    """The rows of a split that the baselines see."""
    rng = np.random.default_rng(SEED)
    train, test = _drawn(data.train_y, TRAIN_ROWS, rng), _drawn(data.test_y, TEST_ROWS, rng)
    return _Arrays(
        chosen_rows(data.train_x, train),
        data.train_y[train],
        data.validation_x,
        data.validation_y,
        chosen_rows(data.test_x, test),
        data.test_y[test],
    )


def _over_splits(results: Sequence[BaselineDetector]) -> BaselineDetector:
    """Means over splits; a baseline that failed on any of them has none."""
    scored = [each for each in results if isinstance(each, ScoredBaseline)]
    if len(scored) < len(results):
        return next(each for each in results if isinstance(each, FailedBaseline))
    metrics = {name: over_seeds([each.metrics[name].mean for each in scored]) for name in METRICS}
    return replace(scored[0], metrics=metrics, seconds=sum(each.seconds for each in scored))


@dataclass(frozen=True)
class _Arrays:
    train_x: Rows
    train_y: NDArray[np.int8]
    validation_x: Rows | None
    validation_y: NDArray[np.int8] | None
    test_x: Rows
    test_y: NDArray[np.int8]


def _scored(baseline: _Baseline, arrays: _Arrays, job: BaselineJob, seed: int) -> BaselineDetector:
    from harness.detectors.registry import resolve
    from harness.detectors.room import require_room
    from harness.training.context import FitContext

    parameters = {**baseline.parameters, "random_state": seed}
    if not baseline.learns_from_labels:
        parameters["threshold"] = _rule(job.threshold, arrays.validation_y)
        if job.contamination is not None:
            parameters["contamination"] = job.contamination
    started = time.perf_counter()
    try:
        detector = resolve(baseline.detector, parameters)
        require_room(detector, arrays.train_x)
        labels = None if arrays.validation_y is None else arrays.validation_y.astype(np.int64)
        context = FitContext(X_val=arrays.validation_x, y_val=labels, charted=False)
        detector.fit(arrays.train_x, arrays.train_y, context=context)
        scores = detector.decision_function(arrays.test_x)
        evaluation = evaluate(scores, arrays.test_y, detector.threshold_for(scores))
    except InputError as error:
        return FailedBaseline(baseline.name, baseline.detector, error.message)
    metrics = {name: SeedMean(float(getattr(evaluation, name)), None, 1) for name in METRICS}
    seconds = time.perf_counter() - started
    return ScoredBaseline(baseline.name, baseline.detector, metrics, evaluation.threshold_rule, seconds)


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
