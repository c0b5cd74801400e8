"""The score of every test row as a table, to look at what a detector gets wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.datasets.encoded import EncodedDataset
from harness.training.context import Vector
from harness.wording import inert

SCORES_FILE = "scores.csv"
COLUMNS = ("row", "score", "label", "class", "flagged", "level")


def write_row_scores(
    path: Path, scores: Vector, data: EncodedDataset, threshold: float, thresholds: Sequence[float]
) -> None:
    """Write a line per test row, in the order of the test rows.

    Args:
        path: of the file.
        scores: shape (n,), higher = more anomalous.
        data: with labels and classes of the test rows.
        threshold: above which a row is flagged.
        thresholds: of the levels; ``level`` is how many of them the score is above.
    """
    cuts = np.sort(np.unique(np.asarray([threshold, *thresholds], dtype=np.float64)))
    levels = np.searchsorted(cuts, np.asarray(scores, dtype=np.float64), side="left").tolist()
    classes = [""] * len(scores) if data.test_class is None else data.test_class.tolist()
    flagged = (np.asarray(scores, dtype=np.float64) > threshold).astype(int).tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        columns = (map(repr, map(float, scores)), data.test_y.tolist(), map(inert, classes), flagged, levels)
        writer.writerows((number, *values) for number, values in enumerate(zip(*columns, strict=True)))
