"""HTTP answers under watch: a socket's own time-out begins anew at each byte, so a server could hold one for ever."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

LEAST_BYTES = 1 << 16  # that a connection, and each time-out's time of one, has to bring


class Watch:
    """Ends a connection that brings too little.

    Args:
        timeout_s: the time of the whole head; afterwards, of each least amount.
        ends: when it is over in any case, on the monotonic clock.
    """

    def __init__(self, timeout_s: float, ends: float) -> None:
        self.ended = False
        self._timeout_s, self._ends = timeout_s, ends
        self._sockets: list[socket.socket] = []
        self._since: tuple[float, int] | None = None
        self._timer = threading.Timer(min(timeout_s, max(0.0, ends - time.monotonic())), self._end)
        self._timer.daemon = True
        self._timer.start()

    def connected(self, connection: socket.socket) -> None:
        """A connection was made; a redirection makes another."""
        self._sockets.append(connection)
        if self.ended:
            self._end()

    def goes_on(self, have: int) -> bool:
        """Always true; called when the head has arrived and after each block, with all the bytes so far.

        Raises:
            TimeoutError: too little arrived.
        """
        self._timer.cancel()
        now = time.monotonic()
        since, before = self._since or (now, have)
        late = now - since > self._timeout_s
        if now > self._ends or (late and have - before < LEAST_BYTES):
            raise TimeoutError(f"it sent {have - before:,} bytes in {now - since:.0f} s")
        self._since = (now, have) if late else (since, before)
        return True

    def stop(self) -> None:
        """The connection is closed."""
        self._timer.cancel()

    def _end(self) -> None:
        self.ended = True
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def watched(request: urllib.request.Request, timeout_s: float, ends: float) -> Iterator[tuple[Any, Watch]]:
    """The answer to a request, and who watches it; https is redirected to https only.

    Raises:
        TimeoutError: no whole head came in ``timeout_s``.
        OSError, http.client.HTTPException: as of urllib.
    """
    watch = Watch(timeout_s, ends)
    # A mirror inside the house may speak plain http; the pinned digest holds either way.
    redirects = [SafeRedirects] if urlsplit(request.full_url).scheme == "https" else []
    opener = urllib.request.build_opener(_PlainHandler(watch), _SecureHandler(watch), *redirects)
    try:
        with opener.open(request, timeout=timeout_s) as response:
            yield response, watch
    except (OSError, http.client.HTTPException):
        if watch.ended:
            raise TimeoutError(f"no whole answer within {timeout_s:.0f} s") from None
        raise
    finally:
        watch.stop()


class _Watched(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, watch: Watch, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.connected(self.sock)


class _Secure(_Watched, http.client.HTTPSConnection):
    """Connects as HTTPS does, watched alike."""


class _PlainHandler(urllib.request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Watched, watch=self._watch), req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_Secure, watch=self._watch), req)


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to https only."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        """See urllib."""
        if urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
