"""Export of a fitted detector, once, into the files every backend reads.

``detector.json`` and ``weights.npz`` (the detector itself), ``scorer.json`` (what can run it), where the scoring is a
graph ``scorer.onnx``, and where it is a dense chain ``dense.npz``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.detectors import arrays
from harness.detectors.base import Detector
from harness.detectors.dense import DenseLayer, DenseProgram
from harness.errors import InputError

SCORER_FILE = "scorer.json"
GRAPH_FILE = "scorer.onnx"
DENSE_FILE = "dense.npz"


@dataclass(frozen=True)
class Artifacts:
    """What was exported, and which backends can run it."""

    directory: Path
    n_features: int
    backends: tuple[str, ...]
    macs_per_row: int | None  # multiply-accumulates to score a row; None when it is no dense chain


def prepare(detector: Detector, directory: Path) -> Artifacts:
    """Write everything needed to score with a fitted ``detector`` from another process.

    Raises:
        InputError: the detector is not fitted.
    """
    if not detector.n_features_:
        raise InputError(f"{detector.identity()} is not fitted.", remedy="Call fit before exporting it.")
    detector.save(directory)
    backends = ["eager"]
    program = detector.dense_program()
    meta: dict[str, Any] = {"detector": detector.identity(), "n_features": detector.n_features_}
    if program is not None:
        from harness.detectors.inference.graph import dense_graph

        (directory / GRAPH_FILE).write_bytes(dense_graph(program).SerializeToString())
        weights = {f"weight{index}": layer.weight for index, layer in enumerate(program.layers)}
        biases = {f"bias{index}": layer.bias for index, layer in enumerate(program.layers)}
        arrays.write(directory / DENSE_FILE, {**weights, **biases})
        meta["dense"] = {"output": program.output, "activations": [layer.activation for layer in program.layers]}
        backends += ["onnxruntime", "native"]
    meta["backends"] = backends
    meta["macs_per_row"] = None if program is None else program.macs_per_row
    (directory / SCORER_FILE).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Artifacts(directory, detector.n_features_, tuple(backends), meta["macs_per_row"])


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


def read_dense(directory: Path, meta: dict[str, Any]) -> DenseProgram:
    """The dense chain of an exported detector."""
    stored = arrays.read(directory / DENSE_FILE)
    layers = tuple(
        DenseLayer(stored[f"weight{index}"], stored[f"bias{index}"], activation)
        for index, activation in enumerate(meta["dense"]["activations"])
    )
    return DenseProgram(layers, meta["dense"]["output"])
