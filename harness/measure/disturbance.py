"""How much of what was sampled was disturbed, and by what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.measure.causes import Cause


@dataclass(frozen=True)
class Disturbance:
    """Samples that were flagged, of all that could be; one sample may have several causes."""

    samples: int
    flagged: int
    by_cause: Mapping[Cause, int]


def disturbance(flags: Iterable[Sequence[int]]) -> Disturbance:
    """Count ``Cause`` bits of several series together."""
    parts = [np.asarray(each, dtype=np.int64) for each in flags]
    joined = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    by_cause = {cause: int(np.count_nonzero(joined & cause)) for cause in Cause}
    return Disturbance(len(joined), int(np.count_nonzero(joined)), by_cause)
