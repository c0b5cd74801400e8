"""``serve --check``: one request of each kind to the server itself, and what is wrong with the answers."""

from __future__ import annotations

import http.client
import ssl
from typing import Any
from urllib.parse import urlsplit

from harness.serving.app import App
from harness.serving.exchange import to_json

_ROWS = 3
_TRANSACTION = {
    "User": 0, "Card": 0, "Year": 2024, "Month": 8, "Day": 1, "Time": "09:00", "Amount": "$15.00", "Errors?": None,
    "Use Chip": "Chip Transaction", "Merchant Name": "2000", "Merchant City": "Rome",
}  # fmt: skip


def check(url: str, app: App, token: str | None, certificate: str | None) -> list[str]:
    """Ask every route once.

    Args:
        url: of the server.
        app: what it serves.
        token: bearer token.
        certificate: of the server, trusted here.

    Returns:
        A line per wrong answer.
    """
    address = urlsplit(url)
    assert address.hostname is not None
    if certificate is None:
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    else:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=30, context=context)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    failed = []
    for endpoint in app.endpoints:
        method, path = endpoint.split(" ")
        body = to_json(example(app, path)) if method == "POST" else None
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            failed.append(f"{endpoint}: {error}")
            continue
        if answer.status != 200:
            failed.append(f"{endpoint}: status {answer.status}: {text[:200].decode('utf-8', 'replace')}")
    connection.close()
    return failed


def example(app: App, path: str) -> dict[str, Any]:
    """A request that ``path`` takes: zeros, and the first category of each categorical column."""
    model = app.model
    if app.fraud is not None and path in ("/predict", "/predict_stream"):
        return (
            {"record": _TRANSACTION} if path == "/predict_stream" else {"records": [_TRANSACTION] * (model.steps or 1)}
        )
    if path != "/predict":
        shape = model.shape(_ROWS)
        count = 1
        for size in shape:
            count *= size
        return {"inputs": [{"name": "features", "datatype": "FP32", "shape": list(shape), "data": [0] * count}]}
    if model.encoder is None:
        return {"features": []}
    vocabulary = model.bundle.encoder.vocabulary
    return {"features": [vocabulary[name][0] if name in vocabulary else 0 for name in model.encoder.columns]}
