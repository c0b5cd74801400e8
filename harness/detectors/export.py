"""Export of a fitted detector, once, into the files of ``harness.scoring.artifacts``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import __version__
from harness.datasets.encoded import EncodedDataset
from harness.detectors.base import Detector
from harness.detectors.classifier import Classifier
from harness.errors import InputError
from harness.evaluation.calibration import calibrate_scores
from harness.evaluation.drift import DriftReference, ScoreReference
from harness.evaluation.thresholds import Threshold
from harness.linalg import chain, native
from harness.record.accuracy import OperatingPoint
from harness.record.model import DatasetRecord
from harness.scoring import artifacts, bundle
from harness.scoring.artifacts import Artifacts, Scoring
from harness.scoring.program import Program

_FEW_SCORES = 200  # fewer say too little of a distribution
_REFERENCE_ROWS = 20_000


def prepare(detector: Detector, directory: Path, *, compiles: bool = True) -> Artifacts:
    """Write everything needed to score with a fitted ``detector`` from another process.

    Args:
        detector: fitted.
        directory: receives the files.
        compiles: whether torch.compile is wanted, for which a C++ compiler is tried.

    Raises:
        InputError: the detector is not fitted.
    """
    if not detector.__sklearn_is_fitted__():
        raise InputError(f"{detector.identity()} is not fitted.", remedy="Call fit before exporting it.")
    detector.save(directory)
    training = detector.native_training()
    if training is not None:
        artifacts.write_json(directory / artifacts.TRAINING_FILE, training)
    program = detector.program()
    graph = _exported(detector) if program is None or detector.traced else _graph(program)
    possible = [] if program is None else _backends(detector, compiles=compiles)
    unavailable = _unavailable(possible)
    backends = ["eager"] if graph is None else ["eager", "onnxruntime"]
    backends += [name for name in possible if name not in unavailable]
    scoring = Scoring(
        detector=detector.identity(),
        n_features=detector.n_features_in_,
        backends=tuple(backends),
        macs_per_row=None if program is None else program.macs_per_row,
        steps=None if program is None else program.steps,
        unavailable=unavailable,
        window=detector.steps_ or 1,
    )
    return artifacts.write(directory, scoring, program, graph)


def _backends(detector: Detector, *, compiles: bool) -> list[str]:
    """Backends of a detector's program besides those of its graph, wherever they may be available."""
    return ["native", "compile"] if detector.dense and compiles else ["native"]


def _unavailable(possible: list[str]) -> dict[str, str]:
    from harness.scoring.backend_compile import missing_compiler

    lacking: dict[str, str] = {}
    for name in possible:
        if name == "native" and not chain.available():
            lacking[name] = str(native.missing())
        elif name == "compile" and (missing := missing_compiler()) is not None:
            lacking[name] = missing
    return lacking


def _graph(program: Program) -> bytes:
    from harness.scoring.onnx_graph import graph

    serialised: bytes = graph(program).SerializeToString()
    return serialised


def _exported(detector: Detector) -> bytes | None:
    """The graph of a detector that is no program, if it has one."""
    module = detector.scoring_module()
    if module is None:
        return detector.scoring_graph()
    from harness.scoring.onnx_tracing import traced_graph

    shape = (detector.n_features_in_,) if detector.steps_ is None else (detector.steps_, detector.n_features_in_)
    return traced_graph(module, shape)


@dataclass(frozen=True)
class Fitted:
    """What a bundle says of a fit besides the detector and its data."""

    workload: str
    protocol: str
    random_state: int
    dataset: DatasetRecord
    points: tuple[OperatingPoint, ...] = ()  # thresholds that validation labels chose


