"""The model bundle: a directory with all that a fitted system needs to score again, anywhere; no pickle, no rows.

``manifest.json`` says what it is and by which thresholds it decides, ``encoder.npz`` makes features of raw rows,
``drift.npz`` counts what the training rows were like, ``validation.npz`` has scores and labels of the validation rows,
from which serving solves thresholds, and the rest are the files of `harness.scoring.artifacts`.
``SHA256SUMS`` has the digest of every other file, in the format of sha256sum.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import decode
from harness.errors import InputError, LparbenchError, one_line
from harness.evaluation.calibration import Calibration
from harness.evaluation.drift import DriftReference
from harness.evaluation.thresholds import Threshold
from harness.parsing import read_content, read_json
from harness.record.files import unwritable
from harness.record.model import DatasetRecord
from harness.scoring import arrays, artifacts
from harness.scoring.artifacts import Artifacts
from harness.scratch import aside

if TYPE_CHECKING:
    from harness.datasets.encoders import Encoder

FORMAT = 1
ScoreKind = Literal["logit", "probability", "other"]
PORTABLE = ("native", "onnxruntime", "eager")  # backends that a bundle may have, fastest to open and to score first
_MANIFEST = "manifest.json"
_ENCODER = "encoder.npz"
_DRIFT = "drift.npz"
_VALIDATION = "validation.npz"
_SUMS = "SHA256SUMS"
_SUMS_BYTES = 1 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from."""

    tool_version: str
    created: str  # ISO 8601, UTC
    workload: str
    detector: str  # name, or module:Class
    parameters: Mapping[str, Any]  # of the detector's constructor
    protocol: str
    random_state: int
    dataset: DatasetRecord  # with the digests of its files


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``. A score is flagged above ``decision``; its level is how many of ``levels`` it is above."""

    format: int
    provenance: Provenance
    features: tuple[str, ...]  # encoded columns, in order
    columns: tuple[str, ...]  # raw columns that the encoder takes; none when there are only encoded rows
    file_columns: tuple[str, ...]  # raw columns of a file without a header, where its publisher fixed them
    steps: int | None  # transactions of a window; None for a detector of rows
    decision: Threshold
    levels: tuple[Threshold, ...]  # by rising value, the decision among them
    score: ScoreKind = "other"
    calibration: Calibration | None = None  # from scores to probabilities, where validation labels allow


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; its files are those that were saved, to the bit."""

    directory: Path
    manifest: Manifest
    artifacts: Artifacts

    @cached_property
    def encoder(self) -> Encoder:
        """What makes features of raw rows.

        Raises:
            InputError: the data set has no encoder.
        """
        from harness.datasets.encoders import Encoder

        if not self.manifest.columns:
            raise InputError(f"{self.directory} has no encoder for raw rows.", remedy="Give encoded rows.")
        path = self.directory / _ENCODER
        with sound(path):
            return Encoder.from_arrays(artifacts.read_arrays(path))

    @cached_property
    def drift(self) -> DriftReference:
        """What the training rows were like."""
        path = self.directory / _DRIFT
        with sound(path):
            return DriftReference.from_arrays(artifacts.read_arrays(path))

    @cached_property
    def validation(self) -> tuple[NDArray[np.float32], NDArray[np.int8]] | None:
        """Scores and labels of the validation rows; None where there were no labelled ones."""
        path = self.directory / _VALIDATION
        if not path.is_file():
            return None
        with sound(path):
            held = artifacts.read_arrays(path)
            return held["scores"], held["labels"]

    def raw_probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Of an anomaly, as the detector means them; None for scores that are none."""
        match self.manifest.score:
            case "logit":
                shares: NDArray[np.float32] = np.float32(0.5) * (np.float32(1.0) + np.tanh(np.float32(0.5) * scores))
                return shares
            case "probability":
                return scores
            case "other":
                return None

    def probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Of an anomaly, calibrated where `Manifest.calibration` is there."""
        calibration = self.manifest.calibration
        return self.raw_probabilities(scores) if calibration is None else calibration.probabilities(scores)

    @cached_property
    def cuts(self) -> NDArray[np.float32]:
        """The levels' thresholds, rising."""
        return np.array([level.value for level in self.manifest.levels], dtype=np.float32)

    def labels(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each score is flagged, as the detector's ``predict`` decides."""
        return scores > np.float32(self.manifest.decision.value)

    def levels(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """How many of the levels' thresholds each score is above."""
        return np.searchsorted(self.cuts, scores, side="left")


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Within it, what fails is a file of a bundle: its digest fits, and yet no `write_bundle` wrote it.

    Raises:
        InputError: it is not what a bundle holds.
    """
    try:
        yield
    except (LparbenchError, ImportError, MemoryError):
        raise
    except Exception as error:  # of NumPy, torch or ONNX Runtime, whatever does not fit first
        words = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"{path}: not what a bundle holds: {words}.", remedy="Save the bundle again.") from error


def write_bundle(
    directory: Path,
    manifest: Manifest,
    encoder: Encoder | None,
    drift: DriftReference,
    export: Callable[[Path], None],
    validation: tuple[NDArray[np.float32], NDArray[np.int8]] | None = None,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        directory: the bundle's; it must not exist.
        manifest: what it is.
        encoder: fitted; None when there are only encoded rows.
        drift: of the encoded training rows.
        export: writes the files of `harness.scoring.artifacts` into a directory.
        validation: scores and labels of the validation rows.

    Raises:
        InputError: there is such a directory already.
        InputError: nothing may be written there.
        LparbenchError: the disk is full.
    """
    if directory.exists():
        raise InputError(f"{directory} exists already; nothing was saved.", remedy="Choose another directory.")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with aside(directory, directory=True) as hidden:
            export(hidden)
            artifacts.write_json(hidden / _MANIFEST, manifest)
            if encoder is not None:
                arrays.write(hidden / _ENCODER, encoder.to_arrays())
            arrays.write(hidden / _DRIFT, drift.to_arrays())
            if validation is not None:
                arrays.write(hidden / _VALIDATION, {"scores": validation[0], "labels": validation[1]})
            (hidden / _SUMS).write_text(_sums(hidden), encoding="utf-8")
            for path in (*hidden.iterdir(), hidden):
                _sync(path)
            hidden.rename(directory)
        _sync(directory.parent)
    except OSError as error:
        remedy = "Nothing was left behind. Free space there, or choose another directory."
        raise unwritable(directory, error, remedy) from error


def is_bundle(directory: Path) -> bool:
    """Whether a directory claims to be a bundle; `open_bundle` checks it."""
    return (directory / _SUMS).is_file()


def open_bundle(directory: Path) -> Bundle:
    """Open a bundle after checking the digest of every file.

    Raises:
        InputError: it is no bundle, of another format, or not the files that were saved.
    """
    if not is_bundle(directory):
        within = sorted(directory.glob(f"*/{_SUMS}"))[:3] if directory.is_dir() else []
        remedy = (
            f"Those in it: {', '.join(str(path.parent) for path in within)}."
            if within
            else "`lparbench run WORKLOAD --save DIR` makes one, DIR/WORKLOAD."
        )
        what = f" is no model bundle: it has no {_SUMS}" if directory.exists() else ": no such file or directory"
        raise InputError(f"{directory}{what}.", remedy=remedy)
    if strange := [path for path in directory.iterdir() if not path.is_file()]:  # a pipe would be waited for
        raise InputError(f"{min(strange)} is no file, and a bundle has files.", remedy="Copy the bundle again.")
    try:
        stored = read_content(directory / _SUMS, _SUMS_BYTES).decode("utf-8", "replace")
        actual = _sums(directory)
    except OSError as error:
        raise InputError(f"{directory} cannot be read: {error.strerror or error}.") from error
    if stored != actual:
        file = directory / _changed(stored, actual)
        raise InputError(f"{file} is not the file that was saved.", remedy="Copy the bundle again.")
    manifest = _manifest(directory / _MANIFEST)
    return Bundle(directory, manifest, artifacts.read(directory))


def _manifest(path: Path) -> Manifest:
    document = read_json(path)
    version = document.get("format") if isinstance(document, dict) else None
    if version != FORMAT:
        raise InputError(f"{path}: format {version!r}; this version reads {FORMAT}.", remedy="Save the bundle again.")
    return decode.decode(Manifest, document, str(path))


def _sums(directory: Path) -> str:
    """``SHA256SUMS`` as it should be."""
    paths = sorted(path for path in directory.iterdir() if path.name != _SUMS)
    return "".join(f"{_sha256(path)}  {path.name}\n" for path in paths)


def _changed(stored: str, actual: str) -> str:
    """Name of a file that differs from the stored sums, or of the sums where they are not such a list."""
    line = re.compile(r"([0-9a-f]{64})  ([\w.-]+)\n")
    if "".join(match[0] for match in line.finditer(stored)) != stored:
        return _SUMS
    entries = [{match[2]: match[1] for match in line.finditer(text)} for text in (stored, actual)]
    return next(
        (name for name in sorted(entries[0] | entries[1]) if entries[0].get(name) != entries[1].get(name)), _SUMS
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
