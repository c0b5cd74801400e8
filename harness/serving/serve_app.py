"""A front at work in a process: started, checked if that is asked for, drained, its lost requests counted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.errors import ExitCode, one_line
from harness.placement.model import Placement
from harness.serving.app import App
from harness.serving.check import check
from harness.serving.front import LeanServer
from harness.serving.http1 import Limits
from harness.serving.json_input import PARSER
from harness.serving.listening import limits_here, tls, url_of
from harness.serving.loop import Server, say
from harness.serving.spec import ServeSpec
from harness.wording import plural


@dataclass(frozen=True)
class Serving:
    """A front that listens."""

    spec: ServeSpec
    app: App
    server: Server
    url: str
    most_connections: int

    @classmethod
    async def start(cls, spec: ServeSpec, app: App, listener: socket.socket) -> Serving:
        """Listen on a bound socket."""
        limits = limits_here(Limits(body=spec.max_body))
        url = url_of(spec, listener)
        if spec.front == "asgi":
            from harness.serving.asgi import AsgiServer

            server: Server = await AsgiServer.start(app, limits, listener, tls(spec))
        else:
            server = await LeanServer.start(app, limits, listener, tls(spec))
        app.carried = {
            "front": spec.front,
            "http_parser": server.parser,
            "event_loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
            "json_parser": PARSER,
        }
        return cls(spec, app, server, url, limits.connections)

    def described(self, placement: Placement) -> dict[str, Any]:
        """What is served."""
        spec, app, model = self.spec, self.app, self.app.model
        return {
            "url": self.url,
            "model": model.name,
            "detector": model.bundle.manifest.provenance.detector,
            "backend": model.backend,
            "cpus": list(placement.cpus),
            "memory_policy": str(placement.memory_policy),
            **app.carried,
            "deadline_ms": spec.deadline_s * 1e3,
            "queue_rows": spec.queue_rows,
            "max_body_bytes": spec.max_body,
            "most_connections": self.most_connections,
            "requests_per_s_and_client": spec.quota_per_s,
            "thresholds": None if model.levels is None or model.plain else model.levels.thresholds,
            **({} if app.fraud is None else {"most_cards": app.fraud.states.most, "card_bytes": app.fraud.card_bytes}),
            "endpoints": list(app.endpoints),
        }


async def serve(
    serving: Serving,
    token: str | None,
    started: Callable[[Serving], None],
    ends: tuple[asyncio.Event, asyncio.Event],
    draining: Callable[[], None],
) -> int:
    """Serve until the first event, drain until the second; the exit code.

    Args:
        serving: the front.
        token: for the check of itself.
        started: called when it serves.
        ends: what asks to drain, and to end at once.
        draining: called before it drains.
    """
    spec, app, server = serving.spec, serving.app, serving.server
    stop, at_once = ends
    started(serving)
    if spec.check:
        failed = await asyncio.to_thread(check, serving.url, app, token, spec.tls_cert)
        for line in failed:
            say(f"check failed: {one_line(line)}")
        if not failed:
            say("check passed: a request of each kind was answered as it should be.")
        await server.drain(1.0)
        return ExitCode.REGRESSION if failed else ExitCode.GOOD
    ticking = asyncio.create_task(app.tick())
    await stop.wait()
    ticking.cancel()
    draining()
    ending = asyncio.create_task(server.drain(spec.drain_s))
    second = asyncio.create_task(at_once.wait())
    await asyncio.wait({ending, second}, return_when=asyncio.FIRST_COMPLETED)
    lost = ending.result() if ending.done() else server.in_flight
    ending.cancel()
    second.cancel()
    if lost:
        app.metrics.rejected["draining"] += lost
        say(f"{plural(lost, 'request')} got no answer.")
    return ExitCode.INCONCLUSIVE if lost else ExitCode.GOOD
