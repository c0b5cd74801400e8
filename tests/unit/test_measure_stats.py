"""Statistics against closed forms, simulation and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as oracle

from harness.measure import stats


def test_the_interval_is_the_closed_form() -> None:
    values = [1.0, 2.0, 4.0]
    interval = stats.interval_over_processes(values)
    half = oracle.t.ppf(0.975, 2) * math.log(2) / math.sqrt(3)
    assert interval.centre == pytest.approx(2.0)
    assert interval.low == pytest.approx(2 * math.exp(-half))
    assert interval.half_width == pytest.approx(math.exp(half) - 1)
    single = stats.interval_over_processes([3.0])
    assert (single.centre, single.low, single.half_width) == (pytest.approx(3.0), None, None)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, 0.0], [1.0, -2.0], [[1.0]], [math.inf]])
def test_values_that_are_no_times_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"positive|finite|one-dimensional"):
        stats.interval_over_processes(values)


@pytest.mark.parametrize("processes", [6, 10, 30])
def test_coverage_with_a_process_effect(processes: int) -> None:
    rng = np.random.default_rng(processes)
    covered = 0
    for _ in range(2000):
        effect = rng.normal(0, 0.08, processes)  # between processes
        within = rng.normal(0, 0.10, (processes, 25))
        interval = stats.interval_over_processes(np.median(np.exp(effect[:, None] + within), axis=1))
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 1.0 <= interval.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_the_paired_effect_is_the_paired_t_interval() -> None:
    a, b = np.array([1.0, 1.2, 0.9, 1.1, 1.3, 1.0]), np.array([1.1, 1.3, 1.0, 1.1, 1.5, 1.2])
    effect = stats.paired_effect(stats.log_ratios(a, b))
    expected = oracle.ttest_rel(np.log(b), np.log(a)).confidence_interval(0.95)
    assert (effect.low, effect.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    narrower = oracle.ttest_rel(np.log(b), np.log(a)).confidence_interval(0.90)
    assert (effect.low90, effect.high90) == (pytest.approx(narrower.low), pytest.approx(narrower.high))
    assert effect.ratio == pytest.approx(math.exp(np.mean(np.log(b / a))))


def test_pairs_need_equal_counts_and_two_blocks() -> None:
    with pytest.raises(ValueError, match="equal counts"):
        stats.log_ratios([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="two blocks"):
        stats.paired_effect([0.1])


def test_equivalence_agrees_with_the_ninety_percent_interval() -> None:
    rng = np.random.default_rng(4)
    for _ in range(500):
        d = rng.normal(rng.uniform(-0.05, 0.05), 0.03, 8)
        effect = stats.paired_effect(d)
        inside = -math.log1p(0.03) < effect.low90 and effect.high90 < math.log1p(0.03)
        assert (stats.equivalence_p(d, 0.03) < 0.05) == inside


def test_equivalence_without_spread() -> None:
    assert stats.equivalence_p([0.01] * 6, 0.03) == 0.0
    assert stats.equivalence_p([0.04] * 6, 0.03) == 1.0


def test_the_rank_test_counts_signs() -> None:
    d = [0.05, 0.06, 0.07, 0.08, 0.09, 0.10]
    assert stats.wilcoxon_p(d, 0.03) == pytest.approx(1 / 64)
    assert stats.wilcoxon_p(d, 0.2) == pytest.approx(1.0)
    assert stats.wilcoxon_p([0.5] * 6, 0.5) == 1.0


@pytest.mark.parametrize("count", [1, 5, 6, 13, 30, 60])
def test_the_rank_test_is_scipys_exact_one_where_nothing_is_tied(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        d = rng.normal(0.3, 1.0, count)
        expected = oracle.wilcoxon(d, alternative="greater", method="exact").pvalue
        assert stats.wilcoxon_p(d, 0.0) == pytest.approx(expected, rel=1e-9)


def test_the_rank_test_counts_every_sign_where_values_are_tied() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        d = rng.integers(-3, 5, 8).astype(float)
        kept = d[d != 0]
        ranks = oracle.rankdata(np.abs(kept))
        signs = np.array(np.meshgrid(*[[0, 1]] * len(kept))).reshape(len(kept), -1)
        expected = np.mean(ranks @ signs >= ranks[kept > 0].sum() - 1e-9)
        assert stats.wilcoxon_p(d, 0.0) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.6, 0.7]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_the_noise_floor_is_what_noise_alone_reaches() -> None:
    rng = np.random.default_rng(8)
    spread, blocks = 0.05, 12
    floors = [stats.noise_floor(rng.normal(0, spread, blocks), seed=seed) for seed in range(200)]
    expected = 1.96 * spread / math.sqrt(blocks)
    assert np.mean(floors) == pytest.approx(math.expm1(expected), rel=0.08)
    assert stats.noise_floor([0.1, -0.2, 0.3], seed=1) == stats.noise_floor([0.1, -0.2, 0.3], seed=1)
