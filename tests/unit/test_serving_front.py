"""A turn of the loop: what came is taken together, scored once, and answered with one send per connection."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.bundles import saved

from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.exchange import Done, Reply, Request, Scores, Scoring
from harness.serving.front import BufferedConnection, Connection, Front
from harness.serving.http1 import Head, Limits
from harness.serving.metrics import Metrics
from harness.serving.model import ServedModel


class Scored:
    """Handlers that answer a body by itself, after a score."""

    taker = None
    settle = None
    quota = None
    draining = False

    def __init__(self) -> None:
        self.metrics, self.batches, self.answered = Metrics(), [], 0
        self.admission = Admission(queue_rows=100, deadline_s=1.0)

    def handle(self, request: Request) -> Scoring:
        def finish(scores: Scores) -> Reply:
            return Reply(200, request.body, "text/plain")

        return Scoring(np.zeros((1, 2), dtype=np.float32), finish)

    def refused(self, method: str, peer: object) -> None:
        return None

    def answering(self, done: Done) -> Done:
        return done

    def score(self, batch: list[Scoring]) -> list[Reply]:
        self.batches.append(len(batch))
        return [part.finish(np.zeros(1, dtype=np.float32)) for part in batch]

    def row_route(self, head: Head) -> None:
        return None

    def count(self, path: str | None, status: int, *, reason: str = "") -> None:
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


ROW: list[Any] = [0.0, "tcp", "http", "SF", *[1.0] * 37]
UNSCORED = 1e6  # a duration whose score is no number


def posted(row: list[Any], more: str = "") -> bytes:
    body = json.dumps({"features": row}).encode().ljust(300)  # all of one length, so that their heads become known
    return f"POST /predict HTTP/1.1\r\nHost: a\r\n{more}Content-Length: 300\r\n\r\n".encode() + body


def test_rows_taken_together_are_answered_as_each_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ServedModel.open(saved(tmp_path / "bundle", "autoencoder").directory, "onnxruntime", 1)
    score = model.score
    largest = model.encoded([model.encoder.check([UNSCORED, *ROW[1:]], "row")])[0, 0]  # type: ignore[union-attr]

    def by_row(rows: Any) -> Any:  # whose last bit does not depend on its place in the batch
        return np.where(rows[:, 0] == largest, np.float32(np.nan), np.concatenate([score(row[None]) for row in rows]))

    monkeypatch.setattr(model, "score", by_row)
    plain = [posted([float(number), *ROW[1:]]) for number in range(10)]
    odd = [
        posted([True, *ROW[1:]]), posted(ROW[1:]), posted([9.0, "none", *ROW[2:]]), posted([UNSCORED, *ROW[1:]]),
        plain[1] + plain[2], b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n", plain[3][:-9], plain[4],
        posted(ROW, "Connection: close\r\n"), plain[5],
    ]  # fmt: skip

    def played(*, together: bool) -> tuple[list[list[bytes]], Any, App]:
        app = App(model, apis=("documents", "v2"), admission=Admission(queue_rows=10, deadline_s=10), drift_window=100,
                  token=None)  # fmt: skip
        if not together:
            monkeypatch.setattr(app, "row_route", lambda _: None)

        async def run() -> list[Sent]:
            front = Front(app, Limits())
            lines = []
            for _ in range(12):
                connection, transport = front.connection(), Sent()
                connection.connection_made(cast("Any", transport))
                lines.append((connection, transport))
            for number, turn in enumerate((plain[:1] * 9, plain + plain[:2], odd, plain[:9], plain[:1])):
                app.draining = number == 3
                for (connection, _), data in zip(lines, turn, strict=False):
                    front.came(connection, data)
                if number != 1:  # where too many come
                    front.came(lines[number][0], plain[7])  # a second one within the turn
                await asyncio.sleep(0)
                assert (front.in_flight, app.metrics.in_flight, app.admission.waiting) == (0, 0, 0)
            return [transport for _, transport in lines]

        sent = asyncio.run(run())
        writes = [[re.sub(rb"Date: [^\r]+", b"", data) for data in each.writes] for each in sent]
        return writes, [each.closed for each in sent], app

    alone, together = played(together=False), played(together=True)
    assert together[:2] == alone[:2]
    statuses = {int(data[9:12]) for writes in together[0] for data in writes}
    assert statuses == {200, 400, 500, 503}
    assert together[2].metrics.requests == alone[2].metrics.requests
    assert together[2].metrics.decisions == alone[2].metrics.decisions
    assert together[2].metrics.request_s.count == alone[2].metrics.request_s.count
    assert together[2].scorer.drift.state() == alone[2].scorer.drift.state()  # type: ignore[union-attr]
