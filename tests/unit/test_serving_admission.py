"""The learnt cost is the least-squares fit without negative parts, and what would wait too long is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from harness.serving.admission import Admission, CostModel
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
        assert model.seconds(rows) == pytest.approx(a * rows + b, rel=1e-2, abs=1e-6) or len(set(last[:, 0])) == 1


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
    with pytest.raises(HttpError, match="wait"):
        admission.admit(1)


def test_a_request_too_large_for_the_queue_is_refused_for_good() -> None:
    with pytest.raises(HttpError) as error:
        Admission(queue_rows=10, deadline_s=1).admit(11)
    assert error.value.status == 413
