"""Trained detectors as files, and scorers that run those files on a backend."""

from harness.detectors.inference.artifacts import Artifacts, prepare
from harness.detectors.inference.scorer import BACKENDS, Scorer, open_scorer

__all__ = ["BACKENDS", "Artifacts", "Scorer", "open_scorer", "prepare"]
