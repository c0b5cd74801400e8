"""From the samples of one process to its estimates: the one place where a time per call or a rate comes from.

Two estimates answer two questions. The mean over every call after the warm-up is what was done in the time it took
(``rows_per_s``); the median of the undisturbed samples is what the machine is capable of (``rows_per_s_undisturbed``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from harness.measure.sampling import MIN_CLEAN


@dataclass(frozen=True)
class ProcessEstimate:
    """What the samples of one process after its warm-up say, times in seconds per call.

    Attributes:
        mean_s: elapsed time over calls, every call counted.
        median_s: median of all samples.
        undisturbed_s: median of the undisturbed samples; None with fewer than 10 of them.
        undisturbed: number of undisturbed samples.
        samples: number of samples.
    """

    mean_s: float
    median_s: float
    undisturbed_s: float | None
    undisturbed: int
    samples: int

    @property
    def call_s(self) -> float:
        """Median of the undisturbed samples, of all samples where too few are undisturbed."""
        return self.median_s if self.undisturbed_s is None else self.undisturbed_s

    @property
    def undisturbed_share(self) -> float:
        """Share of undisturbed samples, in (0, 1]."""
        return self.undisturbed / self.samples

    def rows_per_s(self, batch_size: int) -> float:
        """Rows over elapsed time, every call counted."""
        return batch_size / self.mean_s

    def rows_per_s_undisturbed(self, batch_size: int) -> float:
        """Rows of a call over :attr:`call_s`."""
        return batch_size / self.call_s


def process_estimate(
    durations_ns: ArrayLike, flags: ArrayLike = (), *, inner: int = 1, warmup: int = 0
) -> ProcessEstimate:
    """Reduce the samples of one process to its estimates.

    Args:
        durations_ns: shape (n,); each is the duration of ``inner`` calls.
        flags: ``Cause`` bits, shape (n,), 0 for an undisturbed sample; empty when no sample is flagged.
        inner: calls per sample.
        warmup: leading samples to leave out.

    Raises:
        ValueError: nothing is left after the warm-up.
    """
    per_call = np.asarray(durations_ns, dtype=np.float64)[warmup:] * (1e-9 / inner)
    if not len(per_call):
        raise ValueError(f"no sample left after a warm-up of {warmup}")
    flagged = np.asarray(flags)[warmup:]
    undisturbed = per_call[flagged == 0] if len(flagged) else per_call
    return ProcessEstimate(
        mean_s=float(per_call.mean()),
        median_s=float(np.median(per_call)),
        undisturbed_s=float(np.median(undisturbed)) if len(undisturbed) >= MIN_CLEAN else None,
        undisturbed=len(undisturbed),
        samples=len(per_call),
    )
