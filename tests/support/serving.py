"""The pages of a server: one that had an eventful half-hour, and its routes."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

from support.bundles import saved

from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.check import example
from harness.serving.exchange import Reply, Request, Scoring, to_json
from harness.serving.model import ServedModel
from harness.serving.quota import Quota


def busy_page(directory: Path, name: str = "nsl-kdd-mlp") -> bytes:
    """The page after requests, refusals, every level and drift, of a model of that name."""
    model = ServedModel.open(saved(directory, "mlp").directory, "onnxruntime", 1)
    model.name = name
    admission = Admission(queue_rows=5000, deadline_s=100)
    app = App(model, apis=("documents", "v2"), admission=admission, drift_window=50, token=None)
    body = to_json(example(app, "/predict"))
    for _ in range(100):
        outcome = app.handle(Request("POST", "/predict", {}, body, True))
        assert isinstance(outcome, Scoring)
        app.score([outcome])
    levels = ("none", "investigate", "alert", "block")
    for step in range(200):
        for number in range(20 + round(15 * math.sin(step / 9))):
            app.count("/predict", 429 if step > 150 and number % 3 == 0 else 200)
            app.metrics.request_s.add(0.0004 + 0.004 * (number == 7) * (step % 40 > 30))
            app.metrics.decisions[levels[(number * step) % 7 % 4]] += 1
        if not 60 < step < 75:  # a pause
            app.history.sample(app.total(), 5.0 * (step + 1), None if step < 20 else 0.3 + step / 150)
    reply = app.handle(Request("GET", "/", {}, b"", True))
    assert isinstance(reply, Reply)
    return reply.body


def routes_page(directory: Path, name: str = "nsl-kdd-autoencoder", token: str | None = "secret") -> bytes:
    """The page of the ASGI front's routes, of a model of that name."""
    from harness.serving.asgi import asgi

    model = ServedModel.open(saved(directory, "autoencoder").directory, None, 1)
    model.name = name
    admission = Admission(queue_rows=5000, deadline_s=100)
    app = App(model, apis=("documents", "v2"), admission=admission, drift_window=50, token=token)
    app.quota = Quota(5.0)
    parts: list[bytes] = []

    async def received() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def sent(message: Any) -> None:
        parts.append(message.get("body", b""))

    headers = [] if token is None else [(b"authorization", b"Bearer " + token.encode())]
    scope = {
        "type": "http", "method": "GET", "path": "/docs", "raw_path": b"/docs", "headers": headers, "root_path": "",
        "query_string": b"", "scheme": "http", "server": ("a", 80), "client": None, "http_version": "1.1",
    }  # fmt: skip
    asyncio.run(asgi(app)(scope, received, sent))
    return b"".join(parts)
