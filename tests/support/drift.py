"""Streams whose rows, scores and missing values are like those of training, and monitors of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.datasets.gaps import Absent
from harness.evaluation.drift import DriftReference, ScoreReference
from harness.serving.drift_monitor import DriftMonitor

FEATURES = 41
NAMES = tuple(f"f{i}" for i in range(FEATURES))
RARE = (0.0, 0.0, 0.0005, 0.01, 0.2)  # shares of missing values
COLUMNS = tuple(f"c{i}" for i in range(len(RARE)))


class Served(NamedTuple):
    """What a monitor is given."""

    rows: np.ndarray
    scores: np.ndarray
    missing: np.ndarray


def served(rng: np.random.Generator, count: int) -> Served:
    """Half of the features mostly zeros, as those of network flows are; scores as reconstruction errors are."""
    x = rng.standard_normal((count, FEATURES)).astype(np.float32)
    x[:, ::2] *= rng.random((count, (FEATURES + 1) // 2)) < 0.2
    return Served(x, rng.lognormal(size=count).astype(np.float32), rng.random((count, len(RARE))) < RARE)


def reference(train: Served, held_out: Served) -> DriftReference:
    """One in twenty of the held-out rows is flagged."""
    threshold = float(np.quantile(held_out.scores, 0.95))
    return DriftReference.of(train.rows).with_scores(ScoreReference.of(held_out.scores, threshold, held_out=True))


def monitor(window: int, rng: np.random.Generator, rows: int = 20_000, held_out: int = 4_000) -> DriftMonitor:
    """Of as many training rows, and held-out ones for the scores."""
    train = served(rng, rows)
    absent = Absent.of(train.missing.T, rows)
    return DriftMonitor(reference(train, served(rng, held_out)), NAMES, window, COLUMNS, absent)


def windows_over(watch: DriftMonitor, rng: np.random.Generator, windows: int) -> int:
    """Windows of an undrifted stream in which any statistic was over."""
    over = 0
    for _ in range(windows):
        watch.add(*served(rng, watch.window))
        assert watch.last is not None
        over += bool(watch.last.over.any())
    return over
