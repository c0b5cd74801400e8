"""Raw samples of one process, as a record keeps them; apart from the rest, because every worker needs them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.record.fields import Count, NotNegative, PositiveCount


@dataclass(frozen=True)
class Series:
    """Raw samples of one timed thing inside one process."""

    name: str  # "epoch", "call"
    batch_size: PositiveCount | None  # rows per call; None for training
    inner: PositiveCount  # calls per sample; a duration is that of ``inner`` calls
    durations_ns: tuple[Count, ...]
    flags: tuple[Count, ...]  # measure.Cause bits per sample; empty when not flagged
    warmup: Count  # leading samples cut as not yet steady
    steady: bool
    estimate_s: NotNegative | None  # median clean sample after warm-up, per call
    estimate_all_s: NotNegative | None  # median of all samples after warm-up, per call
    page_faults: NotNegative | None = None  # minor ones of the process per call, over all samples
