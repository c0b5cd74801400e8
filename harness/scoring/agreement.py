"""Whether two backends of one model give the same scores, within a stated tolerance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.wording import plural

RELATIVE = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 2e-1}
"""Per number format: the tolerance relative to a score, or to the typical score where that is larger.

A sum of n products in float32 is off by up to n 2^-24 of the sum of their magnitudes, and layers add up: 1e-4 is that
of 1,700 terms one after the other, four layers of 400, and far below what a wrong weight or activation causes. The
magnitudes are those of a typical score; scores that cancel may all be smaller where rows are few (`typical`).
"""


@dataclass(frozen=True)
class Agreement:
    """Worst difference of two score vectors and whether it is within the tolerance."""

    within: bool
    worst_relative: float  # to max(|reference|, typical)
    tolerance: float  # the bound on worst_relative
    rows: int

    def sentence(self) -> str:
        """For a report."""
        verb = "agree" if self.within else "DISAGREE"
        worst = f"worst relative difference {self.worst_relative:.2g}, bound {self.tolerance:g}"
        return f"scores {verb} over {plural(self.rows, 'row')}: {worst}"


def agreement(
    reference: NDArray[np.float32],
    other: NDArray[np.float32],
    dtype: str = "float32",
    typical: NDArray[np.float32] | None = None,
) -> Agreement:
    """Compare the scores of two backends over the same rows.

    A difference is measured relative to the reference score or to the median absolute score, whichever is larger, so
    that a score near zero is not held to digits the arithmetic does not have.

    Args:
        reference: scores (n,).
        other: those of the same rows by another backend.
        dtype: number format, which sets the tolerance.
        typical: scores of more rows, for the median; by default those of the reference.

    Raises:
        InputError: the vectors are empty or of different lengths.
    """
    if reference.shape != other.shape or not len(reference):
        shapes = f"{reference.shape} and {other.shape}"
        raise InputError(f"Scores to compare have shapes {shapes}; expected equal ones, not empty.")
    tolerance = RELATIVE[dtype]
    a, b = reference.astype(np.float64), other.astype(np.float64)
    difference = np.abs(a - b)
    scale = np.maximum(np.abs(a), float(np.median(np.abs(a if typical is None else typical.astype(np.float64)))))
    relative = difference / np.maximum(scale, np.finfo(np.float32).tiny)
    worst = float(relative.max()) if np.isfinite(relative).all() else float("inf")
    return Agreement(worst <= tolerance, worst, tolerance, len(a))
