"""Requests of a turn that are a row each, on connections where nothing else waits: taken, scored and answered as one.

Most requests to a detector are such, and objects of their own would cost each of them more than its score. What is out
of the ordinary goes the way of all requests, which has the same answers.
"""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

from harness.serving.answers import AnswerHeads, Line
from harness.serving.app import App
from harness.serving.exchange import Checked, Reply, RowRoute, Scores, Scoring, Takes
from harness.serving.http1 import Head
from harness.serving.scorer import finished

_SCORED = Reply(200, b"")  # in place of the answers of all


class _Asked(NamedTuple):
    connection: Line
    head: Head
    body: bytes
    began: float


class RowTurn:
    """What is taken until the next `flush`.

    Args:
        app: counts the answers.
        batch: scores.
        heads: of the answers.
    """

    def __init__(self, app: App, batch: Takes, heads: AnswerHeads) -> None:
        self._app, self._batch, self._heads = app, batch, heads
        self._asked: list[_Asked] = []
        self._rows: list[Checked] = []

    def take(self, route: RowRoute, asked: tuple[Line, Head, bytes, float]) -> bool:
        """Take a request as connection, head, body and when it came; False where it has to go the way of all."""
        connection = asked[0]
        if connection.slots or connection.closing or self._app.intake.admit():
            return False
        try:
            self._rows.append(route.row(asked[2]))
        except Exception:  # noqa: BLE001 - that way says what is wrong
            self._app.intake.leave()
            return False
        connection.slots.append(connection.row_slot)
        self._asked.append(_Asked(*asked))
        return True

    def flush(self) -> None:
        """Have all of it scored."""
        asked, rows = self._asked, self._rows
        if not rows:
            return
        self._asked, self._rows = [], []
        together = self._batch.rows_together()
        for at in range(0, len(rows), together):
            self._score(asked[at : at + together], rows[at : at + together])

    def _score(self, asked: list[_Asked], rows: list[Checked]) -> None:
        route = asked[0].head.route
        assert route is not None
        bodies: list[bytes] = []
        replies: list[Reply] = []

        def finish(scores: Scores) -> Reply:
            made = route.bodies(scores)
            if made is None:
                part = Scoring([], route.finish)
                replies.extend(finished(part, scores[at : at + 1]) for at in range(len(scores)))
            else:
                bodies.extend(made)
            return _SCORED

        def done(reply: Reply) -> None:
            if bodies:
                self._answer(asked, bodies)
            else:
                self._answer_each(asked, replies if reply is _SCORED else [reply] * len(asked))
            self._app.intake.answer(len(asked))

        if self._batch.take_rows(Scoring(rows, finish), done):
            return
        for connection, head, body, began in asked:  # some of them are refused
            slot = connection.row_slot
            slot.request, slot.began = head.request(body), began
            self._batch.take(slot.request, self._app.answering(slot.done))

    def _answer_each(self, asked: list[_Asked], replies: list[Reply]) -> None:
        for (connection, head, body, began), reply in zip(asked, replies, strict=True):
            slot = connection.row_slot
            slot.request, slot.began = head.request(body), began
            slot.done(reply)

    def _answer(self, asked: list[_Asked], bodies: list[bytes]) -> None:
        heads, draining, now = self._heads, self._app.draining, perf_counter()
        heads.renew()
        sends: list[tuple[Line, bytes]] = []
        seconds: list[float] = []
        for each, body in zip(asked, bodies, strict=True):
            connection, _, _, began = each
            slots = connection.slots
            if len(slots) != 1 or connection.closing or draining:  # others follow, or it closes, or is gone
                self._answer_each([each], [Reply(200, body)])
                continue
            slots.clear()
            sends.append((connection, heads.plain(len(body)) + body))
            seconds.append(now - began)
        if sends:
            self._app.count(asked[0].head.path, 200, len(sends))
            self._app.metrics.request_s.add_all(seconds)
        for connection, data in sends:
            connection.send(data)
