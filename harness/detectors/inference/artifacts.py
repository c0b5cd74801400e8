"""Export of a fitted detector, once, into the files every backend reads.

``detector.json`` and ``weights.npz`` (the detector itself), ``scorer.json`` (what can run it), and where the scoring is
a `harness.detectors.program.Program` its steps in ``scorer.json``, its arrays in ``program.npz``, its graph in
``scorer.onnx``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.detectors import arrays
from harness.detectors.base import Detector
from harness.detectors.program import Program, Step
from harness.errors import InputError
from harness.gemm import chain, native

SCORER_FILE = "scorer.json"
GRAPH_FILE = "scorer.onnx"
PROGRAM_FILE = "program.npz"


@dataclass(frozen=True)
class Artifacts:
    """What was exported, and which backends can run it."""

    directory: Path
    n_features: int
    backends: tuple[str, ...]
    macs_per_row: int | None  # multiply-accumulates to score a row; None when it is no program
    unavailable: dict[str, str] = field(default_factory=dict)  # backend -> what it lacks here, and the remedy


def prepare(detector: Detector, directory: Path) -> Artifacts:
    """Write everything needed to score with a fitted ``detector`` from another process.

    Raises:
        InputError: the detector is not fitted.
    """
    if not detector.n_features_:
        raise InputError(f"{detector.identity()} is not fitted.", remedy="Call fit before exporting it.")
    detector.save(directory)
    backends, unavailable = ["eager"], {}
    program = detector.program()
    meta: dict[str, Any] = {"detector": detector.identity(), "n_features": detector.n_features_}
    if program is not None:
        from harness.detectors.inference import compiled
        from harness.detectors.inference.graph import graph

        (directory / GRAPH_FILE).write_bytes(graph(program).SerializeToString())
        meta["program"] = write_program(program, directory)
        backends.append("onnxruntime")
        if program.macs_per_row:  # without dense layers there is nothing for native kernels to do
            if chain.available():
                backends.append("native")
            else:
                unavailable["native"] = str(native.missing())
        if all(step.operation in compiled.OPERATIONS for step in program.steps):
            missing = compiled.missing_compiler()
            if missing is None:
                backends.append("compile")
            else:
                unavailable["compile"] = missing
    elif (exported := _exported(detector)) is not None:
        (directory / GRAPH_FILE).write_bytes(exported)
        backends += ["onnxruntime"]
    training = detector.native_training()
    meta["training"] = None if training is None else asdict(training)
    meta["backends"] = backends
    meta["macs_per_row"] = None if program is None else program.macs_per_row
    (directory / SCORER_FILE).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Artifacts(directory, detector.n_features_, tuple(backends), meta["macs_per_row"], unavailable)


def _exported(detector: Detector) -> bytes | None:
    """The graph of a detector that is no program, if it has one."""
    module = detector.scoring_module()
    if module is None:
        return detector.scoring_graph()
    from harness.detectors.inference.tracing import traced_graph

    shape = (detector.n_features_,) if detector.steps_ is None else (detector.steps_, detector.n_features_)
    return traced_graph(module, shape)


def read(directory: Path) -> tuple[Artifacts, dict[str, Any]]:
    """What `prepare` wrote, and the raw ``scorer.json``.

    Raises:
        InputError: the file is missing or broken.
    """
    path = directory / SCORER_FILE
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        return Artifacts(directory, meta["n_features"], tuple(meta["backends"]), meta["macs_per_row"]), meta
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is missing or broken: {error!r}.", remedy="Export the detector again.") from error


def write_program(program: Program, directory: Path) -> list[dict[str, Any]]:
    """Store the arrays of ``program``; the returned steps refer to them by name."""
    stored: dict[str, NDArray[Any]] = {}
    steps: list[dict[str, Any]] = []
    for step in program.steps:
        names = [f"{step.output}_{index}" for index in range(len(step.arrays))]
        stored.update(zip(names, step.arrays, strict=True))
        steps.append(
            {
                "operation": step.operation,
                "kind": step.kind,
                "inputs": list(step.inputs),
                "output": step.output,
                "arrays": names,
                "parameter": step.parameter,
            }
        )
    arrays.write(directory / PROGRAM_FILE, stored)
    return steps


def read_program(artifacts: Artifacts, meta: dict[str, Any]) -> Program:
    """The program that `write_program` stored."""
    stored = arrays.read(artifacts.directory / PROGRAM_FILE)
    steps = tuple(
        Step(
            step["operation"],
            step["kind"],
            tuple(step["inputs"]),
            step["output"],
            tuple(stored[name] for name in step["arrays"]),
            step["parameter"],
        )
        for step in meta["program"]
    )
    return Program(artifacts.n_features, steps)
