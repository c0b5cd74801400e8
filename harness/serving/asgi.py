"""The ASGI front: the handlers under FastAPI, with its OpenAPI page; bodies are the lean front's, to the byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from time import monotonic
from typing import Any
from weakref import WeakSet

import fastapi
import uvicorn
from fastapi.responses import Response

from harness import __version__
from harness.serving.app import App
from harness.serving.batch import RequestBatch
from harness.serving.exchange import HttpError, Reply, Request, Takes
from harness.serving.http1 import Limits
from harness.serving.listening import hang_up, stop_accepting
from harness.serving.loop import BACKLOG, GRACE_S

_CONTENT = {"application/json": {"schema": {"type": "object"}}}
_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": _CONTENT}}


def asgi(app: App, limits: Limits) -> fastapi.FastAPI:
    """The application that uvicorn runs."""
    api = fastapi.FastAPI(title="LPARBench", version=__version__, redoc_url=None)
    batch: Takes = app.taker or RequestBatch(app)

    def scored(request: Request) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        batch.take(request, future.set_result)
        return future

    async def answer(http: fastapi.Request) -> Response:
        request = Request(http.method, http.url.path, dict(http.headers), b"", True)
        try:
            request = request._replace(body=await _body(http, limits))
            refused = app.refused(request, None if http.client is None else tuple(http.client))
            reply = refused or await scored(request)
        except HttpError as error:
            reply = error.reply()
        app.count(request.path, reply.status)
        response = Response(reply.body, reply.status, dict(reply.headers))
        response.headers["content-type"] = reply.content_type
        if app.draining:
            response.headers["connection"] = "close"
        return response

    for endpoint in app.endpoints:
        method, path = endpoint.split(" ")
        extra = _BODY if method == "POST" else None
        api.add_api_route(path, answer, methods=[method], response_class=Response, openapi_extra=extra, name=path)
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    api.add_api_route("/{path:path}", answer, methods=methods, include_in_schema=False)
    return api


async def _body(http: fastapi.Request, limits: Limits) -> bytes:
    """The body, framed and limited as the lean front does.

    Raises:
        HttpError: it comes in chunks, without a length, or is too long.
    """
    if http.method not in ("GET", "HEAD", "POST"):
        raise HttpError(501, "GET, HEAD and POST are served")
    if "transfer-encoding" in http.headers:
        raise HttpError(411, "a body comes with its content-length, not in chunks")
    length = http.headers.get("content-length")
    if length is None:
        if http.method == "POST":
            raise HttpError(411, "content-length is missing")
        return b""
    if len(length) > 18 or int(length) > limits.body:
        raise HttpError(413, f"the body is longer than {limits.body} bytes")
    return await http.body()


class AsgiServer:
    """The application under uvicorn, listening."""

    def __init__(self, app: App, server: _Uvicorn, listener: socket.socket) -> None:
        self._app, self._server, self._listener = app, server, listener
        config, self._beginning = server.config, _Beginning()
        self.parser = config.http_protocol_class.__name__
        config.http_protocol_class = self._beginning.of(config.http_protocol_class)
        self._task = asyncio.create_task(server.serve(sockets=[listener]))

    @classmethod
    async def start(
        cls, app: App, limits: Limits, listener: socket.socket, certificate: str | None, key: str | None
    ) -> AsgiServer:
        """Listen on a bound socket."""
        config = uvicorn.Config(
            asgi(app, limits), log_config=None, access_log=False, lifespan="off", backlog=BACKLOG,
            h11_max_incomplete_event_size=limits.head, timeout_keep_alive=75,
            ssl_certfile=certificate, ssl_keyfile=key,
        )  # fmt: skip
        config.load()
        server = cls(app, _Uvicorn(config), listener)
        while not server._server.started and not server._task.done():
            await asyncio.sleep(0.01)
        return server

    @property
    def in_flight(self) -> int:
        """Of `harness.serving.loop.Server`."""
        return self._app.metrics.in_flight

    async def drain(self, seconds: float) -> int:
        """Of `harness.serving.loop.Server`."""
        self._app.draining = True
        await stop_accepting(self._listener)
        connections = self._server.server_state.connections
        deadline = monotonic() + seconds
        grace = monotonic() + min(GRACE_S, seconds)
        while (connections or self._beginning.any) and monotonic() < deadline:  # each ends with an answer that says so
            if monotonic() >= grace:
                for connection in list(connections):
                    _leave(connection)
            await asyncio.sleep(0.01)
        self._server.config.timeout_graceful_shutdown = max(1, round(deadline - monotonic()))
        self._server.should_exit = True
        await self._task
        return self.in_flight


class _Uvicorn(uvicorn.Server):
    """Signals are the process's own affair."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


class _Beginning:
    """Connections that are accepted, and still to be secured: their protocols are made, and have no transport."""

    def __init__(self) -> None:
        self._made: WeakSet[Any] = WeakSet()

    def of(self, kind: Any) -> Any:
        """What makes protocols of a kind, which are noted."""

        def made(**given: Any) -> Any:
            protocol = kind(**given)
            self._made.add(protocol)
            return protocol

        return made

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return any(getattr(protocol, "transport", None) is None for protocol in self._made)


def _leave(connection: Any) -> None:
    """Close a connection of any of uvicorn's protocols; one with a request under way after its answer."""
    cycle = getattr(connection, "cycle", None)
    if getattr(connection, "cycles", None) or not (cycle is None or cycle.response_complete):
        connection.shutdown()
    elif not connection.transport.is_closing():
        hang_up(connection.transport)
