"""Both fronts, in the loop of a test."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.serving import asgi, front
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.http1 import Limits
from harness.serving.listening import listeners
from harness.serving.model import ServedModel


async def started(
    kind: str,
    model: ServedModel,
    files: tuple[Path, Path] | None = None,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    admission: Admission | None = None,
    change: Callable[[App], None] = lambda _: None,
) -> tuple[Any, tuple[str, int]]:
    """A front, and its address; ``change`` is called with the application before it listens."""
    limits = limits or Limits()
    admission = admission or Admission(queue_rows=100, deadline_s=100)
    app = App(model, apis=("documents", "v2"), admission=admission, drift_window=100, token=token)
    change(app)
    (listener,) = listeners("127.0.0.1", 0, 1)
    address = listener.getsockname()
    context = None
    if files is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    if kind == "asgi":
        return await asgi.AsgiServer.start(app, limits, listener, context), address
    return await front.LeanServer.start(app, limits, listener, context), address
