"""Three thresholds, confidence, quotas and the page: what the FT-Transformer document asks of its endpoint."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bundles import saved
from test_serving_app import FEATURES, ask

from harness.errors import InputError
from harness.scoring.bundle import open_bundle
from harness.serving import page
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.exchange import Reply, Request
from harness.serving.front import LeanServer
from harness.serving.history import quantile
from harness.serving.http1 import Limits
from harness.serving.levels import Levels
from harness.serving.model import Options, ServedModel
from harness.serving.quota import Quota, client_of


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("levels") / "bundle", "mlp", validation=0.3).directory


def served(model: ServedModel) -> App:
    admission = Admission(queue_rows=5000, deadline_s=100)
    return App(model, apis=("documents", "v2"), admission=admission, drift_window=50, token=None)


def opened(directory: Path, thresholds: str | None = None) -> ServedModel:
    return ServedModel.open(directory, "onnxruntime", 1, Options(thresholds))


def test_a_classifier_answers_with_level_and_confidence(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(directory)
    app, bundle = served(model), model.bundle
    assert bundle.manifest.score == "logit"
    assert bundle.manifest.calibration is not None
    calibrated = bundle.manifest.calibration.probabilities
    seen = set()
    for score in np.linspace(-12, 12, 40, dtype=np.float32):
        monkeypatch.setattr(model, "score", lambda rows, score=score: np.full(len(rows), score, dtype=np.float32))
        status, answer = ask(app, "POST", "/predict", {"features": FEATURES})
        p = float(calibrated(np.array([score]))[0])
        expected = "none" if p <= 0.3 else "investigate" if p <= 0.5 else "alert" if p <= 0.7 else "block"
        assert status == 200
        assert answer == {
            "score": float(score), "anomaly": bool(bundle.labels(np.array([score]))[0]), "probability": p,
            "confidence": max(p, 1 - p), "level": expected, "calibrated": True, "model": model.name,
            "thresholds": {"investigate": 0.3, "alert": 0.5, "block": 0.7},
        }  # fmt: skip
        seen.add(expected)
    assert {"none", "block"} <= seen
    assert set(app.metrics.decisions) == seen


def test_targets_do_on_the_validation_rows_what_they_say(directory: Path) -> None:
    bundle = opened(directory).bundle
    assert bundle.validation is not None
    scores, labels = bundle.validation
    levels = Levels.of(bundle, "watch=recall:1,block=fpr:0.001")
    assert levels is not None
    probabilities = bundle.probabilities(scores)
    assert probabilities is not None
    names = np.array(levels.names(scores, probabilities))
    assert (names[labels == 1] != "none").all()
    assert (names[labels == 0] == "block").sum() <= 1  # of 241
    assert levels.thresholds["watch"] < levels.thresholds["block"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=0.5,b=0.4", "do not rise"),
        ("a=0.5,a=0.6", "different names"),
        ("none=0.5", "different names"),
        ("a", "'a' is no level"),
        ("a b=0.5", "is no level"),
        ("a=1.5", "expected a probability between 0 and 1"),
        ("a=nan", "expected a probability"),
        ("a=recall:2", "is no target"),
        ("a=luck:0.5", "is no target"),
    ],
)
def test_wrong_thresholds_are_named(directory: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Levels.of(opened(directory).bundle, text)
    assert "investigate=0.3" in (error.value.remedy or "")


def test_without_probabilities_there_are_no_levels(tmp_path: Path) -> None:
    bundle = open_bundle(saved(tmp_path / "bundle", "isolation-forest", {"n_estimators": 5}).directory)
    bundle = replace(bundle, manifest=replace(bundle.manifest, calibration=None))  # as without validation labels
    model = ServedModel(bundle, "onnxruntime", 1)
    assert model.levels is None
    assert set(ask(served(model), "POST", "/predict", {"features": FEATURES})[1]) == {"score", "anomaly"}
    assert model.level_names == tuple(str(number) for number in range(len(bundle.cuts) + 1))
    with pytest.raises(InputError, match="thresholds are of probabilities"):
        Levels.of(bundle, "a=0.5")


def test_an_autoencoder_with_labelled_validation_rows_has_levels_when_they_are_asked_for(tmp_path: Path) -> None:
    directory = saved(tmp_path / "bundle", "autoencoder", validation=0.3).directory
    asked = ask(served(opened(directory)), "POST", "/predict", {"features": FEATURES})[1]
    assert set(asked) == {"reconstruction_error", "anomaly"}  # the intrusion document's shape
    if opened(directory).bundle.validation is None:
        pytest.fail("the stand-in's validation rows are of a single kind")
    more = ask(served(opened(directory, "look=0.2")), "POST", "/predict", {"features": FEATURES})[1]
    assert more["reconstruction_error"] == asked["reconstruction_error"]
    assert more["thresholds"] == {"look": 0.2}
    assert more["calibrated"] is True


def test_the_protocol_gives_probabilities_too(directory: Path) -> None:
    model = opened(directory)
    width = len(model.features)
    tensor = {"name": "features", "datatype": "FP32", "shape": [2, width], "data": [0] * (2 * width)}
    request = {"inputs": [tensor], "outputs": [{"name": "probability"}, {"name": "score"}]}
    outputs = ask(served(model), "POST", f"/v2/models/{model.name}/infer", request)[1]["outputs"]
    expected = model.bundle.probabilities(np.array(outputs[1]["data"], dtype=np.float32))
    assert expected is not None
    assert outputs[0]["data"] == expected.astype(float).tolist()


class Now:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_quota_is_of_each_client_and_exact() -> None:
    now = Now()
    quota = Quota(5.0, now)
    assert [quota.wait("a") for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]
    assert quota.wait("b") == 0
    now.seconds = 0.2
    assert [quota.wait("a"), quota.wait("a")] == [0, 1]
    now.seconds = 100
    assert [quota.wait("a") for _ in range(6)] == [0] * 5 + [1]
    slow = Quota(0.1, now)
    assert [slow.wait("a"), slow.wait("a")] == [0, 10]
    total = sum(quota.wait("c") == 0 for now.seconds in np.arange(200, 210, 0.01))
    assert total in (54, 55)  # ten seconds at five, and the bucket


def test_accounts_of_clients_are_bounded() -> None:
    now = Now()
    quota = Quota(1.0, now)
    for number in range(70_000):
        quota.wait(str(number))
    assert len(quota._free_at) <= 65_536
    now.seconds = 10
    quota.wait("x")
    assert len(quota._free_at) == 1


def test_a_client_is_an_address_or_a_network() -> None:
    assert client_of(("10.0.0.7", 4711)) == "10.0.0.7"
    assert client_of(("2001:db8::1", 1, 0, 0)) == client_of(("2001:db8::ffff", 2, 0, 0)) == "2001:db8::/64"
    assert client_of(("::ffff:10.0.0.7", 1, 0, 0)) == "10.0.0.7"
    assert (client_of(None), client_of("")) == ("local", "local")


def test_beyond_its_quota_a_client_gets_429_and_still_sees_health(directory: Path) -> None:
    app = served(opened(directory))
    app.quota = Quota(0.5)

    async def exchange() -> list[bytes]:
        import socket

        listener = socket.create_server(("127.0.0.1", 0))
        server = await LeanServer.start(app, Limits(), listener, None)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        post = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
        get = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.write(post + post + get + post)
        heads = []
        for _ in range(4):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))  # type: ignore[index]
            heads.append(head)
        writer.close()
        await server.drain(1.0)
        return heads

    heads = asyncio.run(exchange())
    assert [int(head[9:12]) for head in heads] == [400, 429, 200, 429]
    assert b"Retry-After: 2\r\n" in heads[1]
    assert app.metrics.rejected["quota"] == 2


def test_the_page_shows_what_happened_and_runs_nothing_that_it_shows(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(directory)
    monkeypatch.setattr(model, "name", "<script>alert(1)</script>")
    app = served(model)
    for _ in range(100):
        ask(app, "POST", "/predict", {"features": FEATURES})
        app.count("/predict", 200)
        app.metrics.request_s.add(0.003)
    app._began -= 5.0
    app.sample()
    reply = app.handle(Request("GET", "/", {}, b"", True))
    assert isinstance(reply, Reply)
    text = reply.body.decode()
    assert (reply.status, reply.content_type) == (200, "text/html; charset=utf-8")
    assert dict(reply.headers)["Refresh"] == "5"
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<polyline") >= 5
    for word in ("Requests", "Latency", "Levels", "Drift", "answered", "p99", app.drift_state().drifted[0]):
        assert word in text
    (step,) = app.history.steps
    assert step.answered_per_s == pytest.approx(20, rel=0.2)
    assert f"answers {step.answered_per_s:.3g} requests a second, 99 % of them within" in text, "the page's first words"
    assert step.p50_s is not None
    assert 0.002 < step.p50_s < 0.004
    assert step.drift is not None
    assert step.drift > 1  # always the same row


def test_a_busy_servers_page_has_no_powers_of_ten() -> None:
    chart = page._chart("Requests", "", "/s", {"answered": [12.345, 30380.4], "refused": [999.6, 0.0]})
    assert (chart.top, [line.last for line in chart.lines]) == ("30,380/s", ["30,380/s", "0/s"])
    assert page._short(999.6) == "1,000"


def test_quantiles_lie_in_their_bucket() -> None:
    assert quantile((1.0, 2.0, 4.0), [0, 0, 0, 0], 0.5) is None
    assert quantile((1.0, 2.0, 4.0), [0, 10, 0, 0], 0.5) == pytest.approx(1.5)
    assert quantile((1.0, 2.0, 4.0), [50, 0, 50, 0], 0.99) == pytest.approx(3.96)
    assert quantile((1.0, 2.0, 4.0), [0, 0, 0, 1], 0.5) == 4.0
