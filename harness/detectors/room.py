"""Whether there is memory for the matrix that a fit makes of rows held as codes; asked before the fit begins."""

from __future__ import annotations

from harness.datasets.coded_rows import CodedRows, Rows
from harness.detectors.base import Detector
from harness.errors import InputError
from harness.platform.memory import free_bytes

_GIB = 1 << 30


def require_room(detector: Detector, X: Rows, free: int | None = None) -> None:
    """Refuse a fit for which the memory does not suffice.

    Args:
        detector: to be fitted.
        X: training rows (n, d); features that are in memory already are not asked about.
        free: bytes that may still be taken; those of this process by default.

    Raises:
        InputError: with the figure, and what to do.
    """
    if not isinstance(X, CodedRows):
        return
    needed, left = detector.fit_bytes(X), free_bytes() if free is None else free
    if left is None or needed <= left:
        return
    rows, features = X.shape
    fitting = int(rows * left / needed * 0.9)
    raise InputError(
        f"{detector.identity()} is fitted on a matrix of {rows:,} rows and {features:,} features, which takes "
        f"{needed / _GIB:.1f} GiB with its copies; {left / _GIB:.1f} GiB are free.",
        remedy=f"Take fewer rows (--rows {max(1, _rounded(fitting))}), leave out columns with many values (--drop "
        "COLUMN), or take a detector that needs no such matrix: mlp, autoencoder, isolation-forest, knn, pca.",
    )


def _rounded(rows: int) -> int:
    """The leading two digits of a number."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return rows // unit * unit
