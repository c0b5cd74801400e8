"""Backend ``eager``: the detector's own ``decision_function`` (torch eager mode, or the foreign object's own code)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.detectors.base import Detector
from harness.detectors.registry import load
from harness.scoring.artifacts import Artifacts


class EagerScorer:
    """Scores through the detector object."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Anomaly score of each row."""
        return self._detector.decision_function(X)


def open_backend(artifacts: Artifacts, meta: dict[str, Any], dtype: str, threads: int) -> EagerScorer:  # noqa: ARG001
    """Load the detector; torch's intra-op pool is set to ``threads`` for the whole process."""
    import torch

    torch.set_num_threads(threads)
    return EagerScorer(load(artifacts.directory))
