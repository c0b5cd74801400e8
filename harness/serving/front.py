"""The lean front: an asyncio protocol that answers HTTP/1.1; all that came in a turn of the loop is scored at once.

A turn only collects what comes; then all of it is parsed, scored, encoded and sent, one after the other. Every system
call empties caches of the processor, which little code between two of them fills again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import cast
from weakref import WeakSet

from harness.serving.answers import AnswerHeads, Slot
from harness.serving.app import App, is_work
from harness.serving.batch import RequestBatch
from harness.serving.exchange import HttpError, Request, Takes
from harness.serving.http1 import Head, Limits, Parser
from harness.serving.listening import LINGER_S, Unsent, hang_up, stop_accepting, too_many, too_slow
from harness.serving.loop import (
    BACKLOG,
    CONTINUE,
    GRACE_S,
    IDLE_S,
    PIPELINED,
    READ,
    REQUEST_S,
    SWEEP_S,
    makes_bytes,
)  # fmt: skip
from harness.serving.row_turn import RowTurn


@dataclass(frozen=True)
class Patience:
    """Seconds that a connection may take."""

    request: float = REQUEST_S
    idle: float = IDLE_S


class Front:
    """What all connections share."""

    def __init__(self, app: App, limits: Limits, *, patience: Patience | None = None) -> None:
        self.app, self.limits = app, limits
        self._patience = patience or Patience()
        self.connections: set[Connection] = set()
        self.beginning: WeakSet[Connection] = WeakSet()  # accepted, and still to be secured
        self._flushes: list[Callable[[], None]] = []  # that score what was taken in this turn
        self._batch: Takes = app.taker or RequestBatch(app, self._flushes.append)
        self.heads: dict[bytes, Head] = {}
        self.heads_of_answers = AnswerHeads(app)
        self.rows = RowTurn(app, self._batch, self.heads_of_answers)
        self.incoming = memoryview(bytearray(READ))
        self._came: deque[tuple[Connection, bytes, float]] = deque()  # in this turn
        self._next: list[Connection] = []  # whose answers are to be sent at its end
        self._turning = False
        self._kind = Connection if makes_bytes(asyncio.get_running_loop()) else BufferedConnection

    def connection(self) -> Connection:
        """A protocol for a new connection."""
        made = self._kind(self)
        self.beginning.add(made)
        return made

    def came(self, connection: Connection, data: bytes) -> None:
        """Keep bytes until the turn of the loop is over."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)
        self._came.append((connection, data, perf_counter()))

    def read(self) -> None:
        """Take the requests that came."""
        came = self._came
        if came:
            now = monotonic()
            while came:
                connection, data, began = came.popleft()
                connection.read(data, now, began)

    def _turn(self) -> None:
        try:
            self.read()
            self.rows.flush()
            flushes = self._flushes[:]
            self._flushes.clear()
            for flush in flushes:
                flush()
            connections = self._next[:]
            self._next.clear()
            for connection, data in [(connection, connection.answers()) for connection in connections]:
                connection.send(data)
        finally:  # whatever a defect left, the next turn takes
            self._turning = bool(self._came or self._flushes or self._next)
            if self._turning:
                asyncio.get_running_loop().call_soon(self._turn)

    def ready(self, connection: Connection) -> None:
        """Send the connection's next answers, at the end of the turn where one is under way."""
        if self._turning:
            self._next.append(connection)
        else:
            connection.send(connection.answers())

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet; bytes that came count as one."""
        return len(self._came) + sum(len(connection.slots) for connection in self.connections)

    def take(self, connection: Connection, request: Request, began: float) -> None:
        """Handle a request that is whole."""
        slot = Slot(connection, request, began)
        connection.slots.append(slot)
        app = self.app
        refused = app.refused(request.method, connection.peer if app.quota is not None else None)
        if refused is not None:
            slot.done(refused)
        elif is_work(request.method):
            self._batch.take(request, app.answering(slot.done))
        else:
            self._batch.take(request, slot.done)

    async def sweep(self) -> None:
        """Close connections that take too long, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.read()
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
        server = await loop.create_server(front.connection, sock=listener, ssl=tls, backlog=limits.accepted)
        listener.listen(BACKLOG)  # which the line before set to what a turn accepts
        return cls(front, server, listener)

    @property
    def in_flight(self) -> int:
        """Of `harness.serving.loop.Server`."""
        return self._front.in_flight

    async def drain(self, seconds: float) -> int:
        """Of `harness.serving.loop.Server`; idle connections are closed after a moment."""
        self._front.app.draining = True
        self._sweeping.cancel()
        await stop_accepting(self._listener)
        self._server.close()
        connections, beginning = self._front.connections, self._front.beginning
        deadline = monotonic() + seconds
        grace = monotonic() + min(GRACE_S, seconds)
        while (connections or beginning) and monotonic() < deadline:
            self._front.read()
            if monotonic() >= grace:
                for connection in [each for each in connections if each.idle and each.made <= monotonic() - GRACE_S]:
                    connection.leave()
            await asyncio.sleep(0.01)
        self._front.read()
        lost = self.in_flight
        for connection in list(connections):
            connection.close()
        return lost


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._parser = Parser(front.limits, front.heads, front.app.row_route)
        self._transport: asyncio.Transport | None = None
        self.closing = False  # no further request is read
        self._refused = False  # what came last is no request
        self._unsent = Unsent()
        # Requests came that are not taken yet; answers that the client does not take; nothing comes after those held.
        self._held = self._full = self._half_closed = False
        self._since = self.made = monotonic()
        self.slots: deque[Slot] = deque()
        self.row_slot = Slot(self, None, 0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.made = monotonic()  # later than it was accepted, where it had to be secured
        self._front.beginning.discard(self)
        self._front.connections.add(self)
        self._front.app.metrics.connections = len(self._front.connections)
        beyond = len(self._front.connections) - self._front.limits.connections
        if beyond > self._front.limits.lingering:
            self._front.app.metrics.rejected["connections"] += 1
            self._transport.abort()
        elif beyond > 0:
            self._refuse(too_many())

    @property
    def peer(self) -> object:
        """The address of the other end."""
        return None if self._transport is None else self._transport.get_extra_info("peername")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of asyncio.Protocol
        """Of asyncio.Protocol."""
        self._front.read()
        self.closing = True
        self._front.connections.discard(self)
        self._front.app.metrics.connections = len(self._front.connections)
        self.slots.clear()

    def pause_writing(self) -> None:
        """The client does not read its answers: nothing more of it is read either."""
        self._full = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Of asyncio.Protocol."""
        self._full = False
        if self._transport is not None and not self.closing:
            self._go_on(self._transport)

    def _go_on(self, transport: asyncio.Transport) -> None:
        """Take what is held, or read on."""
        if self._held:
            self._front.came(self, b"")
        else:
            transport.resume_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more; what it asked is still answered."""
        self._front.read()
        self.closing, self._half_closed = not self._held, True
        return self._held or bool(self.slots)

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        self._front.came(self, data)

    def read(self, data: bytes, now: float, began: float) -> None:
        """Take what came.

        Args:
            data: bytes.
            now: by the monotonic clock.
            began: when they came, by the clock of the latency.
        """
        if self.closing:
            return
        parser = self._parser
        if parser.idle:
            self._since = now
        head = parser.whole(data)
        if head is not None:  # as nearly always
            self._since = now
            self.closing = not head.keep_alive
            body, route, front = data[len(head.text) :], head.route, self._front
            if route is None or not front.rows.take(route, (self, head, body, began)):
                front.take(self, head.request(body), began)
            return
        try:
            self._take_pipelined(now, began)
        except HttpError as error:
            self._refuse(error)
            return
        if parser.wants_continue() and not self.slots and self._transport is not None:
            self._transport.write(CONTINUE)

    def _take_pipelined(self, now: float, began: float) -> None:
        """Take requests that came together, as many as others can wait for; the rest when these are answered.

        Raises:
            HttpError: what comes next is no request.
        """
        parser, held = self._parser, self._held
        self._held = False
        while not self.closing and not parser.idle:
            self._held = len(self.slots) >= PIPELINED or self._full
            if self._held or (request := parser.next()) is None:
                break
            self._since = now
            self.closing = not request.keep_alive
            self._front.take(self, request, began)
        transport = self._transport
        if self._held == held or transport is None or transport.is_closing():
            pass
        elif self._held:
            transport.pause_reading()
        elif not self._half_closed:
            transport.resume_reading()
        elif self.slots:
            self.closing = True
        else:
            transport.close()

    def ready(self) -> None:
        """Send the answers that are next, once this turn of the loop is over."""
        self._front.ready(self)

    def answers(self) -> bytes:
        """The answers that are next."""
        slots, parts, heads = self.slots, [], self._front.heads_of_answers
        ending = self.closing or self._front.app.draining
        while slots and slots[0].reply is not None:
            slot = slots.popleft()
            assert slot.reply is not None
            parts.append(heads.answer(slot.request, slot.reply, slot.began, close=ending and not slots))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes) -> None:
        """Send answers, and close after the last."""
        transport = self._transport
        if transport is None or transport.is_closing() or not data:
            return
        transport.write(data)
        if self.slots:
            return
        if self.closing or self._front.app.draining:
            self._end(transport)
        elif self._held and not self._full:
            self._go_on(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Close; a client that still sends what was refused would be reset at once, and might miss the answer."""
        if not self._refused:
            transport.close()
            return
        if transport.can_write_eof():
            transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, transport.close)

    def _refuse(self, error: HttpError) -> None:
        self.closing = self._refused = True
        self.slots.append(Slot(self, None, perf_counter(), error.reply()))
        self.ready()

    @property
    def idle(self) -> bool:
        """Whether nothing was begun."""
        return not self.slots and self._parser.idle

    def expire(self, now: float, patience: Patience) -> None:
        """Close when the client takes too long."""
        if self._transport is not None and self._unsent.seconds(self._transport, now) > patience.idle:
            self._transport.abort()
            return
        if self.slots or self.closing or self._held:
            return
        waited = now - self._since
        if self._parser.idle:
            if waited > patience.idle:
                self.close()
        elif waited > patience.request:
            self._refuse(too_slow())

    def leave(self) -> None:
        """Close, unless a request begins at this moment."""
        if self._transport is not None and not self._transport.is_closing():
            self.closing = hang_up(self._transport)

    def close(self) -> None:
        """Close once what was written is sent."""
        self.closing = True
        if self._transport is not None:
            self._transport.close()


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """One client, read into the front's one buffer: what is in it is copied before another connection reads."""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - of asyncio.BufferedProtocol
        """Of asyncio.BufferedProtocol."""
        return self._front.incoming

    def buffer_updated(self, nbytes: int) -> None:
        """Of asyncio.BufferedProtocol."""
        self._front.came(self, bytes(self._front.incoming[:nbytes]))
