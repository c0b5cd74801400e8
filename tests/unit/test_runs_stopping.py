"""How many blocks are measured, on a clock that moves only when told to."""

from __future__ import annotations

import math

import pytest

from harness.measure.budget import pooled_sd, predicted_half_width
from harness.measure.clock import FakeClock
from harness.measure.stats import interval_over_processes
from harness.runs.stopping import Amount, Stopping, duration

SPREAD = [1.00, 1.02, 0.97, 1.01, 0.99, 1.03]


def run_blocks(amount: Amount, *, block_s: float, setup_s: float = 0.0, spread=lambda block: SPREAD[block % 6]):
    """Measure until told to stop; returns blocks, seconds spent, what was said, and the policy."""
    clock, said = FakeClock(), []
    policy = Stopping(amount, clock, said.append)
    clock.sleep(setup_s)
    policy.set_up()
    rates: list[float] = []
    while True:
        clock.sleep(block_s)
        rates.append(1e6 * spread(len(rates)))
        if not policy.another(len(rates), [rates, [2 * rate for rate in rates]]):
            return len(rates), clock.now_ns() * 1e-9, said, policy


@pytest.mark.parametrize("blocks", [1, 6, 13])
def test_a_number_of_blocks_is_that_number(blocks: int) -> None:
    done, _, said, policy = run_blocks(Amount(blocks), block_s=3)
    assert (done, said) == (blocks, [])
    assert policy.record().ended_by == "blocks"


@pytest.mark.parametrize(("budget_s", "setup_s", "block_s"), [(600, 60, 30), (100, 0, 7), (600, 500, 12)])
def test_a_budget_is_used_up_and_never_exceeded(budget_s: float, setup_s: float, block_s: float) -> None:
    done, spent, _, _ = run_blocks(Amount(None, budget_s=budget_s), setup_s=setup_s, block_s=block_s)
    assert spent <= budget_s < spent + block_s
    assert done == math.floor((budget_s - setup_s) / block_s)


def test_a_budget_says_after_the_pilot_what_it_buys() -> None:
    _, _, said, policy = run_blocks(Amount(None, budget_s=600), setup_s=60, block_s=30)
    assert said[0] == "One block takes 30 s: 18 blocks in 10 min."
    predicted = predicted_half_width(pooled_sd([SPREAD[:2]]) or 0.0, 18)
    assert policy.record().predicted_half_width == pytest.approx(predicted)
    assert "18 blocks will give the rates to about" in said[1]
    assert "8 min to go" in said[1]


def test_a_budget_too_small_for_a_valid_result_says_what_one_takes() -> None:
    done, _, said, _ = run_blocks(Amount(None, budget_s=100), setup_s=60, block_s=30)
    assert done == 1
    assert "A valid result takes 6, about 4 min in all." in said[0]
    done, _, _, _ = run_blocks(Amount(None, budget_s=10), setup_s=60, block_s=30)
    assert done == 1, "a run without a block has no result at all"


def test_until_ci_stops_at_the_first_even_look_that_is_narrow_enough() -> None:
    done, _, _, policy = run_blocks(Amount(None, half_width=0.01), block_s=1)
    rates = [SPREAD[block % 6] for block in range(done)]
    assert done in range(6, 61, 2)
    assert (interval_over_processes(rates).half_width or 1) <= 0.01
    assert (interval_over_processes(rates[:-2]).half_width or 1) > 0.01
    assert policy.record().ended_by == "precision"
    assert policy.record().reached_half_width == pytest.approx(interval_over_processes(rates).half_width)


def test_until_ci_gives_up_at_sixty_blocks() -> None:
    done, _, _, policy = run_blocks(Amount(None, half_width=0.001), block_s=1, spread=lambda block: 1 + block % 2)
    assert done == 60
    assert policy.record().ended_by == "limit"


def test_whichever_of_budget_and_precision_comes_first_ends_the_run() -> None:
    done, spent, _, policy = run_blocks(Amount(None, budget_s=50, half_width=0.0001), block_s=5)
    assert (done, spent) == (10, pytest.approx(50))
    assert policy.record().ended_by == "budget"
    _, _, _, policy = run_blocks(Amount(None, budget_s=500, half_width=0.05), block_s=5)
    assert policy.record().ended_by == "precision"


def test_a_result_without_an_interval_keeps_until_ci_going() -> None:
    clock = FakeClock()
    policy = Stopping(Amount(None, half_width=0.5), clock, lambda text: None)
    policy.set_up()
    clock.sleep(1)
    assert policy.another(6, [[1.0, 1.1, 1.0, 1.05, 1.02, 1.0], [1.0]])
    assert not policy.another(8, [[1.0, 1.1, 1.0, 1.05, 1.02, 1.0], []]), "one that always fails does not"


def test_durations_are_told_as_people_tell_them() -> None:
    assert [duration(s) for s in (0.4, 59, 99.4, 121, 3600, 7500)] == [
        "0 s",
        "59 s",
        "99 s",
        "3 min",
        "60 min",
        "2 h 5 min",
    ]
