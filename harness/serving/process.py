"""The placed server process: ``python -m harness.serving.process DIR``, where DIR holds its spec and placement."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from harness.decode import decode_json_file
from harness.errors import ExitCode, InputError, LparbenchError, one_line
from harness.placement.model import Placement
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.cards import keep_cards, open_fraud
from harness.serving.check import check
from harness.serving.front import LeanServer
from harness.serving.http1 import Limits
from harness.serving.json_input import PARSER
from harness.serving.loop import Server, new_loop
from harness.serving.model import Options, ServedModel
from harness.serving.quota import Quota
from harness.serving.spec import PLACEMENT, SPEC, ServeSpec


def main(spec: ServeSpec, placement: Placement) -> int:
    """Serve until a signal; exit code 0, or 2 when requests were dropped."""
    token = None if spec.token_file is None else _token(Path(spec.token_file))
    model = ServedModel.open(Path(spec.bundle), spec.backend, spec.threads, Options(spec.thresholds, spec.as_published))
    admission = Admission(queue_rows=spec.queue_rows, deadline_s=spec.deadline_s)
    fraud = open_fraud(spec, model, admission)
    app = App(model, apis=spec.apis, admission=admission, drift_window=spec.drift_window, token=token, fraud=fraud)
    if spec.quota_per_s is not None:
        app.quota = Quota(spec.quota_per_s)
    listener = _listener(spec)
    loop = new_loop()
    asyncio.set_event_loop(loop)
    gc.collect()
    gc.freeze()
    try:
        code = loop.run_until_complete(_serve(spec, placement, app, listener, token))
    finally:
        loop.close()
    if fraud is not None:
        keep_cards(spec, fraud)
    return code


async def _serve(spec: ServeSpec, placement: Placement, app: App, listener: socket.socket, token: str | None) -> int:
    loop = asyncio.get_running_loop()
    stop, at_once = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal(stop, at_once))
    server = await _started(spec, app, listener)
    host, port = listener.getsockname()[:2]
    url = f"{'http' if spec.tls_cert is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
    _announce(url, spec, placement, app, server)
    ticking = asyncio.create_task(app.tick())
    if spec.check:
        failed = await asyncio.to_thread(check, url, app, token, spec.tls_cert)
        for line in failed:
            print(f"lparbench: check failed: {one_line(line)}", file=sys.stderr)
        await server.drain(1.0)
        return ExitCode.REGRESSION if failed else ExitCode.GOOD
    await stop.wait()
    ticking.cancel()
    draining = f"lparbench: draining, at most {spec.drain_s:g} s; a second signal ends it."
    print(draining, file=sys.stderr, flush=True)
    ending = asyncio.create_task(server.drain(spec.drain_s))
    second = asyncio.create_task(at_once.wait())
    await asyncio.wait({ending, second}, return_when=asyncio.FIRST_COMPLETED)
    lost = ending.result() if ending.done() else server.in_flight
    ending.cancel()
    second.cancel()
    if lost:
        print(f"lparbench: {lost} requests were not answered.", file=sys.stderr, flush=True)
    return ExitCode.INCONCLUSIVE if lost else ExitCode.GOOD


async def _started(spec: ServeSpec, app: App, listener: socket.socket) -> Server:
    limits = Limits(body=spec.max_body)
    if spec.front == "asgi":
        from harness.serving.asgi import AsgiServer

        return await AsgiServer.start(app, limits, listener, spec.tls_cert, spec.tls_key)
    return await LeanServer.start(app, limits, listener, _tls(spec))


def _on_signal(stop: asyncio.Event, at_once: asyncio.Event) -> Callable[[], None]:
    def signalled() -> None:
        (at_once if stop.is_set() else stop).set()

    return signalled


def _announce(url: str, spec: ServeSpec, placement: Placement, app: App, server: Server) -> None:
    """Say what is served where: one line of JSON in a pipe, text on a terminal."""
    model = app.model
    described = {
        "url": url,
        "model": model.name,
        "detector": model.bundle.manifest.provenance.detector,
        "backend": model.backend,
        "cpus": list(placement.cpus),
        "memory_policy": placement.memory_policy,
        "front": spec.front,
        "http_parser": server.parser,
        "event_loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
        "json_parser": PARSER,
        "deadline_ms": spec.deadline_s * 1e3,
        "queue_rows": spec.queue_rows,
        "max_body_bytes": spec.max_body,
        "requests_per_s_and_client": spec.quota_per_s,
        "thresholds": None if model.levels is None or model.plain else model.levels.thresholds,
        **({} if app.fraud is None else {"most_cards": app.fraud.states.most, "card_bytes": app.fraud.card_bytes}),
        "endpoints": list(app.endpoints),
    }
    if spec.as_json or not sys.stdout.isatty():
        print(json.dumps(described), flush=True)
        return
    print(f"{model.name} ({model.backend}) on CPUs {','.join(map(str, placement.cpus))}: {url}")
    for endpoint in app.endpoints:
        print(f"  {endpoint}")
    limits = f"{spec.deadline_s * 1e3:g} ms, {spec.queue_rows} rows waiting, {spec.max_body} bytes a body"
    print(f"limits: {limits}. Ctrl-C drains and ends.", flush=True)


def _job(directory: Path) -> tuple[ServeSpec, Placement]:
    """What is asked; the directory was for this alone and goes."""
    try:
        return decode_json_file(ServeSpec, directory / SPEC), Placement.read(directory / PLACEMENT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.", remedy="Give a file that holds the token.") from None
    if not token:
        raise InputError(f"{path} is empty.", remedy="Put the token into it.")
    return token


def _listener(spec: ServeSpec) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(spec.host, spec.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        raise InputError(f"{spec.host}:{spec.port} cannot be listened on: {why}.", remedy="Choose --port.") from None
    listener.setblocking(False)
    return listener


def _tls(spec: ServeSpec) -> ssl.SSLContext | None:
    if spec.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(spec.tls_cert, spec.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{spec.tls_cert}: {error}.", remedy="Give a PEM certificate and its key.") from None
    return context


if __name__ == "__main__":
    try:
        code = main(*_job(Path(sys.argv[1])))
    except LparbenchError as problem:
        print(f"lparbench: error: {one_line(problem.message)}", file=sys.stderr)
        if problem.remedy:
            print(f"  {one_line(problem.remedy)}", file=sys.stderr)
        code = problem.exit_code
    sys.exit(code)
