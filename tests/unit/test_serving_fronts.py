"""Odd requests to both fronts as raw bytes: the same answers to the byte, and the connection ends alike."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from support.bundles import saved
from support.fronts import started

from harness.serving import asgi, asgi_protocol, front
from harness.serving.app import App
from harness.serving.check import check
from harness.serving.http1 import Limits
from harness.serving.model import ServedModel

BODY = json.dumps({"features": [0.0, "tcp", "http", "SF", *[1.0] * 37]}).encode()
LAST = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def post(body: bytes = BODY, more: str = "", version: str = "1.1", path: str = "/predict") -> bytes:
    return f"POST {path} HTTP/{version}\r\nHost: a\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str = "/v2/health/ready", more: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode()


def with_length(text: str) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\nhello".encode()


# What is sent, and the statuses of the answers before the connection ends.
REQUESTS: list[tuple[Sequence[bytes], list[int]]] = [
    ([post() * 3 + get("/nothing") + post(b"{}") + LAST], [200, 200, 200, 404, 400, 200]),
    ([bytes([each]) for each in post()[:90]] + [post()[90:] + LAST], [200, 200]),
    ([get()[:-3], get()[-3:] + LAST], [200, 200]),
    ([post(version="1.0")], [200]),
    ([post(more="Connection: keep-alive\r\n", version="1.0")], [200]),
    ([post(more="Connection: x, CLOSE\r\n") + post()], [200]),
    ([post(version="2.0")], [505]),
    ([with_length("Transfer-Encoding: chunked")], [411]),
    ([with_length("Transfer-Encoding: chunked\r\nContent-Length: 5")], [400]),
    ([with_length("Transfer-Encoding: gzip")], [411]),
    ([with_length("Content-Length: 5\r\nContent-Length: 5")], [400]),
    ([with_length("Content-Length: 5, 5")], [400]),
    ([with_length("Content-Length: +5")], [400]),
    ([with_length("Content-Length: 0x5")], [400]),
    ([with_length("Content-Length:")], [400]),
    ([with_length("Content-Length: 99999999999999999999")], [413]),
    ([with_length("X: no length")], [411]),
    ([post(b"x" * (1 << 20) + b"x")], [413]),
    ([post() + post(b"x" * (3 << 20))], [200, 413]),
    ([get(more="X: " + "a" * 20_000 + "\r\n")], [431]),
    ([get("/" + "a" * 20_000)], [414]),
    ([get(more="X: a\r\n b\r\n")], [400]),
    ([b"GET /v2 HTTP/1.1\r\nHost : a\r\n\r\n"], [400]),
    ([b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"], [400]),
    ([b"GET /v2 HTTP/1.1\r\n\r\n"], [400]),
    ([b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"], [400]),
    ([b"\x16\x03\x01\0\0"], [400]),
    ([b"GET /v2 HTTP/1.1\nHost: a\n\n"], [400]),
    ([b"GET /v2 HTTP/1.1\r\nHost: a\n\r"], [400]),
    ([get("http://a/v2/health/live#x") + get("/v2/health/live?x=1") + get("/v2/") + LAST], [200, 200, 200, 200]),
    ([get("/%762") + get("/v2%2Fhealth") + get("//v2") + get("/v2/../v2") + LAST], [200, 404, 404, 404, 200]),
    ([get(method="PUT")], [501]),
    ([get(method="TRACE")], [501]),
    ([get(method="get")], [501]),
    ([b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"], [501]),
    ([get("/predict") + post(b"{}", path="/v2/health/live") + LAST], [405, 405, 200]),
    ([get(more="Connection: Upgrade\r\nUpgrade: websocket\r\n") + LAST], [200, 200]),
    ([post(more="Expect: 100-continue\r\n") + LAST], [200, 200]),
    ([post(more="Expect: 100-continue\r\n")[: -len(BODY)], BODY + LAST], [100, 200, 200]),
    ([post(more="Expect: miracles\r\n")], [417]),
    ([post(more="Content-Encoding: identity\r\n") + post(more="Content-Encoding: gzip\r\n")], [200, 415]),
    ([post(b"\xef\xbb\xbf" + BODY) + post(b"") + post(b"[" * 5000) + post(BODY.decode().encode("utf-16")) + LAST],
     [400, 400, 400, 400, 200]),
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return ServedModel.open(saved(tmp_path_factory.mktemp("fronts") / "bundle", "autoencoder").directory, None, 1)


def answers(address: tuple[str, int], parts: Sequence[bytes], *, half_closed: bool = False) -> bytes:
    """All that comes until the connection ends, sent in one piece or in parts of their own."""
    with socket.create_connection(address, timeout=60) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        text = b""
        for part in parts:
            if part.startswith(BODY):  # after what asks for it
                text += link.recv(1 << 16)
            link.sendall(part)
        if half_closed:
            link.shutdown(socket.SHUT_WR)
        return text + rest(link)


def rest(link: socket.socket) -> bytes:
    """What comes until the end."""
    text = b""
    while came := link.recv(1 << 16):
        text += came
    return text


def read(text: bytes) -> list[tuple[int, bytes, dict[bytes, bytes]]]:
    """Status, body, and the fields that say something."""
    found = []
    while text:
        head, _, text = text.partition(b"\r\n\r\n")
        fields = dict(re.findall(rb"\r\n([^:]+): ?([^\r]*)", head.lower()))
        fields.pop(b"date", None)
        length = int(fields.pop(b"content-length", 0))
        found.append((int(head[9:12]), text[:length], fields))
        text = text[length:]
    return found


def test_both_answer_odd_requests_with_the_same_bytes(model: ServedModel) -> None:
    async def played(kind: str) -> list[list[tuple[int, bytes, dict[bytes, bytes]]]]:
        server, address = await started(kind, model)
        asked = [asyncio.to_thread(answers, address, parts) for parts, _ in REQUESTS]
        half = asyncio.to_thread(answers, address, [post() * 2], half_closed=True)
        came = await asyncio.gather(*asked, half)
        metrics = app_of(server).metrics
        counted = sum(metrics.requests.values())
        assert metrics.request_s.count == counted == sum(len(each) for _, each in REQUESTS) - 1 + 2  # 100 is no answer
        assert await server.drain(30.0) == 0
        assert metrics.connections == 0
        return [read(text) for text in came]

    lean, asgi = asyncio.run(played("lean")), asyncio.run(played("asgi"))
    for (parts, statuses), one, other in zip([*REQUESTS, ([], [200, 200])], lean, asgi, strict=True):
        assert [status for status, _, _ in one] == statuses, parts
        assert other == one, parts


def app_of(server: Any) -> App:
    return server._front.app if isinstance(server, front.LeanServer) else server._app


def asked(address: tuple[str, int], request: bytes) -> tuple[int, bytes, dict[bytes, bytes]]:
    (answer,) = read(answers(address, [request], half_closed=True))
    return answer


@pytest.mark.parametrize("kind", ["lean", "asgi"])
def test_connections_beyond_the_bound_are_refused_at_once_and_counted(
    kind: str, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (asgi_protocol, front):
        monkeypatch.setattr(module, "LINGER_S", 60.0)

    async def play() -> None:
        server, address = await started(kind, model, limits=Limits(connections=3, lingering=1))
        metrics = app_of(server).metrics
        held = [await asyncio.open_connection(*address) for _ in range(3)]
        while metrics.connections < 3:
            await asyncio.sleep(0.01)
        with socket.create_connection(address, timeout=60) as beyond:  # it is answered before it asks
            ((status, body, fields),) = read(await asyncio.to_thread(rest, beyond))
            assert (status, json.loads(body)) == (503, {"error": "too many connections"})
            assert (fields[b"retry-after"], fields[b"connection"]) == (b"1", b"close")
            with socket.create_connection(address, timeout=60) as more:  # while another may still read why
                assert await asyncio.to_thread(rest, more) == b""
        assert (metrics.requests["other", 503], metrics.rejected["connections"]) == (1, 2)
        reader, writer = held[0]
        writer.write(LAST)
        assert b" 200 " in await reader.readline()  # those within it are served
        for _, each in held:
            each.close()
        while metrics.connections:
            await asyncio.sleep(0.01)
        assert (await asyncio.to_thread(asked, address, post()))[0] == 200
        assert await server.drain(30.0) == 0

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["lean", "asgi"])
def test_a_model_of_any_name_is_served_under_it(kind: str, model: ServedModel) -> None:
    provenance = replace(model.bundle.manifest.provenance, workload="my {flöw} 50%=?#")
    bundle = replace(model.bundle, manifest=replace(model.bundle.manifest, provenance=provenance))

    async def play() -> None:
        server, address = await started(kind, ServedModel(bundle, None, 1))
        app = server._app if kind == "asgi" else server._front.app
        assert await asyncio.to_thread(check, "http://{}:{}".format(*address), app, None, None) == []
        written = "/v2/models/" + quote(provenance.workload, safe="").lower()
        status, body, _ = await asyncio.to_thread(asked, address, get(written))
        assert (status, json.loads(body)["name"]) == (200, provenance.workload)
        assert await server.drain(30.0) == 0

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["lean", "asgi"])
def test_the_token_guards_all_but_health_whatever_the_case_of_its_scheme(kind: str, model: ServedModel) -> None:
    async def play() -> None:
        server, address = await started(kind, model, token="secret")
        statuses = {}
        paths = ("/metrics", *(("/docs", "/openapi.json") if kind == "asgi" else ()))
        given = {
            "none": "", "other": "Bearer secre", "longer": "Bearer secrets", "bare": "secret", "basic": "Basic secret",
            "upper": "Bearer secret", "lower": "bearer secret", "spaced": "BEARER  secret",
        }  # fmt: skip
        for path in paths:
            for name, text in given.items():
                more = f"Authorization: {text}\r\n" if text else ""
                statuses[path, name], _, fields = await asyncio.to_thread(asked, address, get(path, more))
                assert (b"www-authenticate" in fields) == (statuses[path, name] == 401)
        good = ("upper", "lower", "spaced")
        assert statuses == {(path, name): 200 if name in good else 401 for path in paths for name in given}
        assert (await asyncio.to_thread(asked, address, get("/v2/health/live")))[0] == 200
        assert (await asyncio.to_thread(asked, address, get("/openapi.yaml")))[0] == 401
        if kind == "asgi":
            more = "Authorization: bearer secret\r\n"
            described = json.loads((await asyncio.to_thread(asked, address, get("/openapi.json", more)))[1])
            assert described["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
            assert described["paths"]["/predict"]["post"]["security"] == [{"token": []}]
            assert "security" not in described["paths"]["/health"]["get"]
        assert await server.drain(30.0) == 0

    asyncio.run(play())


def test_a_client_that_pipelines_much_is_answered_a_part_at_a_time(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = front.Front.take

    def noting(self: front.Front, connection: front.Connection, *rest: Any) -> None:
        take(self, connection, *rest)
        taken.append(len(connection.slots))

    monkeypatch.setattr(front.Front, "take", noting)

    async def play() -> bytes:
        server, address = await started("lean", model)
        text = await asyncio.to_thread(answers, address, [get("/v2") * 500 + post(b"{}") + LAST])
        half = await asyncio.to_thread(answers, address, [get("/v2") * 500], half_closed=True)
        assert [status for status, _, _ in read(half)] == [200] * 500
        assert await server.drain(30.0) == 0
        return text

    assert [status for status, _, _ in read(asyncio.run(play()))] == [*[200] * 500, 400, 200]
    assert max(taken) == 64


@pytest.mark.parametrize("kind", ["lean", "asgi"])
def test_clients_that_ask_nothing_or_take_no_answer_are_given_up(
    kind: str, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "IDLE_S", 0.3)
    for module in (asgi, front):
        monkeypatch.setattr(module, "SWEEP_S", 0.1)
    monkeypatch.setattr(front, "Patience", partial(front.Patience, idle=0.3))

    async def play() -> None:
        server, address = await started(kind, model)
        metrics = app_of(server).metrics
        with socket.create_connection(address), socket.socket() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.connect(address)
            link.setblocking(False)
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(link, get("/metrics") * 2000))
            while metrics.connections < 2:
                await asyncio.sleep(0.01)
            while metrics.connections:
                await asyncio.sleep(0.01)
            sending.cancel()
        assert await server.drain(30.0) == 0

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["lean", "asgi"])
def test_what_cannot_be_answered_in_time_is_told_when_to_come_again(kind: str, model: ServedModel) -> None:
    async def play() -> None:
        server, address = await started(kind, model)
        admission = app_of(server).admission
        for rows in (1, 2):
            admission.cost.add(rows, 2.5 * rows)
        admission.waiting = 60  # rows of others, which would take 150 s
        status, body, fields = await asyncio.to_thread(asked, address, post())
        assert (status, json.loads(body)) == (503, {"error": "it would be answered after its deadline"})
        assert (fields[b"retry-after"], fields.get(b"connection")) == (b"153", None)
        admission.waiting = 0
        assert (await asyncio.to_thread(asked, address, post()))[0] == 200
        assert await server.drain(30.0) == 0

    asyncio.run(play())


@pytest.mark.parametrize("kind", ["lean", "asgi"])
def test_a_request_that_does_not_come_in_time_is_given_up(
    kind: str, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi_protocol, "REQUEST_S", 0.2)
    monkeypatch.setattr(front, "Patience", partial(front.Patience, request=0.2))

    async def play() -> bytes:
        server, address = await started(kind, model)
        text = await asyncio.to_thread(answers, address, [post() + post()[:-9]])
        assert await server.drain(30.0) == 0
        return text

    assert [status for status, _, _ in read(asyncio.run(play()))] == [200, 408]
