"""HTTP/1.1 requests out of bytes (RFC 9112), strictly: whatever two programs could read differently is refused.

Bodies come by Content-Length only. A line ends in CR LF; obsolete line folding, blanks before a colon and repeated
lengths are refused, because a proxy in front may frame them otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from harness.serving.exchange import HttpError, Request, RowRoute, path_part

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_START = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/(\d)\.(\d)\r\n")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t -~\x80-\xff]*?)[ \t]*\r\n")
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*")
_ONCE = frozenset({"host", "content-length", "transfer-encoding", "content-type", "authorization", "expect"})
_METHODS = frozenset({"GET", "HEAD", "POST"})
_END = b"\r\n\r\n"
_REMEMBERED = 256  # heads


@dataclass(frozen=True)
class Limits:
    """What clients may do.

    Attributes:
        head, body: bytes of a request's.
        connections: open at once.
        lingering: refused ones on top of those, which may still read why.
    """

    head: int = 16 << 10
    body: int = 1 << 20
    connections: int = 4096
    lingering: int = 1024

    @property
    def accepted(self) -> int:
        """Connections that a turn of the loop accepts; those of four turns have no protocol yet that could refuse."""
        return max(1, self.lingering // 4)


@dataclass(slots=True)
class Head:
    """A request's line and fields, and how long its body is.

    Attributes:
        text: the bytes that it was read from.
        route: of requests with this head that are a row each; None where they are none.
    """

    method: str
    path: str
    headers: dict[str, str]
    keep_alive: bool
    length: int
    text: bytes
    route: RowRoute | None = None

    def request(self, body: bytes) -> Request:
        """The request that this head and a body are."""
        return Request(self.method, self.path, self.headers, body, self.keep_alive)

    @property
    def expects_continue(self) -> bool:
        """Whether the sender waits to be told that its body is welcome."""
        return self.headers.get("expect", "").lower() == "100-continue"


class Parser:
    """Requests of one connection, as its bytes come.

    Args:
        limits: of a request.
        heads: read before, of all connections.
        route: gives a head its `Head.route`.
    """

    def __init__(
        self,
        limits: Limits,
        heads: dict[bytes, Head] | None = None,
        route: Callable[[Head], RowRoute | None] | None = None,
    ) -> None:
        self._limits = limits
        self._heads = {} if heads is None else heads
        self._route = route
        self._last: Head | None = None  # of a request that came whole
        self._buffer = bytearray()
        self._head: Head | None = None
        self._welcomed = False

    def _read(self, text: bytes) -> Head:
        """The head; those of a client's requests are mostly alike, to the byte, so the last are remembered."""
        head = self._heads.get(text)
        if head is None:
            if len(self._heads) >= _REMEMBERED:
                self._heads.clear()
            head = self._heads[text] = read_head(text, self._limits)
            if self._route is not None:
                head.route = self._route(head)
        return head

    def feed(self, data: bytes) -> None:
        """Take bytes that came."""
        self._buffer += data

    def whole(self, data: bytes) -> Head | None:
        """The head of the request that the bytes are, when nothing came before and it is known; else they are fed."""
        if self._head is None and not self._buffer:
            head = self._last
            if head is None or not data.startswith(head.text):
                head = self._last = self._heads.get(data[: data.find(_END) + 4])
            if head is not None and len(data) == len(head.text) + head.length:
                return head
        self._buffer += data
        return None

    @property
    def idle(self) -> bool:
        """Whether no part of a request has come."""
        return self._head is None and not self._buffer

    def wants_continue(self) -> bool:
        """Whether ``100 Continue`` is to be sent now; once per request."""
        head = self._head
        if head is None or self._welcomed or not head.expects_continue or len(self._buffer) >= head.length:
            return False
        self._welcomed = True
        return True

    def next(self) -> Request | None:
        """The next request; None while it is not whole.

        Raises:
            HttpError: it is malformed, too large, or of a form that is not served; the connection is of no more use.
        """
        head = self._head
        if head is None:
            buffer = self._buffer
            end = buffer.find(_END)
            if end < 0 or end + 4 > self._limits.head:
                if len(buffer) > self._limits.head or end >= 0:
                    raise _too_long(buffer, self._limits.head)
                if buffer:
                    _check_beginning(buffer)
                return None
            head = self._read(bytes(buffer[: end + 4]))
            if len(buffer) == end + 4 + head.length:  # all that came, as nearly always
                body = bytes(buffer[end + 4 :])
                buffer.clear()
                return head.request(body)
            self._head = head
            self._welcomed = False
            del buffer[: end + 4]
        if len(self._buffer) < head.length:
            return None
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        self._head = None
        return head.request(body)


