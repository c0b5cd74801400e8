"""A publisher on 127.0.0.1: serves bytes with or without ranges, and cuts connections when told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.datasets.catalogue import DataFile, Download


@dataclass
class Publisher:
    """What is served, how, and what was asked."""

    content: bytes
    port: int = 0
    ranges: bool = True
    cut_after: int | None = None  # bytes after which the next answer breaks off, once
    status: int = 200
    location: str | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    sent: threading.Event = field(default_factory=threading.Event)  # set when the cut answer has been sent
    hold: threading.Event | None = None  # with it, a cut answer keeps the connection open until set

    @property
    def tag(self) -> str:
        """Strong entity tag of the content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'

    def url(self, name: str = "file.bin") -> str:
        """Address of the file."""
        return f"http://127.0.0.1:{self.port}/set/{name}"

    def file(self, *, pinned: bytes | None = None, name: str = "file.bin", member: str | None = None) -> DataFile:
        """A data file whose pinned download is ``pinned``, by default what is served."""
        right = self.content if pinned is None else pinned
        digest = hashlib.sha256(right).hexdigest()
        return DataFile(name, sha256=digest, download=Download(self.url(name), digest, len(right), member))


@contextmanager
def publisher(content: bytes) -> Iterator[Publisher]:
    """Serve ``content`` at every path until the block ends."""
    state = Publisher(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(dict(self.headers))
            if state.location or state.status != 200:
                self.send_response(302 if state.location else state.status)
                if state.location:
                    self.send_header("Location", state.location)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = self._start()
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.ranges:
                self.send_header("ETag", state.tag)
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cut_after is not None:
                body, state.cut_after = body[: state.cut_after], None
                self.wfile.write(body)
                self.wfile.flush()
                state.sent.set()
                if state.hold is not None:
                    state.hold.wait(10)
                self.close_connection = True
                return
            self.wfile.write(body)

        def _start(self) -> int:
            asked = self.headers.get("Range")
            if not state.ranges or asked is None or self.headers.get("If-Range") != state.tag:
                return 0
            return int(asked.removeprefix("bytes=").split("-")[0])

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        if state.hold is not None:
            state.hold.set()
        server.shutdown()
        server.server_close()
