"""The parser of requests: the same whatever the pieces, and never of another meaning than h11's."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.serving.exchange import HttpError, Request
from harness.serving.http1 import Limits, Parser

GOOD = (
    b"POST /predict?x=1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Y:  b \r\n"
    b"Content-Length: 4\r\n\r\n{\r\n}"
)
PIECES = [
    b"GET ", b"POST ", b"HEAD ", b"BREW ", b"/", b"/v2 ", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n", b"\r",
    b"Host: a", b"host: b", b"Content-Length: 3", b"Content-Length: +3", b"Content-Length: 3, 3", b"content-length: 03",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Expect: 100-continue", b"Connection: close",
    b": x", b" folded", b"A\x00: b", b"abc", b"\r\n\r\n", b"\x80", b"X: \x80", b"*", b"http://a/b", b" ", b"\t",
]  # fmt: skip


def requests_of(pieces: list[bytes], limits: Limits | None = None) -> list[Request | int]:
    """Requests, and at last the status of the refusal."""
    parser = Parser(limits or Limits())
    out: list[Request | int] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (request := parser.next()) is not None:
                out.append(request)
    except HttpError as error:
        out.append(error.status)
    return out


def of_h11(data: bytes) -> tuple[str, str, bytes] | None:
    """Method, path and body of the first request by h11; None where it is refused or not whole."""
    link = h11.Connection(h11.SERVER)
    link.receive_data(data)
    body, request = b"", None
    try:
        while True:
            match link.next_event():
                case h11.Request() as request:
                    pass
                case h11.Data(data=part):
                    body += bytes(part)
                case h11.EndOfMessage():
                    assert request is not None
                    return request.method.decode(), request.target.decode("latin-1"), body
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None


def test_a_request_is_read_with_its_fields_body_and_path() -> None:
    (request,) = requests_of([GOOD])
    assert isinstance(request, Request)
    assert (request.method, request.path, request.body, request.keep_alive) == ("POST", "/predict", b"{\r\n}", True)
    assert request.headers["x-y"] == "b"


@given(st.data())
def test_the_same_requests_come_of_any_pieces(data: st.DataObject) -> None:
    stream = GOOD * 2 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + data.draw(st.binary(max_size=40))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = requests_of([stream])
    cut = requests_of(pieces)
    # Bytes after a refusal are not looked at, so only the requests before it and the refusal count.
    assert [each for each in cut if isinstance(each, Request)] == [each for each in whole if isinstance(each, Request)]
    assert {each for each in cut if isinstance(each, int)} == {each for each in whole if isinstance(each, int)}


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
@example(GOOD)
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc")
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
@example(b"GET / HTTP/1.1\nHost: a\n\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n")
def test_what_is_accepted_means_the_same_to_h11(data: bytes) -> None:
    (first, *_) = requests_of([data]) or [None]
    if not isinstance(first, Request):
        return
    other = of_h11(data)
    assert other is not None, "accepted what h11 refuses"
    method, target, body = other
    assert (first.method, first.body) == (method, body)
    path = target.partition("?")[0].partition("#")[0]
    assert path.endswith(first.path) or first.path == "/"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20000, 431),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"hello\r\n", 400),
    ],
)
def test_what_is_not_served_is_refused_at_once(data: bytes, status: int) -> None:
    assert requests_of([data]) == [status]
    if len(data) < 100:
        assert requests_of([data[i : i + 1] for i in range(len(data))]) == [status]


def test_a_body_that_is_waited_for_is_welcomed_once() -> None:
    parser = Parser(Limits())
    parser.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert parser.next() is None
    assert parser.wants_continue()
    assert not parser.wants_continue()
    parser.feed(b"ab")
    request = parser.next()
    assert request is not None
    assert request.body == b"ab"
    assert parser.idle
