"""A turn of the loop: what came is taken together, scored once, and answered with one send per connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from harness.serving.app import App
from harness.serving.exchange import Reply, Request, Scores, Scoring
from harness.serving.front import BufferedConnection, Connection, Front
from harness.serving.http1 import Limits
from harness.serving.metrics import Metrics


class Scored:
    """Handlers that answer a body by itself, after a score."""

    taker = None
    quota = None
    draining = False

    def __init__(self) -> None:
        self.metrics, self.batches, self.answered = Metrics(), [], 0

    def handle(self, request: Request) -> Scoring:
        def finish(scores: Scores) -> Reply:
            return Reply(200, request.body, "text/plain")

        return Scoring(np.zeros((1, 2), dtype=np.float32), finish)

    def score(self, batch: list[Scoring]) -> list[Reply]:
        self.batches.append(len(batch))
        return [part.finish(np.zeros(1, dtype=np.float32)) for part in batch]

    def count(self, request: Request | None, status: int) -> None:
        self.answered += 1


class Sent:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def request(body: bytes, more: str = "") -> bytes:
    return f"POST /a HTTP/1.1\r\nHost: a\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def turned(steps: Callable[[Front, Scored, Callable[[], tuple[Connection, Sent]]], None]) -> tuple[Scored, Front]:
    """A front after some steps within a turn of the loop and the turn after it."""

    async def run() -> tuple[Scored, Front]:
        app = Scored()
        front = Front(cast("App", app), Limits())

        def opened() -> tuple[Connection, Sent]:
            connection, transport = front.connection(), Sent()
            connection.connection_made(cast("Any", transport))
            return connection, transport

        steps(front, app, opened)
        await asyncio.sleep(0)
        return app, front

    return asyncio.run(run())


def received(connection: Connection, data: bytes) -> None:
    """As asyncio hands it over."""
    assert isinstance(connection, BufferedConnection)
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


def test_requests_of_a_turn_are_scored_once_and_each_connection_is_sent_to_once() -> None:
    transports: list[Sent] = []

    def steps(front: Front, app: Scored, opened: Callable[[], tuple[Connection, Sent]]) -> None:
        for number in range(3):
            connection, transport = opened()
            transports.append(transport)
            received(connection, request(b"%d" % number) + request(b"then %d" % number))
        assert front.in_flight == 3  # bytes that nobody has looked at
        assert app.batches == []

    app, front = turned(steps)
    assert app.batches == [6]
    assert front.in_flight == 0
    for number, transport in enumerate(transports):
        (data,) = transport.writes
        bodies = [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK\r\n")[1:]]
        assert bodies == [b"%d" % number, b"then %d" % number]


@pytest.mark.parametrize("lost", [True, False])
def test_what_came_before_a_client_left_is_taken(lost: bool) -> None:
    transports: list[Sent] = []

    def steps(front: Front, app: Scored, opened: Callable[[], tuple[Connection, Sent]]) -> None:
        connection, transport = opened()
        transports.append(transport)
        received(connection, request(b"last"))
        if lost:
            connection.connection_lost(None)
        else:
            assert connection.eof_received()  # kept open until it is answered

    app, front = turned(steps)
    assert app.batches == [1]
    assert (app.answered, len(transports[0].writes)) == ((0, 0) if lost else (1, 1))
    assert front.in_flight == 0
    assert app.metrics.in_flight == 0
    assert transports[0].closed is not lost


def test_an_answer_that_closes_says_so_and_nothing_after_it_is_read() -> None:
    transports: list[Sent] = []

    def steps(front: Front, app: Scored, opened: Callable[[], tuple[Connection, Sent]]) -> None:
        connection, transport = opened()
        transports.append(transport)
        received(connection, request(b"a", "Connection: close\r\n"))
        received(connection, request(b"b"))

    app, _ = turned(steps)
    assert app.batches == [1]
    (data,) = transports[0].writes
    assert data.endswith(b"Connection: close\r\n\r\na")
    assert transports[0].closed
