"""The lean front: an asyncio protocol that answers HTTP/1.1; all that came in a turn of the loop is scored at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from time import monotonic, perf_counter, time
from typing import cast

from harness.serving.app import App
from harness.serving.batch import Batch
from harness.serving.exchange import HttpError, Reply, Request, Takes
from harness.serving.http1 import Head, Limits, Parser
from harness.serving.loop import BACKLOG

_REASON = {int(status): status.phrase for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SWEEP_S = 1.0
_READ = 64 << 10  # bytes read at once


@dataclass(frozen=True)
class Patience:
    """Seconds that a connection may take."""

    request: float = 10.0  # from its first byte to its last
    idle: float = 75.0


class _Slot:
    """The place of a request's answer among those of its connection."""

    __slots__ = ("began", "connection", "reply", "request")

    def __init__(self, connection: Connection, request: Request | None, reply: Reply | None = None) -> None:
        self.connection, self.request, self.reply, self.began = connection, request, reply, perf_counter()

    def done(self, reply: Reply) -> None:
        """Take the answer, and send it when it is the next."""
        self.reply = reply
        slots = self.connection.slots
        if slots and slots[0] is self:  # none are left when the client is gone
            self.connection.answer()


class Front:
    """What all connections share."""

    def __init__(self, app: App, limits: Limits, *, patience: Patience | None = None, most: int = 4096) -> None:
        self.app, self.limits, self.most = app, limits, most
        self._patience = patience or Patience()
        self.connections: set[Connection] = set()
        self._batch: Takes = app.taker or Batch(app)
        self.heads: dict[bytes, Head] = {}
        self._prefix: dict[tuple[int, str], bytes] = {}  # of answers in this second
        self._prefix_at = 0
        self.incoming = memoryview(bytearray(_READ))

    def connection(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self)

    def take(self, connection: Connection, request: Request) -> None:
        """Handle a request that is whole."""
        slot = _Slot(connection, request)
        connection.slots.append(slot)
        refused = self.app.refused(request, connection.peer) if self.app.quota is not None else None
        if refused is not None:
            slot.done(refused)
            return
        self._batch.take(request, slot.done)

    def encoded(self, slot: _Slot, *, close: bool) -> bytes:
        """An answer's bytes."""
        reply = slot.reply
        assert reply is not None
        self.app.count(slot.request, reply.status)
        self.app.metrics.request_s.add(perf_counter() - slot.began)
        key, now = (reply.status, reply.content_type), int(time())
        if now != self._prefix_at:
            self._prefix.clear()
            self._prefix_at = now
        prefix = self._prefix.get(key) or self._begun(key, now)
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers).encode() if reply.headers else b""
        head = b"%b%d\r\n%b%b\r\n" % (prefix, len(reply.body), more, b"Connection: close\r\n" if close else b"")
        return head if slot.request is not None and slot.request.method == "HEAD" else head + reply.body

    def _begun(self, key: tuple[int, str], now: int) -> bytes:
        status, content_type = key
        text = (
            f"HTTP/1.1 {status} {_REASON.get(status, '')}\r\nDate: {formatdate(now, usegmt=True)}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: "
        )
        prefix = self._prefix[key] = text.encode()
        return prefix

    async def sweep(self) -> None:
        """Close connections that take too long, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = monotonic()
            for connection in list(self.connections):
                connection.expire(now, self._patience)


class LeanServer:
    """The front, listening."""

    parser = "lparbench"

    def __init__(self, front: Front, server: asyncio.Server, listener: socket.socket) -> None:
        self._front, self._server, self._listener = front, server, listener
        self._sweeping = asyncio.create_task(front.sweep())

    @classmethod
    async def start(cls, app: App, limits: Limits, listener: socket.socket, tls: ssl.SSLContext | None) -> LeanServer:
        """Listen on a bound socket."""
        front = Front(app, limits)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(front.connection, sock=listener, ssl=tls, backlog=BACKLOG)
        return cls(front, server, listener)

    @property
    def in_flight(self) -> int:
        """Of `harness.serving.loop.Server`."""
        return sum(len(connection.slots) for connection in self._front.connections)

    async def drain(self, seconds: float) -> int:
        """Of `harness.serving.loop.Server`; idle connections are closed after a moment."""
        self._front.app.draining = True
        self._listener.listen(0)  # no more than one new connection waits; those that wait already are accepted
        await asyncio.sleep(0.1)
        self._server.close()
        self._sweeping.cancel()
        connections = self._front.connections
        deadline = monotonic() + seconds
        grace = monotonic() + min(0.5, seconds)
        while connections and monotonic() < deadline:
            if monotonic() >= grace:
                for connection in [each for each in connections if each.idle]:
                    connection.close()
            await asyncio.sleep(0.01)
        lost = self.in_flight
        for connection in list(connections):
            connection.close()
        return lost


class Connection(asyncio.BufferedProtocol):
    """One client."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._parser = Parser(front.limits, front.heads)
        self._transport: asyncio.Transport | None = None
        self._closing = False  # no further request is read
        self._since = monotonic()
        self.slots: deque[_Slot] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.BufferedProtocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._front.connections.add(self)
        self._front.app.metrics.connections = len(self._front.connections)
        if len(self._front.connections) > self._front.most:
            self._refuse(HttpError(503, "too many connections", (("Retry-After", "1"),)))

    @property
    def peer(self) -> object:
        """The address of the other end."""
        return None if self._transport is None else self._transport.get_extra_info("peername")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of asyncio.BufferedProtocol
        """Of asyncio.BufferedProtocol."""
        self._closing = True
        self._front.connections.discard(self)
        self._front.app.metrics.connections = len(self._front.connections)
        self.slots.clear()

    def pause_writing(self) -> None:
        """The client does not read its answers: nothing more of it is read either."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Of asyncio.BufferedProtocol."""
        if self._transport is not None and not self._closing:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more; what it asked is still answered."""
        self._closing = True
        return bool(self.slots)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - of asyncio.BufferedProtocol
        """The front's one buffer: what was read into it is taken before another connection reads."""
        return self._front.incoming

    def buffer_updated(self, nbytes: int) -> None:
        """Of asyncio.BufferedProtocol."""
        if self._closing:
            return
        parser, now = self._parser, monotonic()
        if parser.idle:
            self._since = now
        request = parser.whole(bytes(self._front.incoming[:nbytes]))
        if request is not None:  # as nearly always
            self._since = now
            self._closing = not request.keep_alive
            self._front.take(self, request)
            return
        try:
            while not self._closing and (request := parser.next()) is not None:
                self._since = now
                self._closing = not request.keep_alive
                self._front.take(self, request)
                if parser.idle:
                    break
        except HttpError as error:
            self._refuse(error)
            return
        if parser.wants_continue() and not self.slots and self._transport is not None:
            self._transport.write(_CONTINUE)

    def answer(self) -> None:
        """Send the answers that are next."""
        transport, slots, parts = self._transport, self.slots, []
        ending = self._closing or self._front.app.draining
        while slots and slots[0].reply is not None:
            slot = slots.popleft()
            parts.append(self._front.encoded(slot, close=ending and not slots))
        if transport is None or transport.is_closing() or not parts:
            return
        transport.write(parts[0] if len(parts) == 1 else b"".join(parts))
        if ending and not slots:
            transport.close()

    def _refuse(self, error: HttpError) -> None:
        self._closing = True
        self.slots.append(_Slot(self, None, error.reply()))
        self.answer()

    @property
    def idle(self) -> bool:
        """Whether nothing was begun."""
        return not self.slots and self._parser.idle

    def expire(self, now: float, patience: Patience) -> None:
        """Close when the client takes too long."""
        if self.slots:
            return
        waited = now - self._since
        if self._parser.idle:
            if waited > patience.idle:
                self.close()
        elif waited > patience.request:
            self._refuse(HttpError(408, "the request did not come in time"))

    def close(self) -> None:
        """Close once what was written is sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
