"""Every refusal is counted by its true reason, on both fronts, and so is what a drain leaves without an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.bundles import saved
from support.fronts import started

from harness.serving import asgi_protocol, front
from harness.serving.admission import Admission, Intake
from harness.serving.app import App
from harness.serving.exchange import Done, Reply, Request
from harness.serving.http1 import Limits
from harness.serving.model import ServedModel
from harness.serving.quota import Quota
from harness.serving.relay import Link, Relay

BODY = json.dumps({"features": [0.0, "tcp", "http", "SF", *[1.0] * 37]}).encode()
FRONTS = pytest.mark.parametrize("kind", ["lean", "asgi"])


def post(body: bytes = BODY) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return ServedModel.open(saved(tmp_path_factory.mktemp("refusals") / "bundle", "autoencoder").directory, None, 1)


def _full(app: App) -> None:
    app.admission.waiting = 100


def _late(app: App) -> None:
    for rows in (1, 2):
        app.admission.cost.add(rows, 90.0 * rows)
    app.admission.waiting = 1


def _full_hands(app: App) -> None:
    app.intake = Intake(Admission(queue_rows=3, deadline_s=10.0))
    app.intake._admission.waiting = 3


def _late_hands(app: App) -> None:
    app.intake = Intake(Admission(queue_rows=3, deadline_s=10.0))
    app.intake._admission.cost.add(1, 9.0)
    app.intake._admission.waiting = 1


def _no_scorer(app: App) -> None:
    app.taker = Relay(app, [Link("nowhere", 100)], 0)


def _few(app: App) -> None:
    app.quota = Quota(0.01)
    app.quota.wait("127.0.0.1")


class Case(NamedTuple):
    """A request that is refused."""

    reason: str
    status: int
    sent: bytes
    change: Callable[[App], None] = lambda _: None
    token: str | None = None


CASES = {
    "queue": Case("queue", 503, post(), _full),
    "deadline": Case("deadline", 503, post(), _late),
    "requests in hand": Case("queue", 503, post(), _full_hands),
    "requests in hand, late": Case("deadline", 503, post(), _late_hands),
    "scorer": Case("scorer", 503, post(), _no_scorer),
    "quota": Case("quota", 429, post(), _few),
    "auth": Case("auth", 401, post(), token="secret"),
    "body": Case("size", 413, b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"),
    "head": Case("size", 431, b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n"),
    "request line": Case("size", 414, b"GET /" + b"x" * 20_000),
    "path": Case("invalid", 404, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"),
    "field": Case("invalid", 400, post(b"{}")),
    "no request": Case("invalid", 501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
}


def _app(server: Any) -> App:
    app: App = server._app if hasattr(server, "_app") else server._front.app
    return app


async def _answered(address: tuple[str, int], sent: bytes) -> int:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


@FRONTS
@pytest.mark.parametrize("name", CASES)
def test_a_refusal_is_counted_by_its_reason(kind: str, name: str, model: ServedModel) -> None:
    case = CASES[name]

    async def play() -> None:
        server, address = await started(kind, model, token=case.token, change=case.change)
        app = _app(server)
        assert await _answered(address, case.sent) == case.status
        assert dict(app.metrics.rejected) == {case.reason: 1}
        text = app.handle(Request("GET", "/metrics", {"authorization": f"Bearer {case.token}"}, b"", True))
        assert isinstance(text, Reply)
        families = {each.name: each for each in text_string_to_metric_families(text.body.decode())}
        (sample,) = families["lparbench_rejected"].samples
        assert (sample.labels, sample.value) == ({"reason": case.reason}, 1)
        await server.drain(5.0)

    asyncio.run(asyncio.wait_for(play(), 60))


@FRONTS
def test_a_request_whose_end_does_not_come_is_counted(
    kind: str, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "SWEEP_S", 0.05)
    monkeypatch.setattr(asgi_protocol, "REQUEST_S", 0.05)

    async def play() -> None:
        server, address = await started(kind, model, limits=Limits())
        if kind == "lean":
            server._front._patience = front.Patience(request=0.05)
            server._sweeping.cancel()
            server._sweeping = asyncio.create_task(server._front.sweep())
        assert await _answered(address, post()[:-1]) == 408
        assert dict(_app(server).metrics.rejected) == {"timeout": 1}
        await server.drain(5.0)

    asyncio.run(asyncio.wait_for(play(), 60))


class Never:
    """Answers nothing."""

    def __init__(self) -> None:
        self.held: list[Done] = []

    def take(self, request: Request, done: Done) -> None:
        self.held.append(done)

    def take_rows(self, scoring: Any, done: Done) -> bool:
        return False

    def rows_together(self) -> int:
        return 1


@FRONTS
def test_what_a_drain_leaves_without_an_answer_is_counted(
    kind: str, model: ServedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.serving.serve_app import Serving, serve
    from harness.serving.spec import ServeSpec

    async def play() -> None:
        taker = Never()

        def change(app: App) -> None:
            app.taker = taker

        server, address = await started(kind, model, change=change)
        app = _app(server)
        spec = ServeSpec(str(tmp_path), drain_s=0.3)
        stop, at_once = asyncio.Event(), asyncio.Event()
        serving = Serving(spec, app, server, "http://a", 1)
        running = asyncio.create_task(serve(serving, None, lambda _: None, (stop, at_once), lambda: None))
        clients = [await asyncio.open_connection(*address) for _ in range(2)]
        for _, writer in clients:
            writer.write(post())
        while len(taker.held) < 2:
            await asyncio.sleep(0.005)
        stop.set()
        assert await running == 2
        assert dict(app.metrics.rejected) == {"draining": 2}

    asyncio.run(asyncio.wait_for(play(), 60))
    assert "2 requests got no answer" in capsys.readouterr().err
