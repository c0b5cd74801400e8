"""HTTP under uvicorn as the lean front reads it: what that refuses is refused alike, and the rest is passed on.

uvicorn's parsers differ from each other, and take what a proxy could frame otherwise: folded lines, lengths that are
repeated, heads of any size. So bytes go through our parser first, and requests are passed on one way of writing them.
What is refused costs no more than that: it is answered here, in its place among the connection's answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from importlib.util import find_spec
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.serving.answers import AnswerHeads
from harness.serving.app import App, is_work
from harness.serving.exchange import HttpError, Reply, Request
from harness.serving.http1 import Head, Limits, Parser
from harness.serving.listening import LINGER_S, Unsent, too_many, too_slow
from harness.serving.loop import CONTINUE, PIPELINED, READ, REQUEST_S

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = object  # `Handover.protocol` adds uvicorn's

LINE = "line"  # key of the connection in what ASGI calls the state of a request
_PASSED = ("host", "content-type", "authorization")


def kind_of_protocol() -> str:
    """Name of uvicorn's parser: the quicker one where it is installed."""
    return "h11" if find_spec("httptools") is None else "httptools"


class Handover:
    """What all connections share; it hands requests to the application, some in every turn of the loop."""

    def __init__(self, app: App, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.parsed: dict[bytes, Head] = {}
        self.heads = AnswerHeads(app)
        self.incoming = memoryview(bytearray(READ))
        self._next: deque[Framed] = deque()

    def protocol(self, kind: Any, *, buffered: bool) -> Any:
        """uvicorn's protocol ``kind`` behind our parser; ``buffered``: all connections read into one buffer."""
        ours: tuple[type, ...] = (BufferedFramed, kind, asyncio.BufferedProtocol) if buffered else (Framed, kind)
        return type(kind.__name__, ours, {"shared": self})

    def application(self, api: Any) -> Any:
        """An ASGI application whose requests are no longer in hand when it is done with them."""
        intake = self.app.intake

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            try:
                await api(scope, receive, send)
            finally:
                if is_work(scope["method"]):
                    intake.answer()

        return counted

    def add(self, connection: Framed) -> None:
        """Have the first request of a connection passed on."""
        self._next.append(connection)
        if len(self._next) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        try:
            for _ in range(min(self.app.intake.requests_of_a_turn(), len(self._next))):
                self._next[0].begin()
                self._next.popleft()
        except BaseException:  # a defect costs its request alone
            self._next.popleft().transport.abort()
            raise
        finally:
            if self._next:
                asyncio.get_running_loop().call_soon(self._turn)


class _Asked(NamedTuple):
    request: Request | None  # None for what is none
    reply: Reply | None  # None where the application has it
    began: float  # by the clock of the latency


class Framed(_Protocol):
    """Before uvicorn's protocol in the order of inheritance."""

    shared: Handover

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.app_state = {**self.app_state, LINE: self}
        self.began = 0.0  # when the request under way came
        self._requests = Parser(self.shared.limits, self.shared.parsed)
        self._asked: deque[_Asked] = deque()  # before what is under way is answered
        self._next = False  # the first of them is passed on in this turn, or in one after it
        self._ending = self._refused = False  # no further request is read; what came last is none
        self._full = self._half_closed = False  # the client takes no answers; it sends nothing more
        self._late: asyncio.TimerHandle | None = None
        self._unsent = Unsent()

    @property
    def begun(self) -> bool:
        """Whether a part of a request has come."""
        return not self._requests.idle

    @property
    def _under_way(self) -> bool:
        """Whether the application has a request."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def in_flight(self) -> int:
        """Requests that are not answered."""
        return len(self._asked) + self._under_way

    @property
    def followed(self) -> bool:
        """Whether answers follow that of the request under way."""
        return bool(self._asked)

    @property
    def _held(self) -> bool:
        """Whether requests that have come wait for the answers to others."""
        return self._full or len(self._asked) >= PIPELINED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Of asyncio.Protocol."""
        super().connection_made(transport)
        metrics, limits = self.shared.app.metrics, self.shared.limits
        metrics.connections = len(self.connections)
        self.made = self._since = monotonic()
        beyond = len(self.connections) - limits.connections
        if beyond > limits.lingering:
            metrics.rejected["connections"] += 1
            self.transport.abort()
        elif beyond > 0:
            self._refuse(too_many())

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio.Protocol; what was not passed on is no longer in hand."""
        self._watch(begun=False)
        for request, reply, _ in self._asked:
            if request is not None and reply is None and is_work(request.method):
                self.shared.app.intake.leave()
        self._asked.clear()
        super().connection_lost(exc)
        self.shared.app.metrics.connections = len(self.connections)

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        if self._ending:
            return
        self._since, began = monotonic(), perf_counter()
        head = self._requests.whole(data)
        if head is None:
            self._read()
            return
        shared = self.shared  # as nearly always
        reply = shared.app.refused(head.method, self.client)
        if reply is None or self.in_flight or shared.app.draining or not head.keep_alive:
            self._take(head.request(data[len(head.text) :]), reply, began)
        else:  # as nearly always when too much comes
            self.transport.write(shared.heads.refusal(head.path, reply, began))

    def _read(self) -> None:
        """Take what came."""
        try:
            while not (self._ending or self._held) and (request := self._requests.next()) is not None:
                self._take(request, self.shared.app.refused(request.method, self.client), perf_counter())
        except HttpError as error:
            self._refuse(error)
            return
        held = self._held
        self._watch(begun=self.begun and not held and not self._ending)
        if held:
            self.flow.pause_reading()
        elif not self._ending and not self.in_flight and self._requests.wants_continue():
            self.transport.write(CONTINUE)

    def _take(self, request: Request, reply: Reply | None, began: float) -> None:
        self._ending = not request.keep_alive
        self._asked.append(_Asked(request, reply, began))
        self._go_on()

    def _go_on(self) -> None:
        """Answer what is refused, and pass on what comes after it."""
        asked = self._asked
        while asked and not (self._next or self._under_way or self.transport.is_closing()):
            request, reply, began = asked[0]
            if reply is None:
                self._next = True
                self.shared.add(self)
                return
            asked.popleft()
            last = (self._ending or self.shared.app.draining) and not asked
            self.transport.write(self.shared.heads.answer(request, reply, began, close=last))
            if last:
                self._end()

    def begin(self) -> None:
        """Pass on the first request; none is there when the client is gone."""
        self._next = False
        if self._asked:
            request, _, self.began = self._asked.popleft()
            assert request is not None
            try:
                super().data_received(_bytes(request))
            finally:
                if not self._under_way and is_work(request.method):
                    self.shared.app.intake.leave()

    def on_response_complete(self) -> None:
        """Of uvicorn: what comes next is answered, or passed on."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self._go_on()
        if self.begun:
            self._read()
        if self._half_closed and not self.in_flight:
            self.transport.close()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Of asyncio.Protocol."""
        if self.in_flight:  # what was asked is still answered
            self._half_closed = True
            return True
        return None

    def pause_writing(self) -> None:
        """The client does not read its answers: nothing more of it is read either."""
        super().pause_writing()
        self._full = True
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Of asyncio.Protocol."""
        super().resume_writing()
        self._full = False
        self.flow.resume_reading()
        if self.begun and not self._ending:
            self._read()

    def timeout_keep_alive_handler(self) -> None:
        """Of uvicorn, which knows nothing of what is answered here: `expire` is called instead."""

    def expire(self, now: float, idle_s: float) -> None:
        """Close when the client asks nothing, or takes no answer."""
        if self._unsent.seconds(self.transport, now) > idle_s:
            self.transport.abort()
        elif not self.in_flight and not self.begun and now - self._since > idle_s:
            self.transport.close()

    def _watch(self, *, begun: bool) -> None:
        """Refuse a request that does not come in time."""
        if begun and self._late is None:
            late = too_slow()
            self._late = asyncio.get_running_loop().call_later(REQUEST_S, self._refuse, late)
        elif not begun and self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, error: HttpError) -> None:
        """Answer what is no request, after those before it, and end."""
        self._watch(begun=False)
        self._ending = self._refused = True
        self._asked.append(_Asked(None, error.reply(), perf_counter()))
        self._go_on()

    def _end(self) -> None:
        """Close; a client that still sends what was refused would be reset at once, and might miss the answer."""
        if not self._refused:
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self.transport.close)


class BufferedFramed(Framed):
    """With `asyncio.BufferedProtocol` after uvicorn's: asyncio allocates 256 KiB for each read otherwise."""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - of asyncio.BufferedProtocol
        """Of asyncio.BufferedProtocol."""
        return self.shared.incoming

    def buffer_updated(self, nbytes: int) -> None:
        """Of asyncio.BufferedProtocol."""
        self.data_received(bytes(self.shared.incoming[:nbytes]))


def _bytes(request: Request) -> bytes:
    """A request as it is passed on."""
    fields = [f"{name}: {request.headers[name]}\r\n" for name in _PASSED if name in request.headers]
    if "host" not in request.headers:  # of HTTP/1.0
        fields.append("host: a\r\n")
    if not request.keep_alive:
        fields.append("connection: close\r\n")
    head = f"{request.method} {request.path} HTTP/1.1\r\n{''.join(fields)}content-length: {len(request.body)}\r\n\r\n"
    return head.encode("latin-1") + request.body
