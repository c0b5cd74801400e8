"""The directory of an exported detector: its files, and the one place that writes and reads each of them.

``detector.json`` and ``weights.npz`` hold the detector itself, ``scorer.json`` what can run it. Where the scoring is a
`harness.scoring.program.Program`, its steps are in ``scorer.json``, its arrays in ``program.npz`` and its graph in
``scorer.onnx``. Beside them lie the rows that measuring needs, and in the directory of a measuring process its scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import decode
from harness.datasets.coded_rows import CodedRows
from harness.datasets.coded_rows import Rows as AnyRows
from harness.errors import InputError
from harness.scoring import arrays
from harness.scoring.agreement import agreement
from harness.scoring.program import Program, Step

DETECTOR_FILE = "detector.json"
WEIGHTS_FILE = "weights.npz"
SCORER_FILE = "scorer.json"
GRAPH_FILE = "scorer.onnx"
PROGRAM_FILE = "program.npz"
TRAINING_FILE = "training.json"  # how the native kernels train it, where they can
_TEST_ROWS = "test_x"  # .npy, or .npz of rows held as codes
_TEST_SCORES = "test_scores.npy"
_TRAINING_ROWS = "train_x"
_TRAINING_LABELS = "train_y.npy"
_MEASURED_SCORES = "scores.npy"
AGREEMENT_ROWS = 2048  # rows scored for the comparison of backends

Rows = NDArray[np.float32]
Labels = NDArray[np.int8]


@dataclass(frozen=True)
class Scoring:
    """``scorer.json``: what scores, and which backends can run it."""

    detector: str
    n_features: int
    backends: tuple[str, ...]
    macs_per_row: int | None  # multiply-accumulates to score a row; None when it is no program
    steps: tuple[Step, ...] | None = None  # of the program
    unavailable: Mapping[str, str] = field(default_factory=dict)  # backend -> what it lacks here, and the remedy
    window: int = 1  # steps of a row of a detector of sequences; the program has them side by side


@dataclass(frozen=True, kw_only=True)
class Artifacts(Scoring):
    """An exported detector on disk."""

    directory: Path

    @property
    def graph(self) -> Path:
        """File of the ONNX graph."""
        return self.directory / GRAPH_FILE

    def program(self) -> Program:
        """The program with its arrays.

        Raises:
            InputError: the detector is no program, or its arrays cannot be read.
        """
        if self.steps is None:
            raise InputError(f"{self.detector} scores by no program.", remedy="Use backend eager or onnxruntime.")
        return Program(self.n_features * self.window, self.steps, read_arrays(self.directory / PROGRAM_FILE))

    def weights(self) -> int | None:
        """Numbers that every call of the program reads; None without a program, and where a row meets few of them."""
        return None if self.steps is None else self.program().weights


def write(directory: Path, scoring: Scoring, program: Program | None, graph: bytes | None) -> Artifacts:
    """Write ``scorer.json`` with the program's arrays and the graph, as far as there are any."""
    if program is not None:
        arrays.write(directory / PROGRAM_FILE, program.arrays)
    if graph is not None:
        (directory / GRAPH_FILE).write_bytes(graph)
    write_json(directory / SCORER_FILE, scoring)
    return Artifacts(**vars(scoring), directory=directory)


def read(directory: Path) -> Artifacts:
    """What `write` left in ``directory``.

    Raises:
        InputError: the file is missing or broken.
    """
    try:
        scoring = decode.decode_json_file(Scoring, directory / SCORER_FILE)
    except InputError as error:
        message = f"{directory / SCORER_FILE} is missing or broken: {error}"
        raise InputError(message, remedy="Export the detector again.") from error
    return Artifacts(**vars(scoring), directory=directory)


def write_json(path: Path, value: Any) -> None:
    """A dataclass as a JSON file with sorted keys."""
    path.write_text(json.dumps(decode.encode(value), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file.

    Raises:
        InputError: it cannot be read, or holds objects.
    """
    try:
        return arrays.read(path)
    except Exception as error:  # zipfile, zlib and NumPy raise types of their own for a damaged archive
        raise InputError(f"{path}: no readable arrays: {error}.", remedy="Export the detector again.") from error


def write_rows(directory: Path, test_x: AnyRows, test_scores: Rows, train_x: AnyRows, train_y: Labels) -> None:
    """The rows that measuring needs, as the detector views them, and its scores of the test rows."""
    for name, rows in ((_TEST_ROWS, test_x), (_TRAINING_ROWS, train_x)):
        if isinstance(rows, CodedRows):
            arrays.write(directory / f"{name}.npz", rows.to_arrays())
        else:
            np.save(directory / f"{name}.npy", rows, allow_pickle=False)
    np.save(directory / _TEST_SCORES, test_scores, allow_pickle=False)
    np.save(directory / _TRAINING_LABELS, train_y, allow_pickle=False)


def test_rows(directory: Path) -> AnyRows:
    """The test rows, (n, d) or (n, steps, d)."""
    return _rows(directory, _TEST_ROWS)


def training_rows(directory: Path) -> tuple[AnyRows, Labels]:
    """The training rows and their labels."""
    return _rows(directory, _TRAINING_ROWS), _array(directory / _TRAINING_LABELS)


def write_measured_scores(directory: Path, scores: Rows) -> None:
    """What a measuring process gave for the first `AGREEMENT_ROWS` test rows, into its own directory."""
    np.save(directory / _MEASURED_SCORES, scores, allow_pickle=False)


def disagreement(artifact: Path, directory: Path, dtype: str) -> str | None:
    """How the scores of a measuring process differ from the detector's own; None when they agree.

    Args:
        artifact: directory of the exported detector.
        directory: of the measuring process.
        dtype: number format, which sets the tolerance.
    """
    scores = _array(directory / _MEASURED_SCORES)
    verdict = agreement(_array(artifact / _TEST_SCORES)[: len(scores)], scores, dtype)
    return None if verdict.within else verdict.sentence()


def _rows(directory: Path, name: str) -> AnyRows:
    coded = directory / f"{name}.npz"
    return CodedRows.from_arrays(arrays.read(coded)) if coded.exists() else _array(directory / f"{name}.npy")


def _array(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    return array
