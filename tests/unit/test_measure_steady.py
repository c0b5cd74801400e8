"""Steady state against series whose warm-up is known: 200 samples, 3 % noise, 3 % spikes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.measure.steady import Steady, next_pilot, steady_state

Shape = Callable[[NDArray[np.float64]], NDArray[np.float64]]

SHAPES: dict[str, Shape] = {
    "none": lambda t: np.ones_like(t),
    "first": lambda t: np.where(t == 0, 9.0, 1.0),
    "exponential": lambda t: 1 + np.exp(-t / 10),
    "step": lambda t: np.where(t < 30, 1.4, 1.0),
}


def series(shape: Shape, seed: int, samples: int = 200) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    noise = 1 + 0.03 * rng.standard_normal(samples)
    spikes = np.where(rng.random(samples) < 0.03, rng.uniform(1.5, 4.0, samples), 1.0)
    return noise * spikes * shape(np.arange(samples, dtype=np.float64))


@pytest.mark.parametrize(
    ("name", "least_cut", "typical_cut"), [("none", 0, 10), ("first", 5, 10), ("exponential", 25, 50), ("step", 30, 35)]
)
def test_the_warm_up_is_cut_and_no_bias_remains(name: str, least_cut: int, typical_cut: int) -> None:
    draws = [series(SHAPES[name], seed) for seed in range(200)]
    outcomes = [steady_state(draw) for draw in draws]
    cuts = np.array([outcome.cut for outcome in outcomes])
    assert np.percentile(cuts, 10) >= least_cut
    assert np.percentile(cuts, 50) <= typical_cut
    assert np.mean([outcome.steady for outcome in outcomes]) >= 0.93
    bias = np.mean([np.median(draw[outcome.cut :]) for draw, outcome in zip(draws, outcomes, strict=True)]) - 1
    assert abs(bias) < 0.005


@pytest.mark.parametrize(("samples", "flagged"), [(60, 0.75), (100, 0.84), (200, 0.9)])
def test_a_steady_drift_is_flagged(samples: int, flagged: float) -> None:
    drift: Shape = lambda t: 1 + 0.3 * t / samples  # noqa: E731
    outcomes = [steady_state(series(drift, seed, samples)) for seed in range(200)]
    assert np.mean([not outcome.steady for outcome in outcomes]) >= flagged


def test_too_short_a_series_is_untested_and_therefore_not_steady() -> None:
    assert steady_state(np.ones(59)) == Steady(cut=0, steady=False, tested=False)
    assert steady_state(np.ones(60)) == Steady(cut=0, steady=True)


def test_the_pilot_doubles_up_to_four_times() -> None:
    drifting, settled = Steady(95, steady=False), Steady(5, steady=True)
    lengths = [100]
    while (longer := next_pilot(lengths[-1], drifting)) is not None:
        lengths.append(longer)
    assert lengths == [100, 200, 400]
    assert next_pilot(100, settled) is None
    assert next_pilot(150, drifting, initial=50) == 200
