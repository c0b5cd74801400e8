"""What OpenAPI says of the routes, and the page of it: in the report's look, without scripts, without other hosts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.serving.app import App, is_work
from harness.serving.check import example
from harness.serving.exchange import JSON, Reply
from harness.serving.page import html
from harness.wording import plural

SCHEME = "token"
_SHORT = 600  # characters of an example that is shown unfolded
_ABOUT = {
    "/v2/health/live": "whether the server is alive",
    "/v2/health/ready": "whether the server takes requests",
    "/health": "what is served, on which CPUs",
    "/": "a page: rate, latency, levels and drift of the last half-hour",
    "/metrics": "counters and histograms as OpenMetrics text",
    "/drift": "drift of the last window, feature by feature",
    "/predict": "score of a row and the decision on it",
    "/predict_stream": "the next transaction of its card",
    "/v2": "the server, by the Open Inference Protocol",
}
_ABOUT_MODEL = {
    "": "the model, its inputs and outputs, by the Open Inference Protocol",
    "/ready": "whether the model takes requests",
    "/infer": "scores of rows, by the Open Inference Protocol",
}
_OF_WORK = {
    "400": "the request is malformed: the answer names the field",
    "413": "the body is longer, or has more rows, than the server takes",
    "503": "it would be answered too late: Retry-After says in how many seconds to try again",
}


def about(app: App, method: str, path: str) -> str:
    """A route in a few words."""
    if path == "/predict" and app.fraud is not None:
        return "scores of windows of transactions, which no card's state depends on"
    model = app.model.path
    rest = path.removeprefix(model).removeprefix(f"/versions/{app.model.version}")
    return _ABOUT_MODEL[rest] if path.startswith(model) else _ABOUT.get(path, f"{method} {path}")


def operation(app: App, method: str, path: str) -> dict[str, Any]:
    """What OpenAPI says of a route, its words aside."""
    extra: dict[str, Any] = {}
    answers = dict(_OF_WORK) if is_work(method) else {}
    if is_work(method):
        body = {"schema": {"type": "object"}, "example": example(app, path)}
        extra["requestBody"] = {"required": True, "content": {JSON: body}}
        if app.quota is not None:
            answers["429"] = "more requests than a client may send: Retry-After says when to try again"
    if path.endswith("/ready"):
        answers["503"] = "it is starting or draining, or a process that scores is away"
    if app.needs_token and not app.is_open(method, path):
        extra["security"] = [{SCHEME: []}]
        answers["401"] = "the bearer token is missing, or another"
    extra["responses"] = {"200": {"description": about(app, method, path)}} | {
        status: {"description": text} for status, text in sorted(answers.items())
    }
    return extra


@dataclass(frozen=True)
class _Route:
    method: str
    path: str
    about: str
    token: bool
    statuses: str
    example: str | None
    folded: bool


def page_of(document: Mapping[str, Any], model: str) -> Reply:
    """The page of an OpenAPI document."""
    routes, answers = [], dict[str, set[str]]()
    for path, methods in document["paths"].items():
        for method, each in methods.items():
            body = each.get("requestBody", {}).get("content", {}).get(JSON, {}).get("example")
            text = None if body is None else json.dumps(body, ensure_ascii=False)
            routes.append(
                _Route(
                    method.upper(), path, each["summary"], bool(each.get("security")), ", ".join(each["responses"]),
                    text, text is not None and len(text) > _SHORT,
                )
            )  # fmt: skip
            for status, answer in each["responses"].items():
                if status != "200":
                    answers.setdefault(status, set()).add(answer["description"])
    return html(
        "openapi.html.j2",
        model=model,
        version=document["info"]["version"],
        routes=routes,
        counted=plural(len(routes), "route"),
        token=any(route.token for route in routes),
        answers=[(status, "; or ".join(sorted(texts))) for status, texts in sorted(answers.items())],
    )
