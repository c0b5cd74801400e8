"""Rows that came in a turn of the event loop, scored together at its end; nothing waits for more to come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from harness.serving.app import App
from harness.serving.exchange import HttpError, Reply, Request, Scoring

Done = Callable[[Reply], None]


class Batch:
    """What is scored next. Errors become replies; a defect costs its request alone, and shows nothing of the inside."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._waiting: list[tuple[Scoring, Done]] = []

    def take(self, request: Request, done: Done) -> None:
        """Answer a request: ``done`` gets the reply, at once or when its rows were scored."""
        self._app.metrics.in_flight += 1
        try:
            outcome = self._app.handle(request)
        except HttpError as error:
            outcome = error.reply()
        except Exception as error:  # noqa: BLE001 - see the class
            outcome = _defect(error)
        if isinstance(outcome, Reply):
            self._give(done, outcome)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((outcome, done))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            replies = self._app.score([scoring for scoring, _ in waiting])
        except Exception as error:  # noqa: BLE001 - see the class
            replies = [_defect(error)] * len(waiting)
        for (_, done), reply in zip(waiting, replies, strict=True):
            self._give(done, reply)

    def _give(self, done: Done, reply: Reply) -> None:
        self._app.metrics.in_flight -= 1
        done(reply)


def _defect(error: Exception) -> Reply:
    logging.getLogger("lparbench.serve").error("a request failed", exc_info=error)
    return HttpError(500, "the server failed on this request; its log says how").reply()