def save_bundle(detector: Detector, data: EncodedDataset, fitted: Fitted, directory: Path) -> None:
    """Save all that a fitted ``detector`` needs to score again anywhere as a model bundle, whole or not at all.

    Args:
        detector: fitted on ``data``.
        data: with the encoder that made its features.
        fitted: where it comes from and at which thresholds it may work.
        directory: of the bundle; it must not exist.

    Raises:
        InputError: the directory exists, or the detector can be scored by no backend without its own library's objects.
    """
    name = detector.identity()
    if not np.isfinite(detector.threshold_):
        raise InputError(f"{name} cannot be saved as a bundle: it has chosen no threshold.", remedy="Fit it first.")
    decision = Threshold(detector.threshold_, detector.threshold_rule_)
    levels = {point.threshold: Threshold(point.threshold, point.rule) for point in fitted.points}
    levels[decision.value] = decision
    encoder = data.encoder
    provenance = bundle.Provenance(
        tool_version=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=fitted.workload,
        detector=name,
        parameters=detector.get_params(),
        protocol=fitted.protocol,
        random_state=fitted.random_state,
        dataset=fitted.dataset,
    )
    kind = _score_kind(detector)
    held_out = None if data.validation_x is None else detector.decision_function(data.validation_x)
    validation = _labelled(held_out, data)
    manifest = bundle.Manifest(
        format=bundle.FORMAT,
        provenance=provenance,
        features=data.feature_names,
        columns=() if encoder is None else encoder.columns,
        file_columns=data.file_columns,
        steps=detector.steps_,
        decision=decision,
        levels=tuple(levels[value] for value in sorted(levels)),
        score=kind,
        calibration=None if validation is None else calibrate_scores(*validation, logits=kind == "logit"),
    )
    rows = data.train_x if data.train_x.ndim == 2 else np.asarray(data.train_x)[:, -1]
    reference = DriftReference.of(rows).with_scores(_reference_scores(detector, data, held_out))
    bundle.write_bundle(
        directory, manifest, encoder, reference, lambda aside: _export_portable(detector, aside), validation
    )


def _score_kind(detector: Detector) -> bundle.ScoreKind:
    if not isinstance(detector, Classifier):
        return "other"
    return "logit" if detector.even_score == 0.0 else "probability"


def _labelled(
    scores: NDArray[np.float32] | None, data: EncodedDataset
) -> tuple[NDArray[np.float32], NDArray[np.int8]] | None:
    """Scores and labels of the validation rows, where there are both kinds."""
    if scores is None or data.validation_y is None or len(np.unique(data.validation_y)) < 2:
        return None
    return scores, data.validation_y.astype(np.int8)


def _reference_scores(detector: Detector, data: EncodedDataset, held_out: NDArray[np.float32] | None) -> ScoreReference:
    """Of validation rows that are like the training rows: normal ones where only those were trained on.

    Scores of training rows themselves, to which a model may be fitted closely, are for want of `_FEW_SCORES` of others.
    """
    threshold = detector.threshold_
    if held_out is not None and data.validation_y is not None:
        like = held_out if data.train_y.any() else held_out[data.validation_y == 0]
        like = like[np.isfinite(like)]
        if len(like) >= _FEW_SCORES:
            return ScoreReference.of(like, threshold, held_out=True)
    rows = len(data.train_x)
    places = np.unique(np.linspace(0, rows - 1, min(rows, _REFERENCE_ROWS)).astype(np.int64))
    scores = detector.decision_function(np.asarray(data.train_x[places]))
    return ScoreReference.of(scores[np.isfinite(scores)], threshold, held_out=False)


def _export_portable(detector: Detector, directory: Path) -> None:
    """The files of `prepare`, with the backends that any machine may have instead of those of this one."""
    exported = prepare(detector, directory, compiles=False)
    if "onnxruntime" not in exported.backends:
        raise InputError(
            f"{exported.detector} cannot be saved as a bundle: it has neither a program nor an ONNX graph, and the "
            "fitted object of its library could only be pickled.",
            remedy="Save a built-in detector, or derive the class from harness.detectors.base.Detector and give it a "
            "program() or a scoring_graph().",
        )
    (directory / artifacts.TRAINING_FILE).unlink(missing_ok=True)
    possible = {*exported.backends, *exported.unavailable}
    backends = tuple(name for name in bundle.PORTABLE if name in possible)
    scoring = {**vars(exported), "backends": backends, "unavailable": {}}
    del scoring["directory"]
    artifacts.write_json(directory / artifacts.SCORER_FILE, Scoring(**scoring))
