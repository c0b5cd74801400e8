"""The learnt cost is the least-squares fit without negative parts, and what would wait too long is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from harness.serving.admission import Admission, CostModel, Intake
from harness.serving.exchange import HttpError

CALLS = st.lists(st.tuples(st.integers(1, 256), st.floats(1e-6, 1e-2)), min_size=1, max_size=80)


@given(CALLS)
def test_the_cost_is_that_of_non_negative_least_squares(calls: list[tuple[int, float]]) -> None:
    model = CostModel()
    for rows, seconds in calls:
        model.add(rows, seconds)
    last = np.array(calls[-50:])
    a, b = lsq_linear(np.column_stack([last[:, 0], np.ones(len(last))]), last[:, 1], bounds=(0, np.inf), tol=1e-14).x
    fitted = model.per_row_and_call()
    assert min(fitted) >= 0
    for rows in (1, 64, 256):
        line = a * rows + b
        if rows > 1.25 * last[:, 0].max():  # no less than in proportion
            line = max(line, rows * last[:, 1].sum() / last[:, 0].sum())
        assert model.seconds(rows) == pytest.approx(line, rel=1e-2, abs=1e-6) or len(set(last[:, 0])) == 1


def test_a_full_queue_and_a_late_answer_are_refused_with_a_time_to_come_back() -> None:
    admission = Admission(queue_rows=10, deadline_s=0.05)
    admission.admit(8)
    with pytest.raises(HttpError) as full:
        admission.admit(3)
    assert (full.value.status, full.value.headers) == (503, (("Retry-After", "1"),))
    admission.waiting = 0
    for rows in (1, 2, 4):
        admission.cost.add(rows, 0.02 * rows)
    admission.admit(2)
    with pytest.raises(HttpError, match="deadline"):
        admission.admit(1)


def test_a_request_too_large_for_the_queue_is_refused_for_good() -> None:
    with pytest.raises(HttpError) as error:
        Admission(queue_rows=10, deadline_s=1).admit(11)
    assert error.value.status == 413


class Hands:
    """A front on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.intake = Intake(Admission(queue_rows=500, deadline_s=1.0), lambda: self.now)

    def admitted(self, offered: int) -> int:
        """How many are taken that come at once."""
        return sum(self.intake.admit() == 0 for _ in range(offered))

    def answer(self, requests: int, each_s: float) -> None:
        """One after the other."""
        for _ in range(requests):
            self.now += each_s
            self.intake.answer()


def test_requests_that_are_carried_on_together_are_learnt_from_together() -> None:
    hands = Hands()
    assert hands.admitted(200) == 200  # nothing is known yet
    hands.now += 1.9  # all of them are half done
    hands.answer(200, 0.0005)
    assert hands.admitted(1) == 1
    hands.answer(1, 0.01)
    assert hands.admitted(200) == 100
    assert hands.intake.admit() == 2  # seconds, when all would be answered


def test_as_many_are_in_hand_as_are_answered_in_time_whatever_comes() -> None:
    hands = Hands()
    hands.admitted(1)
    hands.answer(1, 0.01)
    for _ in range(60):
        hands.admitted(500)
        hands.answer(20, 0.01)
    assert hands.admitted(500) + hands.intake.waiting > 100
    assert hands.intake.waiting == pytest.approx(100, abs=2)
    hands.answer(hands.intake.waiting, 0.01)
    for _ in range(60):  # a machine that is ten times as fast is believed
        hands.admitted(60)
        hands.answer(60, 0.001)
    assert hands.admitted(400) == 400


def test_one_is_always_taken_and_what_is_let_go_teaches_nothing() -> None:
    hands = Hands()
    hands.admitted(1)
    hands.answer(1, 5.0)
    assert [hands.intake.admit(), hands.intake.admit()] == [0, 10]
    hands.intake.leave()
    assert (hands.intake.waiting, hands.intake.admit(), hands.intake.admit()) == (0, 0, 10)


def test_calls_that_are_alike_do_not_let_many_more_in() -> None:
    """Of about 130 requests, now a little slower and now a little faster, the slope is below 0 as often as not."""
    cost = CostModel()
    for n, seconds in [(129, 0.0201), (131, 0.0199)] * 25:
        cost.add(n, seconds)
    assert cost.per_row_and_call()[0] == 0.0
    assert cost.seconds(130) == pytest.approx(0.02)
    assert cost.seconds(256) == pytest.approx(256 * 0.02 / 130, rel=0.01)
