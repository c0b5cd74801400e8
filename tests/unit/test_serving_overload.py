"""A front whose application is stuck, or slow: what cannot be answered in time is refused, and all else is answered."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import struct
from typing import Any

import pytest
from support.bundles import saved
from support.fronts import started

from harness.serving.admission import Admission, CostModel, Intake
from harness.serving.app import App
from harness.serving.batch import RequestBatch
from harness.serving.exchange import Done, Reply, Request, Scoring
from harness.serving.model import ServedModel

BODY = json.dumps({"features": [0.0, "tcp", "http", "SF", *[1.0] * 37]}).encode()
POST = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
FRONTS = pytest.mark.parametrize("kind", ["lean", "asgi"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return ServedModel.open(saved(tmp_path_factory.mktemp("overload") / "bundle", "autoencoder").directory, None, 1)


class Stuck:
    """Keeps the rows that come until it is told to go on."""

    def __init__(self, app: App) -> None:
        self.batch = RequestBatch(app)
        self.held: list[tuple[Request, Done]] = []

    def take(self, request: Request, done: Done) -> None:
        if request.method == "POST":
            self.held.append((request, done))
        else:
            self.batch.take(request, done)

    def take_rows(self, scoring: Scoring, done: Done) -> bool:
        return False

    def rows_together(self) -> int:
        return 1

    def go_on(self) -> None:
        held, self.held = self.held, []
        for request, done in held:
            self.batch.take(request, done)

    async def holds(self, requests: int) -> None:
        while len(self.held) < requests:
            await asyncio.sleep(0.005)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: tuple[str, int], sent: bytes = b"") -> Client:
        client = cls(*await asyncio.open_connection(*address))
        client.writer.write(sent)
        return client

    async def answer(self) -> tuple[int, Any, dict[str, str]]:
        """The next: status, body, and the fields but the date."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:-2])
        fields.pop("date")
        return int(head[0].split()[1]), json.loads(await self.reader.readexactly(int(fields["content-length"]))), fields


