"""The files of an exported detector, which every backend reads.

``detector.json`` and ``weights.npz`` (the detector itself), ``scorer.json`` (what can run it), and where the scoring is
a `harness.scoring.program.Program` its steps in ``scorer.json``, its arrays in ``program.npz``, its graph in
``scorer.onnx``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.errors import InputError
from harness.scoring import arrays
from harness.scoring.program import Program, Step

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


def read(directory: Path) -> tuple[Artifacts, dict[str, Any]]:
    """What `harness.detectors.export.prepare` wrote, and the raw ``scorer.json``.

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
