"""Which requests can still be answered in time: the cost of a batch is learnt, and what would be late is refused."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from time import perf_counter

from harness.serving.exchange import HttpError
from harness.wording import plural

_REMEMBERED = 50  # calls
_BEYOND = 1.25  # times the largest call, from where a fit is not trusted alone
TURN_S = 0.002  # of work in a turn of the event loop: what comes meanwhile waits so long to be read, and refused
_FIRST = 16  # requests or rows of a turn whose cost is not known
_EFFICIENT = 3.0  # times what a call costs without any row, for which its rows are taken at least


class CostModel:
    """Seconds of scoring n rows, a·n + b with neither below zero, from the last calls."""

    def __init__(self) -> None:
        self._calls: deque[tuple[int, float]] = deque()
        self._n = self._s = self._nn = self._ns = 0.0
        self._coefficients = (0.0, 0.0)
        self._largest = 0  # rows of a call
        self._alike = True  # calls have the same number of rows, which says nothing of `a`

    def add(self, rows: int, seconds: float) -> None:
        """Learn from a call."""
        self._calls.append((rows, seconds))
        self._count(rows, seconds, 1)
        if len(self._calls) > _REMEMBERED:
            self._count(*self._calls.popleft(), -1)
        self._coefficients = self._fit()
        self._largest = max(count for count, _ in self._calls)

    def _count(self, rows: int, seconds: float, sign: int) -> None:
        self._n += sign * rows
        self._s += sign * seconds
        self._nn += sign * rows * rows
        self._ns += sign * rows * seconds

    def per_row_and_call(self) -> tuple[float, float]:
        """Least squares under a, b ≥ 0; (0, 0) before the first call."""
        return self._coefficients

    def _fit(self) -> tuple[float, float]:
        count = len(self._calls)
        spread = self._nn - self._n * self._n / count
        self._alike = spread <= 0
        a = 0.0 if self._alike else (self._ns - self._n * self._s / count) / spread
        b = (self._s - a * self._n) / count
        if a < 0:
            return 0.0, self._s / count
        if b < 0:
            return self._ns / self._nn, 0.0
        return a, b

    def seconds(self, rows: int) -> float:
        """Of a call with ``rows``; of many more than in any call so far, no less than in proportion.

        Calls that are nearly alike, as under a steady load, say next to nothing of `a`: it may seem to be 0.
        """
        a, b = self._coefficients
        fitted = a * rows + b
        return fitted if rows <= _BEYOND * self._largest else max(fitted, rows * self._s / max(self._n, 1.0))

    def rows_in_proportion(self, seconds: float = TURN_S) -> int:
        """The most rows that take no longer at what a row of the calls so far took, at least one."""
        return max(1, int(seconds * self._n / max(self._s, 1e-9))) if self._calls else _FIRST

    def rows_of_a_turn(self, seconds: float = TURN_S) -> int:
        """The most rows for which the fit says no longer, at least one; beyond the calls so far, in proportion to them.

        Where a call costs much without any row, at least as many as cost `_EFFICIENT` times that: the capacity must not
        fall for the sake of short turns.
        """
        a, b = self._coefficients
        in_proportion = self.rows_in_proportion(seconds)
        if self._alike:
            return in_proportion
        rows = max(seconds - b, _EFFICIENT * b) / a if a > 0 else math.inf
        trusted = _BEYOND * self._largest
        return max(1, int(rows if rows <= trusted else max(trusted, min(rows, in_proportion))))


class Admission:
    """Rows that wait, their bound, and the deadline of a request."""

    def __init__(self, *, queue_rows: int, deadline_s: float) -> None:
        self.cost = CostModel()
        self.waiting = 0
        self._queue_rows = queue_rows
        self._deadline_s = deadline_s

    def another(self) -> Admission:
        """Of the same bounds, for what waits elsewhere."""
        return Admission(queue_rows=self._queue_rows, deadline_s=self._deadline_s)

    def has_room(self, rows: int) -> bool:
        """Whether `admit` would take ``rows``, one after the other as well as together."""
        total = self.waiting + rows
        return total <= self._queue_rows and self.cost.seconds(total) <= self._deadline_s

    def wait(self, rows: int) -> int:
        """Seconds after which to try again where ``rows`` more would be too many, or late; else 0."""
        if not self.waiting or self.has_room(rows):
            return 0
        return max(1, math.ceil(self.cost.seconds(self.waiting + rows)))

    def reason(self, rows: int) -> str:
        """Why ``rows`` more have to wait: too many, or too late."""
        return "queue" if self.waiting + rows > self._queue_rows else "deadline"

    def admit(self, rows: int) -> None:
        """Take ``rows`` among those that wait.

        Raises:
            HttpError: 503 when they would be too many, or late; with the seconds after which to try again.
        """
        if (seconds := self.wait(rows)) > 0:
            raise refusal(self.reason(rows), seconds)
        if rows > self._queue_rows:
            raise HttpError(413, f"{plural(rows, 'row')} in a request; at most {self._queue_rows} are taken")
        self.waiting += rows


class Intake:
    """Requests that a front has in hand, admitted before anything is done for them.

    The cost that is learnt is of answering so many, whatever it is spent on: from when the first of them came, or those
    before them were answered, to the last answer. How many make up a call is what was in hand at the first answer,
    so that requests which a turn of the event loop carries on together are learnt from together.

    Args:
        admission: the rule, in requests.
        clock: seconds.
    """

    def __init__(self, admission: Admission, clock: Callable[[], float] = perf_counter) -> None:
        self._admission, self._clock = admission, clock
        self._began, self._answered, self._size = 0.0, 0, 0  # of the call under way

    @property
    def waiting(self) -> int:
        """Requests in hand."""
        return self._admission.waiting

    @property
    def reason(self) -> str:
        """Why another is not taken."""
        return self._admission.reason(1)

    def requests_of_a_turn(self) -> int:
        """How many to carry on in a turn of the event loop, of which the first costs no more than the others."""
        return self._admission.cost.rows_in_proportion()

    def admit(self) -> int:
        """Take a request: 0, or the seconds after which to try again."""
        admission = self._admission
        if (seconds := admission.wait(1)) > 0:
            return seconds
        if not admission.waiting:
            self._began, self._answered, self._size = self._clock(), 0, 0
        admission.waiting += 1
        return 0

    def leave(self, requests: int = 1) -> None:
        """Let go of requests that nothing was done for."""
        self._admission.waiting -= requests

    def answer(self, requests: int = 1) -> None:
        """Let go of requests that are answered."""
        admission = self._admission
        if not self._size:
            self._size = admission.waiting
        admission.waiting -= requests
        self._answered += requests
        if self._answered >= self._size:
            now = self._clock()
            admission.cost.add(self._answered, now - self._began)
            self._began, self._answered, self._size = now, 0, 0


_WHY = {"queue": "too many rows wait already", "deadline": "it would be answered after its deadline"}


def refusal(reason: str, seconds: int) -> HttpError:
    """The answer to what cannot be taken now; it may be sent again after so many seconds."""
    return HttpError(503, _WHY[reason], (("Retry-After", str(seconds)),), reason)
