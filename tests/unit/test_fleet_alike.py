"""The design by which a fleet's blocks are compared with local ones: what the machine does to both sides cancels."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from harness.measure.stats import PairedEffect

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from fleet_alike import Couple, Pair, difference, simulated_couples, within


def test_drift_and_what_one_cpu_is_slower_by_cancel() -> None:
    """Without noise nothing is left but the difference, whatever the machine gave to each pair."""
    couples = [
        Couple(Pair(1.0 * drift, 1.08 * 1.05 * drift), Pair(1.08 / drift, 1.05 / drift)) for drift in (0.8, 1.0, 1.3)
    ]
    effect = difference(couples)
    assert effect.mean == pytest.approx(math.log(1.05))
    assert effect.sd == pytest.approx(0.0, abs=1e-12)
    assert not within(effect)


def test_a_machine_that_drifts_is_decided_by_blocks_at_the_same_time() -> None:
    """Twenty couples, as a quarter of an hour gives; blocks one after the other would need three times as many."""
    rng = np.random.default_rng(5)
    five = math.log(1.05)
    alike, slower, in_turn = (
        [difference(simulated_couples(rng, 20, effect, at_once=at_once)) for _ in range(200)]
        for effect, at_once in ((0.0, True), (five, True), (0.0, False))
    )
    assert sum(each.low <= 0 <= each.high for each in alike) >= 180
    assert sum(each.low <= five <= each.high for each in slower) >= 180
    assert all(map(within, alike))
    assert not any(map(within, slower))
    assert _width(in_turn) > 1.7 * _width(alike)


def _width(effects: list[PairedEffect]) -> float:
    return median(each.high - each.low for each in effects)
