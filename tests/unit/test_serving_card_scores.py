"""Transactions scored by what their cards have open: the window model's scores, whatever comes in between."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest

from harness.detectors.lstm import LSTM
from harness.linalg import native
from harness.scoring import plan
from harness.scoring.agreement import agreement
from harness.scoring.builder import Builder
from harness.scoring.open_windows import OpenWindows
from harness.scoring.program import DenseLayer, Program
from harness.serving.card_scores import CardScores
from harness.serving.exchange import NO_CARD, Advance

pytestmark = pytest.mark.skipif(native.missing() is not None, reason="the native kernels are not built")
STEPS, FEATURES, MOST = 5, 9, 3


@pytest.fixture(scope="module")
def program() -> Program:
    rng = np.random.default_rng(1)
    windows, labels = rng.normal(size=(64, STEPS, FEATURES)), np.arange(64) % 2
    made = LSTM(hidden=(12, 6), dropout=(0.0, 0.0), epochs=1, random_state=3).fit(windows, labels).program()
    assert made is not None
    return made


def scores_of(program: Program) -> CardScores:
    windows = OpenWindows.of(program)
    assert windows is not None
    return CardScores(windows, MOST, lambda logits, _: logits)


@dataclass
class Card:
    serial: int
    rows: list[np.ndarray] = field(default_factory=list)


def test_scores_are_the_windows_through_evictions_within_a_call_and_calls_that_fail(program: Program) -> None:
    rng, serials = np.random.default_rng(2), count()
    whole, scores = plan.compiled(program), scores_of(program)
    cards: OrderedDict[int, Card] = OrderedDict()
    given: list[np.ndarray] = []
    expected: list[np.ndarray] = []
    within = failures = 0
    for call in range(300):
        batch: list[tuple[np.ndarray, Advance]] = []
        windows: list[np.ndarray] = []
        for _ in range(int(rng.integers(1, 30))):
            name = int(rng.choice(5, p=[0.35, 0.3, 0.2, 0.1, 0.05]))
            if name not in cards:
                if len(cards) == MOST:
                    gone = cards.popitem(last=False)[1]
                    within += any(advance.card == gone.serial for _, advance in batch)
                    if rng.random() < 0.8:  # nothing depends on it
                        scores.release(gone.serial)
                cards[name] = Card(next(serials))
            cards.move_to_end(name)
            card, row = cards[name], rng.normal(size=(1, FEATURES)).astype(np.float32)
            card.rows.append(row)
            if len(card.rows) >= STEPS:
                before = np.concatenate(card.rows[-STEPS:-1])
                batch.append((row, Advance(card.serial, len(card.rows), before, scores)))
                windows.append(np.concatenate((before, row)).ravel())
                if rng.random() < 0.05:  # sent again
                    batch.append((row, Advance(NO_CARD, 0, before, scores)))
                    windows.append(windows[-1])
        if not batch:
            continue
        rows, advances = np.concatenate([row for row, _ in batch]), [advance for _, advance in batch]
        if call % 10 == 7:  # what came before the failure is not known to be in any state
            with pytest.raises(ValueError, match="shapes do not fit"):
                scores.score(rows[:, :-1].copy(), [each._replace(before=each.before[:, :-1]) for each in advances])
            failures += 1
            continue
        given.append(scores.score(rows, advances))
        expected.append(whole(np.stack(windows)))
    assert (within > 20, failures > 20) == (True, True)
    assert len(scores._places) <= MOST
    found = agreement(np.concatenate(expected), np.concatenate(given))
    assert found.within, found.sentence()


def test_what_is_made_anew_has_the_same_score_to_the_bit(program: Program) -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(40, FEATURES)).astype(np.float32)
    on, anew = scores_of(program), scores_of(program)
    for end in range(STEPS, len(rows)):
        before, row = rows[end - STEPS + 1 : end], rows[end : end + 1]
        (kept,) = on.score(row, [Advance(7, end + 1, before, on)])
        (made,) = anew.score(row, [Advance(NO_CARD, 0, before, anew)])
        assert kept == made


def test_only_an_lstm_has_open_windows(program: Program) -> None:
    dense = Builder(3)
    layer = DenseLayer(np.ones((1, 3), np.float32), np.zeros(1, np.float32))
    assert OpenWindows.of(dense.finish(dense.chain("rows", [layer]))) is None
    backwards = Builder(2 * 3)
    gates = (np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32), np.zeros(4, np.float32))
    value = backwards.lstm("rows", 2, gates, backwards=True)
    last = backwards.columns(value, range(1, 2))
    end = DenseLayer(np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    assert OpenWindows.of(backwards.finish(backwards.chain(last, [end]))) is None
    forwards = Builder(2 * 3)
    first = forwards.columns(forwards.lstm("rows", 2, gates), range(1))  # of the first step
    assert OpenWindows.of(forwards.finish(forwards.chain(first, [end]))) is None
