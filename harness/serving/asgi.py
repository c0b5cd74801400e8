"""The ASGI front: the handlers under FastAPI, with its OpenAPI page; bodies are the lean front's, to the byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import cache
from time import monotonic, perf_counter
from typing import Any, cast
from weakref import WeakSet

import fastapi
import uvicorn
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from harness import __version__
from harness.serving.app import App
from harness.serving.asgi_protocol import LINE, Framed, Handover, kind_of_protocol
from harness.serving.batch import RequestBatch
from harness.serving.exchange import HttpError, Reply, Request, Takes, to_json
from harness.serving.http1 import Limits
from harness.serving.listening import hang_up, stop_accepting
from harness.serving.loop import BACKLOG, GRACE_S, IDLE_S, SWEEP_S, makes_bytes
from harness.serving.openapi import SCHEME, about, operation, page_of

_OPENAPI = "/openapi.json"


def asgi(app: App) -> fastapi.FastAPI:
    """The application that uvicorn runs."""
    # Its own routes of the description would be open to all, whatever the token.
    api = fastapi.FastAPI(title="LPARBench", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    described: dict[str, Callable[[], Reply]] = {}  # path -> page
    batch: Takes = app.taker or RequestBatch(app)

    def scored(request: Request) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        batch.take(request, future.set_result)
        return future

    async def answer(http: fastapi.Request) -> Response:
        request, line = None, http.scope.get("state", {}).get(LINE)
        began = perf_counter() if line is None else line.began
        try:
            path = http.scope.get("raw_path", http.url.path.encode()).decode("ascii")
            request = Request(http.method, path, dict(http.headers), await http.body(), True)
            page = described.get(path) if http.method in ("GET", "HEAD") else None
            if page is not None:
                app.require_token(request.headers)
            reply = await scored(request) if page is None else page()
        except HttpError as error:
            reply = error.reply()
        except ClientDisconnect:  # nobody is there to be answered
            return Response(b"", 400)
        app.count(None if request is None else request.path, reply.status, reason=reply.reason)
        app.metrics.request_s.add(perf_counter() - began)
        response = Response(reply.body, reply.status, dict(reply.headers))
        response.headers["content-type"] = reply.content_type
        if app.draining and not (line is not None and line.followed):
            response.headers["connection"] = "close"
        return response

    for endpoint in app.endpoints:
        method, path = endpoint.split(" ")
        api.add_api_route(
            path, answer, methods=[method], response_class=Response, name=path, summary=about(app, method, path),
            openapi_extra=operation(app, method, path),
        )  # fmt: skip
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    api.add_api_route("/{path:path}", answer, methods=methods, include_in_schema=False)

    @cache
    def document() -> dict[str, Any]:
        text = get_openapi(title=api.title, version=api.version, routes=api.routes)
        if app.needs_token:
            text.setdefault("components", {})["securitySchemes"] = {SCHEME: {"type": "http", "scheme": "bearer"}}
        return text

    described[_OPENAPI] = lambda: Reply(200, to_json(document()))
    described["/docs"] = cache(lambda: page_of(document(), app.model.name))
    return api


class AsgiServer:
    """The application under uvicorn, listening."""

    def __init__(self, app: App, server: _Uvicorn, listener: socket.socket, parser: str) -> None:
        self._app, self._server, self._listener = app, server, listener
        config, self._beginning = server.config, _Beginning()
        self.parser = parser
        config.http_protocol_class = self._beginning.of(config.http_protocol_class)
        self._task = asyncio.create_task(server.serve(sockets=[listener]))
        self._sweeping = asyncio.create_task(self._sweep())

    @classmethod
    async def start(cls, app: App, limits: Limits, listener: socket.socket, tls: ssl.SSLContext | None) -> AsgiServer:
        """Listen on a bound socket."""
        config = uvicorn.Config(
            asgi(app), log_config=None, access_log=False, lifespan="off", backlog=limits.accepted,
            http=kind_of_protocol(), ws="none", server_header=False, h11_max_incomplete_event_size=limits.head,
            proxy_headers=False,
        )  # fmt: skip
        config.load()
        config.ssl = tls
        parser = config.http_protocol_class.__name__
        handover, loop = Handover(app, limits), asyncio.get_running_loop()
        config.http_protocol_class = handover.protocol(config.http_protocol_class, buffered=not makes_bytes(loop))
        config.loaded_app = handover.application(config.loaded_app)
        server = cls(app, _Uvicorn(config), listener, parser)
        while not server._server.started and not server._task.done():
            await asyncio.sleep(0.01)
        listener.listen(BACKLOG)  # which uvicorn set to what a turn accepts
        return server

    @property
    def in_flight(self) -> int:
        """Of `harness.serving.loop.Server`."""
        return sum(connection.in_flight for connection in self._connections)

    @property
    def _connections(self) -> set[Framed]:
        return cast("set[Framed]", self._server.server_state.connections)

    async def _sweep(self) -> None:
        """Give up clients that ask nothing or take no answer, for ever: uvicorn waits for both without end."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now = monotonic()
            for connection in list(self._connections):
                connection.expire(now, IDLE_S)

    async def drain(self, seconds: float) -> int:
        """Of `harness.serving.loop.Server`."""
        self._app.draining = True
        self._sweeping.cancel()
        await stop_accepting(self._listener)
        connections = self._connections
        deadline = monotonic() + seconds
        grace = monotonic() + min(GRACE_S, seconds)
        while (connections or self._beginning.any) and monotonic() < deadline:  # each ends with an answer that says so
            if monotonic() >= grace:
                for connection in list(connections):
                    _leave(connection)
            await asyncio.sleep(0.01)
        lost = self.in_flight
        for connection in list(connections):  # which do not end in time, as of a client that takes no answer
            connection.transport.abort()
        self._server.config.timeout_graceful_shutdown = max(1, round(deadline - monotonic()))
        self._server.should_exit = True
        await self._task
        return lost


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


def _leave(connection: Framed) -> None:
    """Close a connection on which nothing is under way; the answer to what is closes it."""
    idle = not connection.in_flight and not connection.begun
    if idle and connection.made <= monotonic() - GRACE_S and not connection.transport.is_closing():
        hang_up(connection.transport)