@pytest.mark.parametrize("bounded", ["by number", "by time"])
def test_a_stuck_application_is_given_what_it_can_answer_in_time_and_no_more(bounded: str, model: ServedModel) -> None:
    async def play(kind: str) -> list[Any]:
        now, takers = [0.0], list[Stuck]()

        def change(app: App) -> None:
            app.taker = taker = Stuck(app)
            takers.append(taker)
            app.intake = Intake(Admission(queue_rows=3, deadline_s=10.0), lambda: now[0])

        server, address = await started(kind, model, change=change)
        (taker,), rows = takers, 3
        if bounded == "by time":
            first = [await Client.open(address, POST) for _ in range(2)]
            await taker.holds(2)
            now[0] += 12.0
            taker.go_on()
            assert [(await each.answer())[0] for each in first] == [200, 200]
            rows = 1  # 6 s each
        accepted = [await Client.open(address, POST) for _ in range(rows)]
        await taker.holds(rows)
        beyond = await Client.open(address, POST)
        refused = await beyond.answer()
        beyond.writer.write(LIVE + POST + LIVE)  # the connection goes on, in order
        others = [await beyond.answer() for _ in range(3)]
        accepted[0].writer.write(POST + LIVE + b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n" + LIVE)
        later = await Client.open(address, LIVE)  # nothing of what was accepted before it is answered yet
        assert (await later.answer())[0] == 200
        assert len(taker.held) == rows
        taker.go_on()
        for each in accepted:
            assert (await each.answer())[0] == 200
        pipelined = [await accepted[0].answer() for _ in range(3)]
        assert await accepted[0].reader.read() == b""
        again = await Client.open(address, POST)
        await taker.holds(1)
        taker.go_on()
        assert (await again.answer())[0] == 200
        assert await server.drain(30.0) == 0
        return [refused, *others, *pipelined]

    lean, asgi = [asyncio.run(play(kind)) for kind in ("lean", "asgi")]
    assert [status for status, _, _ in lean] == [503, 200, 503, 200, 503, 200, 501]
    why = {"by time": "it would be answered after its deadline", "by number": "too many rows wait already"}
    assert lean[0][1] == {"error": why[bounded]}
    assert lean[0][2]["retry-after"] == ("1" if bounded == "by number" else "12")
    assert asgi == lean


@FRONTS
def test_what_was_accepted_is_answered_by_a_drain_and_let_go_where_its_client_is_gone(
    kind: str, model: ServedModel
) -> None:
    async def play() -> None:
        takers: list[Stuck] = []

        def change(app: App) -> None:
            app.taker = taker = Stuck(app)
            takers.append(taker)

        server, address = await started(kind, model, change=change)
        (taker,) = takers
        app: App = taker.batch._app  # type: ignore[assignment]
        gone, stays = [await Client.open(address, POST + POST) for _ in range(2)]
        while app.intake.waiting < 4:
            await asyncio.sleep(0.005)
        link: socket.socket = gone.writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no end
        gone.writer.transport.abort()
        while app.metrics.connections > 1:
            await asyncio.sleep(0.005)
        assert app.intake.waiting == (4 if kind == "lean" else 3)  # one of them waited before the application
        draining = asyncio.create_task(server.drain(30.0))
        while not app.draining:
            await asyncio.sleep(0)

        async def pumping() -> None:
            while True:
                taker.go_on()
                await asyncio.sleep(0.005)

        pump = asyncio.create_task(pumping())
        answers = [await stays.answer() for _ in range(2)]
        assert [(status, fields.get("connection")) for status, _, fields in answers] == [(200, None), (200, "close")]
        assert await draining == 0
        while app.intake.waiting:
            await asyncio.sleep(0.005)
        pump.cancel()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_the_application_is_given_a_part_in_every_turn_so_that_others_are_refused_in_between(
    model: ServedModel,
) -> None:
    async def play() -> None:
        turn, turns, takers = [0], list[int](), list[Stuck]()

        class Noted(Stuck):
            def take(self, request: Request, done: Done) -> None:
                turns.append(turn[0])
                super().take(request, done)

        def change(app: App) -> None:
            app.taker = taker = Noted(app)
            takers.append(taker)

        async def counting() -> None:
            while True:
                turn[0] += 1
                await asyncio.sleep(0)

        server, address = await started("asgi", model, change=change)
        clients = [await Client.open(address, LIVE) for _ in range(50)]
        for each in clients:
            assert (await each.answer())[0] == 200
        turns.clear()
        ticking = asyncio.create_task(counting())
        for each in clients:
            each.writer.write(POST)
        await takers[0].holds(50)
        ticking.cancel()
        assert max(turns.count(number) for number in set(turns)) <= 16
        takers[0].go_on()
        for each in clients:
            assert (await each.answer())[0] == 200
        assert await server.drain(30.0) == 0

    asyncio.run(play())


@FRONTS
def test_requests_leave_nothing_that_the_collector_of_cycles_would_have_to_find(kind: str, model: ServedModel) -> None:
    async def play() -> int:
        server, address = await started(kind, model)
        clients = [await Client.open(address) for _ in range(4)]

        async def ask(times: int) -> None:
            for _ in range(times):
                for each in clients:
                    each.writer.write(POST)
                for each in clients:
                    assert (await each.answer())[0] == 200

        await ask(5)
        gc.collect()
        gc.disable()
        try:
            await ask(50)
            found = gc.collect()
        finally:
            gc.enable()
        assert await server.drain(30.0) == 0
        return found

    assert asyncio.run(play()) < 50  # of 200 requests


def test_a_turn_scores_what_takes_two_milliseconds_so_that_others_are_read_in_between(model: ServedModel) -> None:
    admission = Admission(queue_rows=100, deadline_s=10.0)
    app = App(model, apis=("documents",), admission=admission, drift_window=100, token=None)
    flushes, replies = list[Any](), list[Reply]()
    calls: list[int] = []
    score = app.score
    app.score = lambda batch: (calls.append(sum(len(part.rows) for part in batch)), score(batch))[1]  # type: ignore[method-assign]
    app.admission.cost.rows_of_a_turn = lambda: 4  # type: ignore[method-assign]
    batch = RequestBatch(app, flushes.append)
    asked = Request("POST", "/predict", {}, BODY, True)
    for _ in range(10):
        batch.take(asked, replies.append)
    turns = []
    while flushes:
        assert app.admission.waiting == 10 - len(replies)
        (flush,) = flushes
        flushes.clear()
        flush()
        turns.append(len(replies))
    assert (turns, calls) == ([4, 8, 10], [4, 4, 2])
    assert {reply.status for reply in replies} == {200}
    assert (app.admission.waiting, app.metrics.in_flight) == (0, 0)


@pytest.mark.parametrize(
    ("calls", "rows"),
    [
        ([], 16),
        ([(100, 0.01015), (200, 0.02015)], 18),  # 0.15 ms a call and 0.1 ms a row
        ([(10, 0.0115), (20, 0.0215)], 4),  # 1.5 ms a call and 1 ms a row
        ([(10, 0.004), (20, 0.004)], 25),  # rows cost nothing, and no more were tried
        ([(10, 0.001), (20, 0.001)], 30),
        ([(1000, 0.001), (2000, 0.002)], 2000),
        ([(16, 0.008), (16, 0.008)], 4),  # calls that are alike are taken for proportional
    ],
)
def test_rows_of_a_turn_are_those_that_the_learnt_cost_allows(calls: list[tuple[int, float]], rows: int) -> None:
    cost = CostModel()
    for n, seconds in calls:
        cost.add(n, seconds)
    assert cost.rows_of_a_turn() == rows


def test_requests_of_a_turn_are_in_proportion_whatever_the_slope_of_the_last_ones() -> None:
    """Under a steady load the slope is noise: by it turns grew by a quarter each, and refusals waited for them."""
    admission = Admission(queue_rows=1000, deadline_s=1.0)
    assert Intake(admission).requests_of_a_turn() == 16
    for n, seconds in ((13, 0.00200), (14, 0.00201), (15, 0.00202)):
        admission.cost.add(n, seconds)
    assert admission.cost.rows_of_a_turn() > 15
    assert Intake(admission).requests_of_a_turn() == 13
