"""Export of a fitted detector, once, into the files of ``harness.scoring.artifacts``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.detectors.base import Detector
from harness.errors import InputError
from harness.linalg import chain, native
from harness.scoring.artifacts import GRAPH_FILE, SCORER_FILE, Artifacts, write_program


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
        from harness.scoring import backend_compile as compiled
        from harness.scoring.onnx_graph import graph

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
    from harness.scoring.onnx_tracing import traced_graph

    shape = (detector.n_features_,) if detector.steps_ is None else (detector.steps_, detector.n_features_)
    return traced_graph(module, shape)
