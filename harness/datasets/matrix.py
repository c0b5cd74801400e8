"""Benchmarks published as one matrix X and one label vector y: ODDS and ADBench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.datasets import splits, synthetic
from harness.datasets.options import Option, choice, encoding, share
from harness.datasets.recipe import Request
from harness.datasets.table import Split, Table
from harness.errors import InputError

# The ALAD paper's protocol for arrhythmia: halves, raw features, and a training half that keeps its anomalies.
OPTIONS: dict[str, Option] = {
    "encoding": encoding("standard"),
    "train_rows": choice("normal", "all", help="training rows kept; validation and test keep both kinds"),
    "test": share(0.5, help="share of the rows that test"),
}
PUBLISHED: dict[str, Any] = {"encoding": "none", "train_rows": "all", "validation": 0.0}
_SYNTHETIC_ROWS = {"normal": 1_800, "outlier": 200}
_SYNTHETIC_COLUMNS = 20


def split(x: Any, y: Any, path: Path, request: Request) -> Split:
    """Cut a matrix into training and test rows.

    Raises:
        InputError: the arrays are no matrix of numbers with as many labels 0 and 1.
    """
    features, label = np.asarray(x), np.asarray(y).ravel()
    if features.ndim != 2 or features.dtype.kind not in "fiub" or not len(features):
        raise InputError(f"{path}: X is {features.shape} of {features.dtype}; a matrix of numbers was expected.")
    if len(label) != len(features) or label.dtype.kind not in "fiub" or not np.isin(label, (0, 1)).all():
        raise InputError(f"{path}: y has {len(label):,} entries for {len(features):,} rows; as many 0 and 1 expected.")
    if label.min() == label.max():
        raise InputError(f"{path}: y holds a single label; normal and anomalous rows are both needed.")
    columns = [f"x{number}" for number in range(features.shape[1])]
    table = Table(pd.DataFrame(features.astype(np.float64), columns=columns), label.astype(np.int8))
    return _cut(table, request, ())


def synthesise(request: Request) -> Split:
    """A stand-in of real-valued columns, a tenth of its rows outliers."""
    fields = [synthetic.Field(f"x{number}", "real") for number in range(_SYNTHETIC_COLUMNS)]
    process = synthetic.CopulaMixture(fields, ["outlier"], seed=request.seed, normal="normal")
    return _cut(process.table(_SYNTHETIC_ROWS), request, (synthetic.NOTE,))


def _cut(table: Table, request: Request, notes: tuple[str, ...]) -> Split:
    return splits.random(table, request, notes, share=request.options["test"])
