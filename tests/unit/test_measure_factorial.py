"""Best settings, ties, SMT cliffs and NUMA penalties with known answers."""

from __future__ import annotations

from math import exp, log, sqrt
from statistics import mean, stdev

import numpy as np
import pytest
from scipy import stats

from harness.measure.factorial import Standing, best_cell, cliffs, contrasts, penalties, steps
from harness.measure.verdicts import CompareVerdict

NOISE = [0.004, -0.006, 0.002, 0.005, -0.003, -0.002]


def rates(level: float, shift: int = 0) -> dict[int, float]:
    """Six blocks around ``level`` with the same spread in another order."""
    return {block: level * exp(NOISE[(block + shift) % 6]) for block in range(6)}


def test_the_best_is_the_highest_and_only_close_ones_tie() -> None:
    found = best_cell({"smt1": rates(100), "smt2": rates(131, 1), "smt4": rates(130.5, 2), "smt8": rates(90, 3)})
    assert found is not None
    assert found.cell == "smt2"
    assert [tie.cell for tie in found.standing(Standing.EQUIVALENT)] == ["smt4"]
    assert [rival.cell for rival in found.standing(Standing.SLOWER)] == ["smt1", "smt8"]


def test_the_interval_of_the_best_and_of_a_tie_are_those_of_the_closed_form() -> None:
    a, b = rates(131, 1), rates(130.5, 2)
    found = best_cell({"a": a, "b": b})
    assert found is not None
    logs = [log(value) for value in a.values()]
    half = stats.t.ppf(0.975, 5) * stdev(logs) / sqrt(6)
    assert (found.rate.low, found.rate.high) == pytest.approx((exp(mean(logs) - half), exp(mean(logs) + half)))
    ratios = [log(a[block] / b[block]) for block in range(6)]
    half = stats.t.ppf(0.95, 5) * stdev(ratios) / sqrt(6)  # each limit one-sided, of one comparison
    assert (found.rivals[0].ratio.low, found.rivals[0].ratio.high) == pytest.approx(
        (exp(mean(ratios) - half), exp(mean(ratios) + half))
    )


def test_noise_makes_a_tie_that_is_not_called_equivalent() -> None:
    wild = {block: 110 * exp(30 * NOISE[block]) for block in range(6)}
    found = best_cell({"steady": rates(100), "wild": wild})
    assert found is not None
    assert [rival.standing for rival in found.rivals] == [Standing.NOT_DISTINGUISHABLE]


def test_few_blocks_tell_nothing_apart() -> None:
    found = best_cell({"a": {0: 100.0, 1: 101.0}, "b": {0: 10.0, 1: 10.1}, "dead": {}})
    assert found is not None
    assert found.cell == "a"
    assert [(rival.cell, rival.standing) for rival in found.rivals] == [("b", Standing.NOT_JUDGED)]
    assert best_cell({"dead": {}}) is None


def test_blocks_are_paired_so_a_drift_of_the_machine_cancels() -> None:
    drift = np.exp(np.linspace(0, 1, 6))
    found = best_cell(
        {
            "a": {block: 110 * drift[block] * exp(NOISE[block]) for block in range(6)},
            "b": {block: 100 * drift[block] * exp(NOISE[(block + 2) % 6]) for block in range(6)},
        }
    )
    assert found is not None
    assert [rival.standing for rival in found.rivals] == [Standing.SLOWER]


def test_a_difference_that_is_certain_but_does_not_matter_is_a_tie() -> None:
    cells = {"a": rates(101), "b": {block: 100 * exp(NOISE[block]) * exp(NOISE[block] / 50) for block in range(6)}}
    found = best_cell(cells)
    assert found is not None
    assert found.rivals[0].ratio.low is not None
    assert found.rivals[0].ratio.low > 1
    assert found.rivals[0].standing is Standing.EQUIVALENT
    narrow = best_cell(cells, margin=0.005)
    assert narrow is not None
    assert narrow.rivals[0].standing is Standing.SLOWER


def test_a_tie_among_many_needs_more_than_a_tie_of_two() -> None:
    """Limits that decide alone do not when fifty settings are compared."""
    wide = {"a": rates(101), "b": {block: 100 * exp(4 * NOISE[(block + 2) % 6]) for block in range(6)}}
    alone = best_cell(wide, margin=0.04)
    assert alone is not None
    assert alone.rivals[0].standing is Standing.EQUIVALENT
    generator = np.random.default_rng(3)
    others = {n: {b: float(50 * np.exp(generator.normal(0, 0.2))) for b in range(6)} for n in range(50)}
    crowd = best_cell({**wide, **others}, margin=0.04)
    assert crowd is not None
    assert next(one for one in crowd.rivals if one.cell == "b").standing is Standing.NOT_DISTINGUISHABLE


def test_ratios_that_do_not_vary_are_no_measurement() -> None:
    found = best_cell({"a": dict.fromkeys(range(6), 2.0), "b": dict.fromkeys(range(6), 1.0)})
    assert found is not None
    assert found.rivals[0].standing is Standing.NOT_JUDGED