def read_head(text: bytes, limits: Limits) -> Head:
    """The head of a request, up to and with its empty line.

    Raises:
        HttpError: see `Parser.next`.
    """
    start = _START.match(text)
    if start is None:
        raise HttpError(400, "the request line is not METHOD TARGET HTTP/1.1")
    if start[3] != b"1":
        raise HttpError(505, "HTTP/1.1 is served")
    fields = _FIELDS.match(text, start.end())
    if fields is None or fields.end() != len(text) - 2:
        raise HttpError(400, "a header field is not NAME: VALUE, ended by CR LF")
    headers: dict[str, str] = {}
    for name, value in _FIELD.findall(text, start.end(), fields.end()):
        key = name.decode("ascii").lower()
        if key in headers:
            if key in _ONCE:
                raise HttpError(400, f"{key} is given twice")
            headers[key] += ", " + value.decode("latin-1")
        else:
            headers[key] = value.decode("latin-1")
    newer = start[4] != b"0"
    if newer and "host" not in headers:
        raise HttpError(400, "host is missing")
    method = start[1].decode("ascii")
    if method not in _METHODS:
        raise HttpError(501, "GET, HEAD and POST are served")
    if headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise HttpError(415, "a body comes as it is, not encoded", (("Accept-Encoding", "identity"),))
    return Head(method, _path(start[2]), headers, _keeps(headers, newer), _length(headers, method, limits), text)


def _too_long(buffer: bytearray, most: int) -> HttpError:
    if buffer.find(b"\r\n", 0, most) < 0:
        return HttpError(414, f"the request line is longer than {most} bytes")
    return HttpError(431, f"the header is longer than {most} bytes")


def _keeps(headers: dict[str, str], newer: bool) -> bool:
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return newer and "close" not in options


def _length(headers: dict[str, str], method: str, limits: Limits) -> int:
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            raise HttpError(400, "both content-length and transfer-encoding are given")
        raise HttpError(411, "a body comes with its content-length, not in chunks")
    expected = headers.get("expect", "").lower()
    if expected not in ("", "100-continue"):
        raise HttpError(417, "expect takes 100-continue")
    text = headers.get("content-length")
    if text is None:
        if method == "POST":
            raise HttpError(411, "content-length is missing")
        return 0
    if not text.isascii() or not text.isdigit():
        raise HttpError(400, "content-length is not a whole number")
    if len(text) > 18 or int(text) > limits.body:
        raise HttpError(413, f"the body is longer than {limits.body} bytes")
    return int(text)


def _path(target: bytes) -> str:
    text = target.decode("ascii")
    if not text.startswith("/"):  # absolute form, as sent to proxies
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            raise HttpError(400, "the target is not a path")
        text = "/" + rest.partition("/")[2]
    path = text.partition("?")[0].partition("#")[0]
    return "/".join(path_part(unquote_to_bytes(part)) for part in path.split("/"))  # of all ways to write it, ours


def _check_beginning(buffer: bytearray) -> None:
    """Refuse at once what cannot become a request, so that no other protocol waits for an answer.

    Raises:
        HttpError: a first line that is none, or one that ends in LF alone.
    """
    if _BARE_LF.search(buffer):
        raise HttpError(400, "a line ends in CR LF")
    line = buffer.find(b"\r\n")
    if line >= 0 and _START.match(buffer) is None:
        raise HttpError(400, "the request line is not METHOD TARGET HTTP/1.1")
    if buffer and not _TOKEN_BYTES.match(buffer):
        raise HttpError(400, "the request line is not METHOD TARGET HTTP/1.1")


_TOKEN_BYTES = re.compile(_TOKEN)
_BARE_LF = re.compile(rb"(?<!\r)\n")
