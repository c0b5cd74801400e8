"""The page of a server that had an eventful half-hour."""

from __future__ import annotations

import math
from pathlib import Path

from support.bundles import saved

from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.check import example
from harness.serving.exchange import Reply, Request, Scoring, to_json
from harness.serving.model import ServedModel


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
