"""Whether two backends of one model give the same scores, within a stated tolerance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError

RELATIVE = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 2e-1}
"""Per number format: the tolerance relative to a score, or to the typical score where that is larger.

float32 sums of a few hundred products in another order differ by some 1e-6; 1e-4 leaves room for four layers and the
cancellation in a squared difference, and is far below what a wrong weight or activation causes.
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
        return f"scores {verb} over {self.rows} rows: {worst}"


def agreement(reference: NDArray[np.float32], other: NDArray[np.float32], dtype: str = "float32") -> Agreement:
    """Compare the scores of two backends over the same rows.

    A difference is measured relative to the reference score or to the median absolute score, whichever is larger, so
    that a score near zero is not held to digits the arithmetic does not have.

    Raises:
        InputError: the vectors are empty or of different lengths.
    """
    if reference.shape != other.shape or not len(reference):
        shapes = f"{reference.shape} and {other.shape}"
        raise InputError(f"Scores to compare have shapes {shapes}; expected equal ones, not empty.")
    tolerance = RELATIVE[dtype]
    a, b = reference.astype(np.float64), other.astype(np.float64)
    difference = np.abs(a - b)
    scale = np.maximum(np.abs(a), float(np.median(np.abs(a))))
    relative = difference / np.maximum(scale, np.finfo(np.float32).tiny)
    worst = float(relative.max()) if np.isfinite(relative).all() else float("inf")
    return Agreement(worst <= tolerance, worst, tolerance, len(a))
