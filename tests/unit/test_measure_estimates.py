"""Estimates of one process against their definitions."""

from __future__ import annotations

import pytest

from harness.measure.estimates import process_estimate


def test_the_two_estimates_of_one_process() -> None:
    durations = [9_000] * 5 + [100] * 10 + [900] * 11
    estimate = process_estimate(durations, [0] * 15 + [1] * 11, inner=10, warmup=5)
    assert estimate.undisturbed_s == estimate.call_s == pytest.approx(10e-9)
    assert estimate.median_s == pytest.approx(90e-9)
    assert estimate.mean_s == pytest.approx((10 * 100 + 11 * 900) / 210 * 1e-9)
    assert (estimate.undisturbed, estimate.samples) == (10, 21)
    assert estimate.undisturbed_share == pytest.approx(10 / 21)


def test_the_rates_are_rows_over_the_times() -> None:
    estimate = process_estimate([100] * 10 + [900], [0] * 10 + [2])
    assert estimate.rows_per_s(4) * estimate.mean_s == pytest.approx(4)
    assert estimate.rows_per_s_undisturbed(4) == pytest.approx(4 / 100e-9)


def test_fewer_than_ten_undisturbed_samples_give_no_undisturbed_time() -> None:
    estimate = process_estimate([100] * 20, [0] * 9 + [4] * 11)
    assert estimate.undisturbed_s is None
    assert estimate.call_s == estimate.median_s
    assert process_estimate([100] * 9).undisturbed_s is None


def test_without_flags_every_sample_is_undisturbed() -> None:
    estimate = process_estimate([5] + [100] * 10, warmup=1)
    assert estimate.undisturbed_share == 1.0
    assert estimate.undisturbed_s == pytest.approx(100e-9)


def test_no_sample_gives_no_estimate() -> None:
    with pytest.raises(ValueError, match="no sample left"):
        process_estimate([1], [0], warmup=1)
