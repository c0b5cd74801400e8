"""Percentiles only where the count allows them, from the binomial itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.measure.percentiles import percentile, requests_needed
from harness.measure.sampling import Samples


def samples(durations: np.ndarray, inner: int = 1) -> Samples:
    return Samples(durations.astype(np.int64), np.zeros(len(durations), np.uint8), inner, 0)


@pytest.mark.parametrize(("percent", "needed"), [(90, 64), (95, 130), (97, 219), (99, 662), (99.9, 6636)])
def test_the_counts_of_the_early_stopping_rule(percent: float, needed: int) -> None:
    assert requests_needed(percent) == needed
    assert stats.binom.cdf(1, needed, 1 - percent / 100) <= 0.01 < stats.binom.cdf(1, needed - 1, 1 - percent / 100)


def test_one_request_too_few_gives_no_value_and_says_how_many_more() -> None:
    estimate = percentile(samples(np.arange(661)), 99)
    assert estimate.value_s is None
    assert estimate.note == "p99 needs 662 requests, 661 were made: 1 more"
    assert percentile(samples(np.arange(662)), 99).value_s == pytest.approx(661e-9)


def test_the_order_statistic_is_the_largest_the_count_allows() -> None:
    # oracle: count down from the top while the binomial still gives 99 % confidence
    requests, percent = 5000, 99.0
    allowed = max(t for t in range(1, 200) if stats.binom.cdf(t, requests, 1 - percent / 100) <= 0.01)
    rng = np.random.default_rng(1)
    durations = rng.permutation(np.arange(1, requests + 1))
    expected = sorted(durations)[-allowed]
    assert percentile(samples(durations), percent).value_s == pytest.approx(expected * 1e-9)


def test_the_estimate_is_rarely_below_the_true_percentile() -> None:
    rng = np.random.default_rng(7)
    true = stats.expon.ppf(0.99) * 1e6
    below = [(percentile(samples(rng.exponential(1e6, 1500)), 99).value_s or 0) * 1e9 < true for _ in range(1000)]
    assert np.mean(below) <= 0.02  # at most 1 % by construction


def test_batch_means_have_no_percentile() -> None:
    estimate = percentile(samples(np.arange(10_000), inner=4), 90)
    assert estimate.value_s is None
    assert "too short" in (estimate.note or "")


def test_a_percent_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        requests_needed(100)
