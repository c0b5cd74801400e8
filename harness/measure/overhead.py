"""What the timing loop itself costs, printed with every result and never subtracted from one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measure.clock import Clock, clock_cost_ns
from harness.measure.sampling import Counters, Limits, collect, collect_each

_CALLS = 4000
_REPEATS = 9


@dataclass(frozen=True)
class Overhead:
    """Median cost of the bookkeeping around an empty call.

    Attributes:
        per_call_s: per call when every call is timed on its own.
        per_flagged_sample_s: per sample whose counters are read.
        clock_cost_s: per reading of the clock.
    """

    per_call_s: float
    per_flagged_sample_s: float
    clock_cost_s: float


def measure_overhead(clock: Clock, counters: Counters) -> Overhead:
    """Time the sampling loops around a call that does nothing (about 0.1 s in all)."""
    limits = Limits(_CALLS)
    per_call = [collect_each(_nothing, clock=clock, counters=counters, limits=limits).wall_ns for _ in range(_REPEATS)]
    per_sample = [
        collect(_nothing, clock=clock, counters=counters, inner=1, limits=limits).wall_ns for _ in range(_REPEATS)
    ]
    return Overhead(
        per_call_s=float(np.median(per_call)) / _CALLS * 1e-9,
        per_flagged_sample_s=float(np.median(per_sample)) / _CALLS * 1e-9,
        clock_cost_s=clock_cost_ns(clock) * 1e-9,
    )


def _nothing() -> None:
    return None
