"""What a drain must not lose: a request that comes as its idle connection is closed, a client still being secured."""

from __future__ import annotations

import array
import asyncio
import fcntl
import json
import socket
import ssl
import termios
from pathlib import Path

import pytest
from support.bundles import saved
from support.certificates import MISSING, certificate
from support.fronts import started

from harness.serving import asgi, front, listening
from harness.serving.model import ServedModel

BODY = json.dumps({"features": [0.0, "tcp", "http", "SF", *[1.0] * 37]}).encode()
REQUEST = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY), BODY,
)  # fmt: skip
FRONTS = pytest.mark.parametrize("kind", ["lean", "asgi"])
SECURED = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return ServedModel.open(saved(tmp_path_factory.mktemp("drain") / "bundle", "autoencoder").directory, None, 1)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (front, asgi):
        monkeypatch.setattr(module, "GRACE_S", 0.05)


def exchanged(link: socket.socket) -> bytes:
    """All that comes after a request, up to the end of the connection."""
    link.settimeout(60)
    link.sendall(REQUEST)
    return ended(link)


def ended(link: socket.socket) -> bytes:
    text = b""
    while part := link.recv(1 << 16):
        text += part
    return text


def answered(link: socket.socket) -> bytes:
    link.settimeout(60)
    link.sendall(REQUEST)
    text = b""
    while not text.endswith(b"}"):
        text += link.recv(1 << 16)
    return text


def closes(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"connection: close\r\n" in answer.lower()


async def drained(kind: str, model: ServedModel, links: list[socket.socket]) -> tuple[int, bytes]:
    """Requests lost by a drain with one idle client, which is put into ``links``, and what that client still reads."""
    server, address = await started(kind, model)
    links.append(socket.create_connection(address))
    assert b"200 OK" in await asyncio.to_thread(answered, links[0])
    lost = await server.drain(30.0)
    return lost, await asyncio.to_thread(ended, links[0])


@FRONTS
def test_a_request_that_comes_as_its_connection_is_closed_is_answered(
    kind: str, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[socket.socket] = []
    outcomes: list[bool] = []

    def late(transport: asyncio.Transport) -> bool:
        if not outcomes:
            links[0].sendall(REQUEST)  # which the loop has not seen yet
        outcomes.append(listening.hang_up(transport))
        return outcomes[-1]

    for module in (front, asgi):
        monkeypatch.setattr(module, "hang_up", late)
    lost, answer = asyncio.run(drained(kind, model, links))
    assert (lost, outcomes[0], closes(answer)) == (0, False, True)


@FRONTS
def test_a_request_after_that_is_not_acknowledged(
    kind: str, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[socket.socket] = []
    waiting = array.array("i", [0])

    def late(transport: asyncio.Transport) -> bool:
        closed = listening.hang_up(transport)
        links[0].sendall(REQUEST)
        fcntl.ioctl(links[0].fileno(), termios.TIOCOUTQ, waiting)
        return closed

    for module in (front, asgi):
        monkeypatch.setattr(module, "hang_up", late)
    # An end, and no reset: the client may send it to another server.
    assert asyncio.run(drained(kind, model, links)) == (0, b"")
    assert waiting[0] == len(REQUEST)


@SECURED
@FRONTS
def test_a_client_that_is_being_secured_is_answered(
    kind: str, model: ServedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (front, asgi):  # from when it is secured
        monkeypatch.setattr(module, "GRACE_S", 30.0)
    files = certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(files[0]))

    def secured(link: socket.socket) -> bytes:
        with context.wrap_socket(link, server_hostname="127.0.0.1") as safe:
            return exchanged(safe)

    async def play() -> tuple[int, bytes]:
        server, address = await started(kind, model, files)
        link = socket.create_connection(address)
        draining = asyncio.create_task(server.drain(60.0))
        await asyncio.sleep(0.3)  # until only what was accepted is served
        assert not draining.done()
        answer = await asyncio.to_thread(secured, link)
        return await draining, answer

    lost, answer = asyncio.run(play())
    assert (lost, closes(answer)) == (0, True)


@SECURED
@FRONTS
def test_an_idle_secured_client_does_not_hold_the_drain(kind: str, model: ServedModel, tmp_path: Path) -> None:
    files = certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(files[0]))

    async def play() -> tuple[int, bytes]:
        server, address = await started(kind, model, files)

        def secured() -> ssl.SSLSocket:
            safe = context.wrap_socket(socket.create_connection(address), server_hostname="127.0.0.1")
            assert b"200 OK" in answered(safe)
            return safe

        safe = await asyncio.to_thread(secured)
        lost = await asyncio.wait_for(server.drain(600.0), 60)
        return lost, await asyncio.to_thread(ended, safe)

    assert asyncio.run(play()) == (0, b"")
