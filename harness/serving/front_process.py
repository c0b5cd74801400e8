"""A front of a server with several: ``python -m harness.serving.front_process DIR NUMBER SOCKET``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from harness.decode import decode_json_file
from harness.placement.model import Placement
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.cards import open_fraud
from harness.serving.drift import DriftState
from harness.serving.fraud_parts import Elsewhere
from harness.serving.listening import token_of
from harness.serving.loop import ended, new_loop, on_commands, settle
from harness.serving.metrics import Metrics
from harness.serving.model import Options, ServedModel
from harness.serving.relay import Link, Relay
from harness.serving.serve_app import Serving, serve
from harness.serving.shared import FRONT, PUBLISHED_S, READY, TABLE, Shared, SharedQuota, name_of, socket_of
from harness.serving.spec import ServeSpec, asked_of


@dataclass(frozen=True)
class Ready:
    """What the supervisor says once the scorers are there."""

    parts: Elsewhere | None  # of a fraud model
    cpus: tuple[int, ...]  # of all processes


class Others:
    """The other processes, for `App`."""

    def __init__(self, directory: Path, number: int, links: list[Link]) -> None:
        self.shared = Shared(directory, name_of(FRONT, number))
        self.links = links

    def total(self, own: Metrics) -> Metrics:
        """Of `harness.serving.app.Others`."""
        return self.shared.total(own)

    def drift(self) -> DriftState:
        """Of `harness.serving.app.Others`."""
        return self.shared.drift(len(self.links))

    def ready(self) -> bool:
        """Of `harness.serving.app.Others`."""
        return all(link.up for link in self.links)


async def _serve(
    spec: ServeSpec, placement: Placement, app: App, others: Others, listener: socket.socket, token: str | None
) -> int:
    loop = asyncio.get_running_loop()
    ends = on_commands(loop)
    tasks = [asyncio.create_task(link.keep_open()) for link in others.links]
    while not others.ready():
        await asyncio.sleep(0.01)

    async def publishing() -> None:
        while True:
            others.shared.publish(app.metrics)
            await asyncio.sleep(PUBLISHED_S)

    tasks.append(asyncio.create_task(publishing()))

    def started(serving: Serving) -> None:
        print(json.dumps(serving.described(placement)), flush=True)

    try:
        return await serve(await Serving.start(spec, app, listener), token, started, ends, lambda: None)
    finally:
        others.shared.publish(app.metrics)
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def main(directory: Path, number: int, handle: int) -> int:
    """Serve until it is told to end; exit code 0, or 2 when requests were dropped."""
    spec, placement = asked_of(directory, name_of(FRONT, number))
    spec = replace(spec, check=spec.check and number == 0)
    ready = decode_json_file(Ready, directory / READY)
    token = token_of(spec)
    options = Options(spec.thresholds, spec.as_published)
    model = ServedModel.open(Path(spec.bundle), spec.backend, 1, options, scoring=False)
    links = [Link(str(socket_of(directory, each)), spec.queue_rows) for each in range(spec.scorers)]
    others = Others(directory, number, links)
    admission = Admission(queue_rows=spec.queue_rows, deadline_s=spec.deadline_s)
    fraud = open_fraud(replace(spec, state=None), model, admission, elsewhere=ready.parts)
    app = App(
        model, apis=spec.apis, admission=admission, drift_window=spec.drift_window, token=token, fraud=fraud,
        others=others, own=name_of(FRONT, number),
    )  # fmt: skip
    others.shared.go_on(app.metrics)
    app.cpus = ready.cpus
    app.taker = Relay(app, links, number % spec.scorers)
    if spec.quota_per_s is not None:
        app.quota = SharedQuota(spec.quota_per_s, directory / TABLE)
    listener = socket.socket(fileno=handle)
    listener.setblocking(False)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    settle()
    try:
        return loop.run_until_complete(_serve(spec, placement, app, others, listener, token))
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(ended(lambda: main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
