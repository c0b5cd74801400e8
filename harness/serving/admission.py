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
_MANY_ROWS = 1 << 20  # more than wait at a time


class CostModel:
    """Seconds of scoring n rows, a·n + b with neither below zero, from the last calls."""

    def __init__(self) -> None:
        self._calls: deque[tuple[int, float]] = deque()
        self._n = self._s = self._nn = self._ns = 0.0
        self._coefficients = (0.0, 0.0)
        self._largest = 0  # rows of a call

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
        a = (self._ns - self._n * self._s / count) / spread if spread > 0 else 0.0
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

    def rows_within(self, seconds: float) -> int:
        """Rows of a call that takes no longer, at least one."""
        a, b = self._coefficients
        return max(1, int(min((seconds - b) / a, _MANY_ROWS))) if a > 0 else _MANY_ROWS


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

    def admit(self, rows: int) -> None:
        """Take ``rows`` among those that wait.

        Raises:
            HttpError: 503 when they would be too many, or late; with the seconds after which to try again.
        """
        if (seconds := self.wait(rows)) > 0:
            raise too_late(seconds)
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


def too_late(seconds: int) -> HttpError:
    """The answer to what cannot be answered in time."""
    return HttpError(503, "too many rows wait already", (("Retry-After", str(seconds)),))
