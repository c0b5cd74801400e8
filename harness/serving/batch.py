"""Rows that came in a turn of the event loop, scored together at its end; nothing waits for more to come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Generic, Protocol, TypeVar

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


class Batch(Generic[T]):
    """What is scored next. Errors become replies; a defect costs its request alone, and shows nothing of the inside.

    Args:
        app: what handles and scores.
        soon: calls a function once the turn of the event loop is over; None for the loop's own way.
    """

    def __init__(self, app: Handlers[T], soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._app, self._soon, self._settle = app, soon, app.settle
        self._since = 0.0  # when the first of those that wait came
        self._waiting: list[tuple[Scoring | Reply, Done, int]] = []  # how many requests they are of

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
            self._since = perf_counter()
            (self._soon or asyncio.get_running_loop().call_soon)(self._flush)
        self._waiting.append((outcome, done, requests))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        scorings = [outcome for outcome, _, _ in waiting if isinstance(outcome, Scoring)]
        if scorings:
            self._app.metrics.queue_s.add(perf_counter() - self._since)
        try:
            replies = self._app.score(scorings) if scorings else []
        except Exception as error:  # noqa: BLE001 - see the class
            replies = [defect(error)] * len(scorings)
        if self._settle is not None:
            self._settle()
        scored = iter(replies)
        for outcome, done, requests in waiting:
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


def defect(error: Exception) -> Reply:
    """The answer to a request on which the program failed."""
    logging.getLogger("lparbench.serve").error("a request failed", exc_info=error)
    return HttpError(500, "the server failed on this request; its log says how").reply()
