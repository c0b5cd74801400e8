"""The train scenario: the detector's own training loop, timed in laps of a few steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.detectors.base import Detector, FitContext
from harness.measure.laps import Laps
from harness.measure.sampling import Limits
from harness.measure.steady import PILOT_SAMPLES, steady_state
from harness.record.model import Series
from harness.scenarios.series import Bench, as_series

STEPS_PER_SAMPLE = 8  # a step of the small nets takes half a millisecond; a sample should last a few


def train(detector: Detector, X: NDArray[np.float32], y: NDArray[np.int8], bench: Bench) -> list[Series]:
    """One series of samples of ``STEPS_PER_SAMPLE`` optimiser steps each; empty for a method that takes no steps.

    Args:
        detector: not fitted; it is trained for as many steps as the time allows, and then of no further use.
        X: training rows, (n, d).
        y: their labels, (n,).
        bench: what to time with.
    """
    limits = Limits(samples=4 * PILOT_SAMPLES, budget_s=bench.seconds, at_least=PILOT_SAMPLES)
    laps = Laps(bench.clock, bench.counters, bench.watch, inner=STEPS_PER_SAMPLE, limits=limits)
    detector.fit(X, y, context=FitContext(on_steps=laps.lap, lap_steps=STEPS_PER_SAMPLE))
    samples = laps.samples()
    if not len(samples):
        return []
    return [as_series("steps", samples, steady_state(samples.durations_ns), None)]
