"""Rows that came in a turn of the event loop, scored together at its end; nothing waits for more to come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Generic, NamedTuple, Protocol, TypeVar

from harness.serving.admission import Admission
from harness.serving.exchange import Done, HttpError, Reply, Request, Scoring
from harness.serving.metrics import Metrics

T = TypeVar("T")
_Asked = TypeVar("_Asked", contravariant=True)


class Handlers(Protocol[_Asked]):
    """What a batch is made of, and what answers it."""

    metrics: Metrics

    @property
    def settle(self) -> Callable[[], None] | None:
        """What is to be done before any answer of a turn is given; None for nothing, and answers may come at once."""

    def handle(self, request: _Asked, /) -> Reply | Scoring:
        """A reply, or rows that are to be scored first."""

    def score(self, batch: list[Scoring]) -> list[Reply]:
        """Replies of such rows."""


class Waiting(NamedTuple):
    """What waits for the end of a turn: rows to score, or a reply, of so many requests, and since when."""

    outcome: Scoring | Reply
    done: Done
    requests: int
    since: float


class Batch(Generic[T]):
    """What is scored next. Errors become replies; a defect costs its request alone, and shows nothing of the inside.

    Args:
        app: what handles and scores.
        soon: calls a function once the turn of the event loop is over; None for the loop's own way.
    """

    def __init__(self, app: Handlers[T], soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._app, self._soon, self._settle = app, soon, app.settle
        self._waiting: list[Waiting] = []

    def take(self, request: T, done: Done) -> None:
        """Answer a request: ``done`` gets the reply, at once or when its rows were scored."""
        self._app.metrics.in_flight += 1
        try:
            outcome = self._app.handle(request)
        except HttpError as error:
            outcome = error.reply()
        except Exception as error:  # noqa: BLE001 - see the class
            outcome = defect(error)
        if isinstance(outcome, Reply) and self._settle is None:
            self._give(done, outcome, 1)
            return
        self._wait(outcome, done, 1)

    def _wait(self, outcome: Scoring | Reply, done: Done, requests: int) -> None:
        if not self._waiting:
            self._flush_soon()
        self._waiting.append(Waiting(outcome, done, requests, perf_counter()))

    def _flush_soon(self) -> None:
        (self._soon or asyncio.get_running_loop().call_soon)(self._flush)

    def _due(self) -> int:
        """How many of those that wait are answered in this turn, from the first on."""
        return len(self._waiting)

    def _flush(self) -> None:
        due = self._due()
        waiting, self._waiting = self._waiting[:due], self._waiting[due:]
        if self._waiting:
            self._flush_soon()
        scorings = [each.outcome for each in waiting if isinstance(each.outcome, Scoring)]
        if scorings:
            self._app.metrics.queue_s.add(perf_counter() - waiting[0].since)
        try:
            replies = self._app.score(scorings) if scorings else []
        except Exception as error:  # noqa: BLE001 - see the class
            replies = [defect(error)] * len(scorings)
        if self._settle is not None:
            self._settle()
        scored = iter(replies)
        for outcome, done, requests, _ in waiting:
            self._give(done, outcome if isinstance(outcome, Reply) else next(scored), requests)

    def _give(self, done: Done, reply: Reply, requests: int) -> None:
        self._app.metrics.in_flight -= requests
        done(reply)


class RowHandlers(Handlers[Request], Protocol):
    """Handlers of requests, some of which are a row each."""

    admission: Admission


class RequestBatch(Batch[Request]):
    """A `harness.serving.exchange.Takes` that scores in this process."""

    def __init__(self, app: RowHandlers, soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        super().__init__(app, soon)
        self._admission = app.admission

    def take_rows(self, scoring: Scoring, done: Done) -> bool:
        """Of `harness.serving.exchange.Takes`."""
        count = len(scoring.rows)
        if not self._admission.has_room(count):
            return False
        self._admission.admit(count)
        self._app.metrics.in_flight += count
        self._wait(scoring, done, count)
        return True

    def rows_together(self) -> int:
        """As many as are scored in a turn."""
        return self._admission.cost.rows_of_a_turn()

    def _due(self) -> int:
        """Those of a turn; all where they are cards' windows, which change with every row that is taken."""
        if any(isinstance(each.outcome, Scoring) and each.outcome.advance is not None for each in self._waiting):
            return len(self._waiting)
        left = self.rows_together()
        for number, each in enumerate(self._waiting):
            left -= _rows_of(each)
            if left < 0 and number:
                return number
        return len(self._waiting)

    def _flush(self) -> None:
        super()._flush()
        self._admission.waiting = sum(map(_rows_of, self._waiting))


def _rows_of(waiting: Waiting) -> int:
    return len(waiting.outcome.rows) if isinstance(waiting.outcome, Scoring) else 0


def defect(error: Exception) -> Reply:
    """The answer to a request on which the program failed."""
    logging.getLogger("lparbench.serve").error("a request failed", exc_info=error)
    return HttpError(500, "the server failed on this request; its log says how").reply()
