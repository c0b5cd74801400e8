"""Export of a fitted detector, once, into the files of ``harness.scoring.artifacts``."""

from __future__ import annotations

from pathlib import Path

from harness.detectors.base import Detector
from harness.errors import InputError
from harness.linalg import chain, native
from harness.scoring import artifacts
from harness.scoring.artifacts import Artifacts, Scoring
from harness.scoring.program import Program


def prepare(detector: Detector, directory: Path) -> Artifacts:
    """Write everything needed to score with a fitted ``detector`` from another process.

    Raises:
        InputError: the detector is not fitted.
    """
    if not detector.n_features_:
        raise InputError(f"{detector.identity()} is not fitted.", remedy="Call fit before exporting it.")
    detector.save(directory)
    training = detector.native_training()
    if training is not None:
        artifacts.write_json(directory / artifacts.TRAINING_FILE, training)
    program = detector.program()
    graph = _exported(detector) if program is None else _graph(program)
    unavailable = {} if program is None else _unavailable(program)
    backends = ["eager"] if graph is None else ["eager", "onnxruntime"]
    backends += [] if program is None else [name for name in _backends(program) if name not in unavailable]
    scoring = Scoring(
        detector=detector.identity(),
        n_features=detector.n_features_,
        backends=tuple(backends),
        macs_per_row=None if program is None else program.macs_per_row,
        steps=None if program is None else program.steps,
        unavailable=unavailable,
    )
    return artifacts.write(directory, scoring, program, graph)


def _backends(program: Program) -> list[str]:
    """Backends of a program beside those of its graph, wherever they may be available."""
    from harness.scoring.backend_compile import missing_operation

    native_too = ["native"] if program.macs_per_row else []  # without dense layers it has nothing to do
    return native_too if missing_operation(program) else [*native_too, "compile"]


def _unavailable(program: Program) -> dict[str, str]:
    from harness.scoring.backend_compile import missing_compiler

    lacking: dict[str, str] = {}
    for name in _backends(program):
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

    shape = (detector.n_features_,) if detector.steps_ is None else (detector.steps_, detector.n_features_)
    return traced_graph(module, shape)
