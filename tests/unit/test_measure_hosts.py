"""The test of hosts against their peers: against an independent fit, at its error rates, where it may say nothing."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.measure.hosts import ALPHA, compare_hosts
from harness.measure.stats import holm

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from fleet_figures import fleet, pooled, three_deviations


def test_the_fit_is_the_two_way_least_squares_fit() -> None:
    """Effects, noise, limits and p-values from scipy and a design matrix, which know nothing of how ours are had."""
    rng = np.random.default_rng(3)
    rates = fleet(rng, 5, slow=1)
    logs = np.log(rates)
    hosts, waves = logs.shape
    design = np.hstack(
        [np.kron(np.eye(hosts), np.ones((waves, 1))), np.kron(np.ones((hosts, 1)), np.eye(waves))[:, 1:]]
    )
    solution, squares, rank, _ = np.linalg.lstsq(design, logs.ravel(), rcond=None)
    degrees = logs.size - rank
    sd = math.sqrt(squares[0] / degrees)
    comparison = compare_hosts(rates)
    assert comparison.degrees == degrees == (hosts - 1) * (waves - 1)
    assert comparison.sd == pytest.approx(sd)
    for host, effect in enumerate(comparison.hosts):
        assert effect is not None
        others = np.delete(solution[:hosts], host)
        expected = solution[host] - np.median(others)
        error = sd * math.sqrt((1 + math.pi / 2 / (hosts - 1)) / waves)
        assert effect.effect == pytest.approx(expected)
        assert effect.high - effect.low == pytest.approx(2 * stats.t.ppf(0.975, degrees) * error)
        assert effect.p_slow == pytest.approx(stats.t.cdf((expected + math.log(1.03)) / error, degrees))


def test_missing_measurements_are_left_out_of_the_fit() -> None:
    rates = fleet(np.random.default_rng(4), 6)
    rates[2, 1] = rates[3, 4] = np.nan
    rates[4, 0], rates[5, 5] = -1.0, math.inf  # no rates either
    logs = np.log(np.where(np.isfinite(rates) & (rates > 0), rates, np.nan))
    rows = [(host, wave) for host in range(6) for wave in range(6) if np.isfinite(logs[host, wave])]
    design = np.zeros((len(rows), 11))
    for row, (host, wave) in enumerate(rows):
        design[row, host] = 1
        if wave:
            design[row, 5 + wave] = 1
    solution, squares, rank, _ = np.linalg.lstsq(design, np.array([logs[at] for at in rows]), rcond=None)
    comparison = compare_hosts(rates)
    assert comparison.degrees == len(rows) - rank
    assert comparison.sd == pytest.approx(math.sqrt(squares[0] / comparison.degrees))
    assert comparison.waves == 5
    for host, effect in enumerate(comparison.hosts):
        assert effect is not None
        assert effect.effect == pytest.approx(solution[host] - np.median(np.delete(solution[:6], host)))
        assert effect.waves == int(np.isfinite(logs[host]).sum())


@pytest.mark.parametrize(("hosts", "least"), [(4, 0.96), (8, 0.98), (32, 0.96)])
def test_a_slow_host_is_named_and_a_healthy_fleet_is_not(hosts: int, least: float) -> None:
    rng = np.random.default_rng(hosts)
    fleets = 200 if hosts < 32 else 60
    assert sum(bool(pooled(fleet(rng, hosts)).any()) for _ in range(fleets)) <= 0.01 * fleets, (
        "0 of 1,500 are published"
    )
    assert sum(bool(pooled(fleet(rng, hosts, slow=1))[0]) for _ in range(fleets)) >= least * fleets


def test_a_quarter_of_the_fleet_may_be_slow() -> None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        assert pooled(fleet(rng, 32, slow=8, share=0.2)).tolist() == [True] * 8 + [False] * 24


def test_three_deviations_cannot_be_reached_and_are_not_the_rule() -> None:
    """The largest deviation of n values is (n - 1) / √n standard deviations, so that rule never fires in ten hosts."""
    rates = np.full((10, 6), 100.0) * np.exp(np.random.default_rng(1).normal(0, 0.001, (10, 6)))
    rates[0] /= 10
    means = rates.mean(axis=1)
    assert abs(means[0] - means.mean()) / means.std(ddof=1) <= 9 / math.sqrt(10) + 1e-9
    assert not three_deviations(rates).any()
    assert pooled(rates).tolist() == [True] + [False] * 9


def test_what_is_called_detectable_is_detected() -> None:
    rng = np.random.default_rng(5)
    share = compare_hosts(fleet(rng, 8)).detectable(8)
    assert share is not None
    assert 0.03 < share < 0.12
    shares = [compare_hosts(fleet(rng, 8)).detectable(8) or 0.0 for _ in range(40)]
    typical = float(np.mean(shares))
    named = sum(bool(pooled(fleet(rng, 8, slow=1, share=typical))[0]) for _ in range(150))
    assert 0.82 <= named / 150 <= 0.99


def test_an_unsteady_host_is_judged_by_its_own_noise() -> None:
    rng = np.random.default_rng(6)
    rates = fleet(rng, 8, waves=8, noise=0.005)
    rates[3] *= np.exp(rng.normal(0, 0.2, 8))
    comparison = compare_hosts(rates)
    effects = [effect for effect in comparison.hosts if effect is not None]
    assert [effect.unsteady for effect in effects] == [False] * 3 + [True] + [False] * 4
    assert effects[3].sd > 10 * comparison.sd
    assert comparison.sd < 0.01  # of the steady ones alone
    assert effects[3].high - effects[3].low > 10 * (effects[0].high - effects[0].low)
    alarms = sum(any(e is not None and e.unsteady for e in compare_hosts(fleet(rng, 8)).hosts) for _ in range(100))
    assert alarms <= 1


@pytest.mark.parametrize(
    "rates",
    [
        [],
        [[100.0] * 6],
        [[100.0], [90.0]],
        [[math.nan] * 6] * 3,
        [[100.0, math.nan], [math.nan, 90.0], [1.0, math.nan]],
    ],
)
def test_nothing_is_said_where_nothing_can_be(rates: list[list[float]]) -> None:
    comparison = compare_hosts(rates)
    assert all(effect is None for effect in comparison.hosts)
    assert comparison.degrees == 0
    assert comparison.detectable(1) is None


def test_equal_figures_do_not_divide_by_zero() -> None:
    comparison = compare_hosts([[100.0] * 3] * 2 + [[50.0] * 3])
    p = [effect.p_slow for effect in comparison.hosts if effect is not None]
    assert [value < ALPHA for value in holm(p)] == [False, False, True]
    assert comparison.hosts[2] is not None
    assert math.exp(comparison.hosts[2].effect) == pytest.approx(0.5)
