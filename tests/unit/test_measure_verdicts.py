"""Verdicts: closed forms first, then their error rates under simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.measure.budget import blocks_for_precision, fit_blocks, predicted_half_width
from harness.measure.stats import log_ratios, paired_effect
from harness.measure.validity import Evidence, Reason, invalidities
from harness.measure.verdicts import (
    BLOCK_STEP,
    MAX_BLOCKS,
    CompareVerdict,
    compare_family,
    compare_verdict,
    enough_precision,
)

SPREAD = np.array([-0.01, 0.012, -0.008, 0.011, -0.007, 0.002])
REGRESSED, IMPROVED, EQUIVALENT, INCONCLUSIVE = CompareVerdict


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (0.0, EQUIVALENT),
        (0.10, REGRESSED),
        (-0.10, IMPROVED),
        (math.log1p(0.03), INCONCLUSIVE),
        (-math.log1p(0.03), INCONCLUSIVE),
    ],
)
def test_the_four_verdicts(shift: float, verdict: CompareVerdict) -> None:
    comparison = compare_verdict(SPREAD + shift, 0.03)
    assert comparison.verdict is verdict
    assert (comparison.more_blocks == 0) == (verdict is not INCONCLUSIVE)
    assert (comparison.note is None) == (verdict is not INCONCLUSIVE)


def test_the_verdict_is_the_one_of_the_interval() -> None:
    rng = np.random.default_rng(6)
    seen = set()
    for _ in range(400):
        d = rng.normal(rng.uniform(-0.12, 0.12), 0.03, 10)
        comparison, effect, limit = compare_verdict(d, 0.03), paired_effect(d), math.log1p(0.03)
        seen.add(comparison.verdict)
        if comparison.verdict is REGRESSED:
            assert effect.low > limit
        elif comparison.verdict is IMPROVED:
            assert effect.high < -limit
        elif comparison.verdict is EQUIVALENT:
            assert -limit < effect.low90 < effect.high90 < limit
        elif comparison.rank_p is None:
            assert effect.low <= limit
            assert effect.high >= -limit
    assert len(seen) == 4


def test_fewer_than_six_blocks_never_decide() -> None:
    assert compare_verdict([], 0.03).more_blocks == 6
    one = compare_verdict([0.5], 0.03)
    assert (one.verdict, one.effect, one.more_blocks) == (INCONCLUSIVE, None, 5)
    five = compare_verdict([0.50, 0.51, 0.52, 0.53, 0.54], 0.03)
    assert (five.verdict, five.more_blocks) == (INCONCLUSIVE, 1)
    assert five.effect is not None


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_ratios_without_any_spread_are_no_measurement(shift: float) -> None:
    comparison = compare_verdict([shift] * 8, 0.03)
    assert comparison.verdict is INCONCLUSIVE
    assert "identical" in (comparison.note or "")
    times = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert compare_verdict(log_ratios(times, times * 1.1), 0.03).verdict is INCONCLUSIVE


def test_a_rank_test_that_disagrees_makes_it_inconclusive() -> None:
    # one ratio below the margin and five far above it: the t interval clears the margin, the ranks cannot
    d = [0.5, 0.5001, 0.5002, 0.5003, 0.5004, 0.02]
    comparison = compare_verdict(d, 0.03)
    effect = paired_effect(d)
    assert effect.low > math.log1p(0.03)
    assert comparison.verdict is INCONCLUSIVE
    assert "signed-rank" in (comparison.note or "")


def test_the_blocks_still_needed_are_enough() -> None:
    rng = np.random.default_rng(12)
    d = rng.normal(0.05, 0.08, 8)
    comparison = compare_verdict(d, 0.03)
    assert comparison.more_blocks
    z = (d - d.mean()) / d.std(ddof=1)
    effect = paired_effect(d)
    bigger = 8 + comparison.more_blocks
    tiled = np.resize(z, bigger)
    tiled = (tiled - tiled.mean()) / tiled.std(ddof=1) * effect.sd + effect.mean
    decided = paired_effect(tiled)
    assert decided.low > math.log1p(0.03) or decided.high90 < math.log1p(0.03)


def test_an_effect_at_the_margin_is_never_settled() -> None:
    assert compare_verdict(SPREAD - SPREAD.mean() + math.log1p(0.03), 0.03).more_blocks is None


def test_families_are_judged_together() -> None:
    rng = np.random.default_rng(20)
    borderline = rng.normal(0, 0.03, 8)
    borderline += math.log1p(0.03) + 0.028 - borderline.mean()
    assert compare_verdict(borderline, 0.03).verdict is REGRESSED
    family = [borderline] + [rng.normal(0, 0.03, 8) for _ in range(9)]
    assert compare_family(family, [0.03] * 10)[0].verdict is INCONCLUSIVE


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan, math.inf])
def test_margins_must_be_positive(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        compare_verdict(SPREAD, margin)
    with pytest.raises(ValueError, match="margins"):
        compare_family([SPREAD], [0.03, 0.03])


def test_stopping_is_by_width_and_never_by_significance() -> None:
    assert enough_precision(SPREAD, 0.03)
    assert not enough_precision(SPREAD[:5], 0.03)  # fewer than six blocks
    assert not enough_precision(SPREAD * 10, 0.03)
    assert not enough_precision(SPREAD * 10 + 5.0, 0.03)  # a large, certain effect does not stop it


@pytest.mark.parametrize(("true", "least"), [(0.0, 0.0), (0.10, 0.95)])
def test_false_alarms_and_power_with_the_stopping_rule(true: float, least: float) -> None:
    rng = np.random.default_rng(99)
    regressed = equivalent = 0
    draws = 400
    for _ in range(draws):
        all_d = rng.normal(math.log1p(true), 0.05, 60)
        count = 6
        while count < MAX_BLOCKS and not enough_precision(all_d[:count], 0.03):
            count += BLOCK_STEP
        verdict = compare_verdict(all_d[:count], 0.03).verdict
        regressed += verdict is REGRESSED
        equivalent += verdict is EQUIVALENT
    if true:
        assert regressed / draws >= least
        assert equivalent == 0
    else:
        assert regressed / draws <= 0.01


def test_every_reason_is_told_with_its_figures_and_a_remedy() -> None:
    evidence = Evidence(
        blocks=4,
        clean_shares=[0.6, 0.3],
        steal_shares=[0.01, 0.05, None],
        steady=[True, False, False],
        placement_mismatches=["CPU 9 of node 1 was used, CPUs 0-3 of node 0 were asked for"],
        accuracy_mismatch="scores differ by up to 0.2",
        clock_mismatch="the clock that times says that 5.2 s passed, the kernel's uptime 0.5 s",
        frequency_ratios=[1.0, None, 0.93],
    )
    found = invalidities(evidence)
    assert {one.reason for one in found} == set(Reason)
    text = " | ".join(one.text for one in found)
    for figure in (
        "4 of at least 6",
        "45 %",
        "30 %",
        "3.0 %",
        "5.0 %",
        "2 of 3 processes",
        "CPU 9",
        "0.2",
        "5.2 s",
        "7.0 %",
    ):
        assert figure in text
    assert all(reason.remedy.endswith(".") for reason in Reason)


def test_what_was_not_observed_does_not_invalidate() -> None:
    assert invalidities(Evidence(blocks=6)) == ()
    assert invalidities(Evidence(blocks=6, clean_shares=[0.5], steal_shares=[0.02, None], steady=[True, False])) == ()


def test_one_disturbed_process_among_many_does_not_invalidate() -> None:
    evidence = Evidence(blocks=6, clean_shares=[0.3] + [0.9] * 5, steal_shares=[0.05] + [0.0] * 5)
    assert invalidities(evidence) == ()


def test_a_budget_buys_blocks_and_says_what_precision() -> None:
    plan = fit_blocks(600, 20, setup_s=40, sd=0.05)
    assert (plan.blocks, plan.seconds, plan.conclusive) == (28, 600, True)
    assert plan.half_width == pytest.approx(predicted_half_width(0.05, 28))
    short = fit_blocks(60, 20)
    assert (short.blocks, short.half_width, short.conclusive, short.needed_s) == (3, None, False, 120)
    assert fit_blocks(1, 20, sd=0.1).half_width is None
    assert fit_blocks(1e6, 1).blocks == 60
    with pytest.raises(ValueError, match="block_s"):
        fit_blocks(60, 0)


def test_precision_asked_for_is_precision_got() -> None:
    blocks = blocks_for_precision(0.05, 0.02)
    assert blocks is not None
    assert (predicted_half_width(0.05, blocks) or 1) <= 0.02 < (predicted_half_width(0.05, blocks - 1) or 0)
    assert blocks_for_precision(1.0, 0.001) is None
