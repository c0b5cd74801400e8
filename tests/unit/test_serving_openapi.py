"""Requests that schemathesis makes of the ASGI front's own OpenAPI page: each is answered, and none by a defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.bundles import saved

from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.model import ServedModel

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install schemathesis")
pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'lparbench[serve]'")


def test_no_request_of_the_described_api_is_answered_by_a_defect(tmp_path: Path) -> None:
    from hypothesis import HealthCheck, Phase, given, settings

    from harness.serving.asgi import asgi

    model = ServedModel.open(saved(tmp_path / "bundle", "autoencoder").directory, None, 1)
    admission = Admission(queue_rows=5000, deadline_s=100)
    app = App(model, apis=("documents", "v2"), admission=admission, drift_window=100, token=None)
    schema = schemathesis.openapi.from_asgi("/openapi.json", asgi(app))
    asked: dict[str, set[int]] = {}
    described = set()
    for outcome in schema.get_all_operations():
        described.add(outcome.ok().label)
        if not outcome.ok().label.startswith("POST"):  # they take nothing that could be wrong
            continue

        @settings(
            max_examples=10, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=outcome.ok().as_strategy())
        def ask(case: Any) -> None:
            response = case.call()
            asked.setdefault(case.operation.label, set()).add(response.status_code)
            assert response.status_code < 500
            if response.status_code >= 400:
                assert set(response.json()) == {"error"}
                assert "Traceback" not in response.text

        ask()
    assert described == set(app.endpoints)
    posts = {endpoint for endpoint in app.endpoints if endpoint.startswith("POST")}
    assert set(asked) == posts
    assert all({400} <= statuses <= {200, 400} for statuses in asked.values())
    for operation in (outcome.ok() for outcome in schema.get_all_operations()):
        if operation.label in posts:  # the body that the description gives
            (body,) = operation.definition.raw["requestBody"]["content"].values()
            assert operation.Case(body=body["example"], media_type="application/json").call().status_code == 200
    assert app.metrics.in_flight == 0
