"""Answers in the order of their requests, and the heads that they begin with."""

from __future__ import annotations

from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from time import perf_counter, time
from typing import Protocol

from harness.serving.app import App
from harness.serving.exchange import JSON, Reply, Request

_REASON = {int(status): status.phrase for status in HTTPStatus}
_REMEMBERED = 256  # heads


class Line(Protocol):
    """A connection, as far as answers need it."""

    slots: deque[Slot]
    row_slot: Slot
    closing: bool

    def ready(self) -> None:
        """Send the answers that are next."""

    def send(self, data: bytes) -> None:
        """Send answers."""


class Slot:
    """The place of a request's answer among those of its connection."""

    __slots__ = ("began", "connection", "reply", "request")

    def __init__(self, connection: Line, request: Request | None, began: float, reply: Reply | None = None) -> None:
        self.connection, self.request, self.began, self.reply = connection, request, began, reply

    def done(self, reply: Reply) -> None:
        """Take the answer, and send it when it is the next."""
        self.reply = reply
        slots = self.connection.slots
        if slots and slots[0] is self:  # none are left when the client is gone
            self.connection.ready()


class AnswerHeads:
    """Status lines and fields of answers, remembered for the second that they name.

    Args:
        app: counts the answers.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._at = 0
        self._known: dict[tuple[int, str, int], bytes] = {}
        self._plain: dict[int, bytes] = {}
        self._refusal: tuple[Reply, bytes] | None = None  # the last

    def renew(self) -> None:
        """Forget those of another second."""
        now = int(time())
        if now != self._at or len(self._known) > _REMEMBERED:
            self._at = now
            self._known.clear()
            self._plain.clear()
            self._refusal = None

    def begun(self, status: int, content_type: str, length: int) -> bytes:
        """A head up to the fields of a single answer, and the empty line."""
        key = (status, content_type, length)
        known = self._known.get(key)
        if known is None:
            text = (
                f"HTTP/1.1 {status} {_REASON.get(status, '')}\r\nDate: {formatdate(self._at, usegmt=True)}\r\n"
                f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n"
            )
            known = self._known[key] = text.encode()
        return known

    def plain(self, length: int) -> bytes:
        """The whole head of JSON with status 200."""
        known = self._plain.get(length)
        if known is None:
            known = self._plain[length] = self.begun(200, JSON, length) + b"\r\n"
        return known

    def answer(self, request: Request | None, reply: Reply, began: float, *, close: bool) -> bytes:
        """A whole answer, counted.

        Args:
            request: None for what was none.
            reply: to it.
            began: when it came, by the clock of the latency.
            close: the connection ends with it.
        """
        self._app.count(None if request is None else request.path, reply.status, reason=reply.reason)
        self._app.metrics.request_s.add(perf_counter() - began)
        self.renew()
        head = self._head(reply)
        head += b"Connection: close\r\n\r\n" if close else b"\r\n"
        return head if request is not None and request.method == "HEAD" else head + reply.body

    def refusal(self, path: str, reply: Reply, began: float) -> bytes:
        """A whole answer, counted, that is given at once to many."""
        self._app.count(path, reply.status, reason=reply.reason)
        self._app.metrics.request_s.add(perf_counter() - began)
        self.renew()
        last = self._refusal
        if last is None or last[0] is not reply:
            last = self._refusal = reply, self._head(reply) + b"\r\n" + reply.body
        return last[1]

    def _head(self, reply: Reply) -> bytes:
        """Without the empty line."""
        head = self.begun(reply.status, reply.content_type, len(reply.body))
        return head + "".join(f"{name}: {value}\r\n" for name, value in reply.headers).encode()