def test_a_smt_cliff_is_the_step_at_which_throughput_falls() -> None:
    """OpenBLAS issue 2380: 462 GFLOP/s with one thread per core of a POWER9, 22 with four."""
    by_threads = {1: rates(462), 2: rates(470, 1), 4: rates(22, 2)}
    (found,) = cliffs([[1, 2, 4]], by_threads)
    assert (found.start, found.to) == (2, 4)
    assert found.comparison.effect is not None
    assert found.comparison.effect.ratio == pytest.approx(470 / 22, rel=0.01)


def test_a_fall_inside_the_margin_or_inside_the_noise_is_no_cliff() -> None:
    assert cliffs([[1, 2]], {1: rates(100), 2: rates(98.5, 1)}) == []
    wild = {block: 80 * exp(40 * NOISE[block]) for block in range(6)}
    assert cliffs([[1, 2]], {1: rates(100), 2: wild}) == []
    assert cliffs([[1, 2], [3]], {1: rates(100)}) == []


def test_numa_penalties_are_against_the_fastest_place() -> None:
    cells = {"0:0": rates(100), "1:1": rates(99.8, 1), "0:1": rates(71, 2)}
    (found,) = penalties([list(cells)], cells)
    assert (found.start, found.to) == ("0:0", "0:1")
    assert found.comparison.verdict is CompareVerdict.REGRESSED


def test_steps_form_one_family() -> None:
    """A p-value that passes alone does not among many comparisons."""
    generator = np.random.default_rng(4)
    cells = {n: {block: float(100 * np.exp(generator.normal(0, 0.05))) for block in range(6)} for n in range(60)}
    pairs = [(n, n + 1) for n in range(59)]
    assert not [step for step in steps(pairs, cells) if step.is_loss]


def test_the_truly_best_is_found_or_ties_in_95_percent_of_sweeps() -> None:
    """The hardest case: sixteen cells of which one is better by less than anyone could see."""
    generator = np.random.default_rng(11)
    lost = 0
    for _ in range(300):
        cells = {n: {b: float(np.exp(generator.normal(0, 0.03))) for b in range(6)} for n in range(16)}
        cells[0] = {block: 1.0001 * value for block, value in cells[0].items()}
        found = best_cell(cells)
        assert found is not None
        lost += 0 in {rival.cell for rival in found.standing(Standing.SLOWER)}
    assert lost <= 0.05 * 300


def test_the_limits_that_are_printed_are_those_that_decide() -> None:
    """Over many random sweeps: slower exactly where both limits lie above 1, a tie exactly where both are inside."""
    generator = np.random.default_rng(5)
    seen = set()
    for sd in (0.002, 0.01, 0.05) * 20:
        cells = {n: {b: float(np.exp(generator.normal(0.02 * n, sd))) for b in range(6)} for n in range(5)}
        found = best_cell(cells)
        assert found is not None
        for rival in found.rivals:
            low, high = rival.ratio.low, rival.ratio.high
            assert low is not None
            assert high is not None
            inside = low > 1 / 1.03 and high < 1.03
            assert (rival.standing is Standing.EQUIVALENT) == inside
            assert (rival.standing is Standing.SLOWER) == (not inside and low > 1)
            seen.add(rival.standing)
    assert seen == {Standing.EQUIVALENT, Standing.SLOWER, Standing.NOT_DISTINGUISHABLE}


def test_an_effect_is_the_mean_over_pairs_and_what_else_differs_cancels() -> None:
    """Two factors that multiply: 20 % for the one, a factor of 7 for the other, which each pair has on both sides."""
    cells = {(a, b): rates(100 * 1.2**a * 7**b, 2 * a + b) for a in range(2) for b in range(3)}
    found = contrasts([[((1, b), (0, b)) for b in range(3)], [((a, 2), (a, 0)) for a in range(2)]], cells)
    assert [(effect.start, effect.to, effect.pairs) for effect in found] == [((1, 0), (0, 0), 3), ((0, 2), (0, 0), 2)]
    assert [effect.ratio.centre for effect in found] == pytest.approx([1.2, 49], rel=0.01)
    assert [effect.standing for effect in found] == [Standing.SLOWER, Standing.SLOWER]
    (turned,) = contrasts([[((0, 0), (1, 0))]], cells)
    assert turned.standing is Standing.FASTER
    assert contrasts([[((0, 0), (9, 9))], []], cells) == []
    few = {cell: {0: by_block[0]} for cell, by_block in cells.items()}
    assert contrasts([[((1, 0), (0, 0))]], few)[0].standing is Standing.NOT_JUDGED


def test_effects_of_nothing_are_claimed_in_at_most_five_percent_of_sweeps_per_side() -> None:
    generator = np.random.default_rng(12)
    claimed = 0
    for _ in range(300):
        cells = {n: {b: float(np.exp(generator.normal(0, 0.05))) for b in range(6)} for n in range(8)}
        pairs = [[(n, n + 1), (n + 2, n + 3)] for n in (0, 4)]
        claimed += any(effect.standing is Standing.SLOWER for effect in contrasts(pairs, cells))
    assert claimed <= 0.08 * 300  # 5 % and two standard errors
