"""HTTP under uvicorn as the lean front reads it: what that refuses is refused alike, and the rest is passed on.

uvicorn's parsers differ from each other, and take what a proxy could frame otherwise: folded lines, lengths that are
repeated, heads of any size. So bytes go through our parser first, and requests are passed on one way of writing them.
"""

from __future__ import annotations

import asyncio
import json
from importlib.util import find_spec
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from harness.serving.exchange import HttpError, Request
from harness.serving.http1 import Limits, Parser
from harness.serving.listening import LINGER_S, Unsent, too_many
from harness.serving.loop import CONTINUE, REQUEST_S
from harness.serving.metrics import Metrics

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = object  # `framed` adds uvicorn's

REFUSED = "lparbench-refused"  # field of a request that is not the client's: status, words and fields of its answer
_PASSED = ("host", "content-type", "authorization")


def kind_of_protocol() -> str:
    """Name of uvicorn's parser: the quicker one where it is installed."""
    return "h11" if find_spec("httptools") is None else "httptools"


def refusal(headers: Any) -> HttpError | None:
    """The error that a request stands for; None for a request of the client's."""
    text = headers.get(REFUSED)
    if text is None:
        return None
    status, message, *fields = json.loads(text)
    return HttpError(status, message, tuple((name, value) for name, value in fields))


def framed(kind: Any, limits: Limits, metrics: Metrics) -> Any:
    """uvicorn's protocol ``kind`` behind our parser."""
    return type(kind.__name__, (_Framed, kind), {"limits": limits, "metrics": metrics})


class _Framed(_Protocol):
    """Before uvicorn's protocol in the order of inheritance."""

    limits: Limits
    metrics: Metrics

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._requests = Parser(self.limits)
        self._ending = self._half_closed = False  # no further request is read; none comes
        self._late: asyncio.TimerHandle | None = None
        self._unsent = Unsent()

    @property
    def begun(self) -> bool:
        """Whether a part of a request has come."""
        return not self._requests.idle

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _Lingering(transport)))
        self.metrics.connections = len(self.connections)
        self.made = self._since = monotonic()
        beyond = len(self.connections) - self.limits.connections
        if beyond > self.limits.lingering:
            self.metrics.rejected["queue"] += 1
            self.transport.abort()
        elif beyond > 0:
            self._refuse(too_many())

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(begun=False)
        super().connection_lost(exc)
        self.metrics.connections = len(self.connections)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._since = monotonic()
        self._requests.feed(data)
        try:
            while not self._ending and (request := self._requests.next()) is not None:
                self._ending = not request.keep_alive
                super().data_received(_bytes(request))
        except HttpError as error:
            self._refuse(error)
            return
        if not self._ending:
            self._watch(begun=self.begun)
            if self._requests.wants_continue() and not self.busy:
                self.transport.write(CONTINUE)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if self.busy:  # what was asked is still answered
            self._ending = self._half_closed = True
            return True
        return None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed and not self.busy:
            self.transport.close()

    def expire(self, now: float, idle_s: float) -> None:
        """Close when the client asks nothing, or takes no answer."""
        if self._unsent.seconds(self.transport, now) > idle_s:
            self.transport.abort()
        elif not self.busy and not self.begun and now - self._since > idle_s:
            self.transport.close()

    def _watch(self, *, begun: bool) -> None:
        """Refuse a request that does not come in time."""
        if begun and self._late is None:
            late = HttpError(408, "the request did not come in time")
            self._late = asyncio.get_running_loop().call_later(REQUEST_S, self._refuse, late)
        elif not begun and self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, error: HttpError) -> None:
        self._watch(begun=False)
        self._ending = True
        cast("_Lingering", self.transport).lingers = True
        answer = json.dumps((error.status, error.message, *error.headers))
        fields = f"host: a\r\n{REFUSED}: {answer}\r\nconnection: close\r\n"
        super().data_received(f"GET / HTTP/1.1\r\n{fields}\r\n".encode())


def _bytes(request: Request) -> bytes:
    """A request as it is passed on."""
    fields = [f"{name}: {request.headers[name]}\r\n" for name in _PASSED if name in request.headers]
    if "host" not in request.headers:  # of HTTP/1.0
        fields.append("host: a\r\n")
    if not request.keep_alive:
        fields.append("connection: close\r\n")
    head = f"{request.method} {request.path} HTTP/1.1\r\n{''.join(fields)}content-length: {len(request.body)}\r\n\r\n"
    return head.encode("latin-1") + request.body


class _Lingering:
    """A transport that, where it is asked to, goes on reading for a while after its last answer.

    A client that still sends its body would be reset otherwise, and might never see the answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._closed, self.lingers = transport, False, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Of asyncio.Transport."""
        if not self.lingers:
            self._transport.close()
        elif not self._closed:
            self._closed = True
            if self._transport.can_write_eof():
                self._transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def is_closing(self) -> bool:
        """Of asyncio.Transport."""
        return self._closed or self._transport.is_closing()
