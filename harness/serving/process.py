"""The placed server process: ``python -m harness.serving.process DIR``, where DIR holds its spec and placement."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path

from harness.placement.model import Placement
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.cards import keep_cards, open_fraud
from harness.serving.listening import announce, listeners, token_of
from harness.serving.loop import ended, new_loop, on_signals, say, settle
from harness.serving.model import Options, ServedModel
from harness.serving.quota import Quota
from harness.serving.serve_app import Serving, serve
from harness.serving.spec import ServeSpec, asked_of


def main(spec: ServeSpec, placement: Placement) -> int:
    """Serve until a signal; exit code 0, or 2 when requests were dropped."""
    token = token_of(spec)
    model = ServedModel.open(Path(spec.bundle), spec.backend, spec.threads, Options(spec.thresholds, spec.as_published))
    admission = Admission(queue_rows=spec.queue_rows, deadline_s=spec.deadline_s)
    fraud = open_fraud(spec, model, admission)
    app = App(model, apis=spec.apis, admission=admission, drift_window=spec.drift_window, token=token, fraud=fraud)
    if spec.quota_per_s is not None:
        app.quota = Quota(spec.quota_per_s)
    (listener,) = listeners(spec.host, spec.port, 1)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    settle()
    try:
        code = loop.run_until_complete(_serve(spec, placement, app, listener, token))
    finally:
        loop.close()
    if fraud is not None:
        keep_cards(spec, fraud)
    return code


async def _serve(spec: ServeSpec, placement: Placement, app: App, listener: socket.socket, token: str | None) -> int:
    stop, at_once = on_signals(asyncio.get_running_loop())

    def started(serving: Serving) -> None:
        announce(serving.described(placement), as_json=spec.as_json)

    def draining() -> None:
        say(f"draining, at most {spec.drain_s:g} s; a second signal ends it.")

    serving = await Serving.start(spec, app, listener)
    return await serve(serving, token, started, (stop, at_once), draining)


def _job(directory: Path) -> tuple[ServeSpec, Placement]:
    """What is asked; the directory was for this alone and goes."""
    try:
        return asked_of(directory, "0")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(ended(lambda: main(*_job(Path(sys.argv[1])))))
