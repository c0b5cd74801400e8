"""Opens an exported detector on any backend; ``eager`` is the detector's own ``eager_scores``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.detectors.foreign import Foreign
from harness.errors import InputError
from harness.parsing import read_json
from harness.scoring import artifacts
from harness.scoring.scorer import Scorer, check_backend, open_exported
from harness.trust import names_code

if TYPE_CHECKING:
    from harness.detectors.base import Detector
    from harness.scoring.bundle import Bundle
    from harness.scoring.rows import Layout
    from harness.scoring.stream import ScoreRows


class EagerScorer:
    """Scores through the detector object: torch eager mode, or a foreign object's own code."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Anomaly score of each row."""
        return self._detector.eager_scores(X)


def open_scorer(directory: Path, backend: str, dtype: str = "float32", threads: int = 1) -> Scorer:
    """Load what `harness.detectors.export.prepare` wrote into ``directory`` onto a backend.

    Args:
        directory: of the exported detector.
        backend: a key of `harness.scoring.scorer.BACKENDS`.
        dtype: number format of the arithmetic; scores are float32 in any case.
        threads: threads one call may use; they stay on the CPUs the process is allowed. Under ``eager`` and ``compile``
            torch's intra-op pool is set to it for the whole process.

    Raises:
        InputError: unknown backend or dtype, or the detector cannot run on it.
    """
    exported = artifacts.read(directory)
    check_backend(exported, backend, dtype, threads)
    if backend != "eager":
        return open_exported(exported, backend, dtype, threads)
    from harness.detectors.registry import load

    detector = load(directory)
    _bound_torch(detector, threads)
    return EagerScorer(detector)


def _bound_torch(detector: Detector, threads: int) -> None:
    """Set torch's pool, unless the object is somebody else's and does without torch, whose import takes a second."""
    if not isinstance(detector, Foreign) or "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


@dataclass(frozen=True)
class RowStream:
    """How a bundle scores rows that come one block after another."""

    layout: Layout
    score: ScoreRows
    backend: str


def fastest_backend(bundle: Bundle) -> str:
    """The fastest of a bundle's backends that works here."""
    return fastest(bundle.artifacts.backends)


def fastest(backends: Sequence[str]) -> str:
    """The fastest of these backends that works here; the first where none of them is one that a bundle may have."""
    from harness.linalg import chain
    from harness.scoring.bundle import PORTABLE

    able = (name for name in PORTABLE if name in backends and (name != "native" or chain.available()))
    return next(able, backends[0])


def open_stream(bundle: Bundle, backend: str | None = None, threads: int = 1, *, encoded: bool = False) -> RowStream:
    """Open a bundle for a stream of raw or encoded rows.

    Args:
        bundle: opened.
        backend: None for the fastest of the bundle's that works here.
        threads: threads one call may use.
        encoded: the rows are features already, windows of them for a detector of sequences.

    Raises:
        InputError: the bundle cannot score such rows, or not on the backend.
    """
    from harness.scoring.stream import layout_of, score_of_rows

    if "eager" in (backend or fastest_backend(bundle), *(["eager"] if bundle.manifest.steps is not None else [])):
        refuse_code(bundle.directory)
    if bundle.manifest.steps is not None and not encoded:
        return _card_stream(bundle, backend, threads)
    chosen = backend or fastest_backend(bundle)
    layout = layout_of(bundle, encoded=encoded)
    scorer = open_saved(bundle, chosen, threads)
    return RowStream(layout, score_of_rows(bundle, scorer.score, encoded=encoded), chosen)


def open_saved(bundle: Bundle, backend: str, threads: int) -> Scorer:
    """A bundle's scorer, which has scored a row.

    Raises:
        InputError: the bundle names code, cannot be scored on the backend, or does not hold what it should.
    """
    from harness.scoring.bundle import sound

    if backend == "eager":
        refuse_code(bundle.directory)
    steps, width = bundle.manifest.steps, len(bundle.manifest.features)
    with sound(bundle.directory):
        scorer = open_scorer(bundle.directory, backend, threads=threads)
        scorer.score(np.zeros((1, width) if steps is None else (1, steps, width), dtype=np.float32))
    return scorer


def refuse_code(directory: Path) -> None:
    """See that a bundle names a detector of the product: bundles are data, wherever they come from.

    Raises:
        InputError: it names ``module:Class``, which would be imported and run.
    """
    document = read_json(directory / artifacts.DETECTOR_FILE)
    detector = document.get("detector") if isinstance(document, dict) else None
    if not isinstance(detector, str) or names_code(detector):
        raise InputError(
            f"{directory}: {detector} is code, which a bundle does not run.", remedy="Choose a --backend without it."
        )


def _card_stream(bundle: Bundle, backend: str | None, threads: int) -> RowStream:
    """Of a detector of sequences: each card's open windows are kept from block to block."""
    import torch

    from harness.detectors.lstm import LSTM
    from harness.detectors.registry import load
    from harness.scoring.bundle import sound

    with sound(bundle.directory):
        detector = load(bundle.directory)
    encoder = bundle.encoder
    if (
        not isinstance(detector, LSTM)
        or "minutes_since_previous" not in encoder.columns
        or backend not in (None, "native", "eager")
    ):
        raise InputError(
            f"{bundle.directory}: raw rows one after another are scored for an LSTM on the histories of cards, by "
            "backend native or eager, only.",
            remedy="Give --encoded with windows (n, steps, features) as a .npy file.",
        )
    from harness.detectors.streaming import CardStream, card_layout, score_of_cards

    torch.set_num_threads(threads)
    stream = CardStream(detector, "native" if backend == "native" else "eager" if backend == "eager" else None)
    return RowStream(card_layout(encoder), score_of_cards(encoder, stream, str(bundle.directory)), stream.backend)
