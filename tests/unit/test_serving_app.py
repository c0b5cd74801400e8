"""The handlers: every caller gets the scores of its own rows, and every mistake names its field."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.bundles import saved

from harness.errors import ExitCode, InputError
from harness.platform.purr import Clock
from harness.platform.second_clock import ClockWatch, Elapsed
from harness.serving.admission import Admission
from harness.serving.app import App
from harness.serving.batch import Batch
from harness.serving.exchange import HttpError, Reply, Request, Scoring
from harness.serving.loop import ended
from harness.serving.model import ServedModel

LINE = (
    "0,tcp,private,REJ,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,117,10,0.00,0.00,1.00,1.00,0.09,0.06,0.00,255,10,0.04,0.05,"
    "0.00,0.00,0.00,0.00,1.00,1.00,neptune,21"
)
FEATURES: list[Any] = [
    text if index in (1, 2, 3) else float(text) for index, text in enumerate(LINE.split(",")[:-2])
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    kept = saved(tmp_path_factory.mktemp("served") / "bundle", "autoencoder")
    return ServedModel.open(kept.directory, "onnxruntime", 1)


@pytest.fixture
def app(model: ServedModel) -> App:
    return served(model)


def served(model: ServedModel, token: str | None = None) -> App:
    admission = Admission(queue_rows=100, deadline_s=10)
    return App(model, apis=("documents", "v2"), admission=admission, drift_window=100, token=token)


def ask(app: App, method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
    body = b"" if document is None else json.dumps(document).encode()
    try:
        outcome = app.handle(Request(method, path, headers, body, True))
        reply = app.score([outcome])[0] if isinstance(outcome, Scoring) else outcome
    except HttpError as error:
        reply = error.reply()
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body) if reply.body.startswith((b"{", b"[")) else reply.body


def raw_scores(model: ServedModel, rows: list[list[Any]]) -> np.ndarray:
    encoder = model.bundle.encoder
    return model.score(encoder.transform({name: [row[i] for row in rows] for i, name in enumerate(encoder.columns)}))


def test_the_documents_sample_request_is_answered_in_its_shape(app: App, model: ServedModel) -> None:
    status, answer = ask(app, "POST", "/predict", {"features": FEATURES})
    (score,) = raw_scores(model, [FEATURES])
    assert status == 200
    assert answer == {
        "reconstruction_error": float(score),
        "anomaly": bool(score > model.bundle.manifest.decision.value),
    }


def test_encoded_and_raw_tensors_give_the_same_scores(app: App, model: ServedModel) -> None:
    path = f"/v2/models/{model.name}"
    metadata = ask(app, "GET", path)[1]
    numbers = metadata["parameters"]["numeric_columns"]
    columns = list(model.bundle.encoder.columns)
    rows = [FEATURES, [value + 1 if isinstance(value, float) else value for value in FEATURES]]
    numeric = [[row[columns.index(name)] for name in numbers] for row in rows]
    raw = [{"name": "numeric", "datatype": "FP64", "shape": [2, len(numbers)], "data": numeric}]
    for tensor in metadata["inputs"][2:]:
        values = [row[columns.index(tensor["name"])] for row in rows]
        raw.append({"name": tensor["name"], "datatype": "BYTES", "shape": [2], "data": values})
    status, answer = ask(app, "POST", f"{path}/infer", {"id": "7", "inputs": raw})
    assert (status, answer["id"], answer["model_name"]) == (200, "7", model.name)
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["score"]["data"] == raw_scores(model, rows).astype(float).tolist()
    assert outputs["score"]["shape"] == [2]
    encoded = app.model.encoder.encode(rows, "rows")  # type: ignore[union-attr]
    for data in (encoded.tolist(), encoded.ravel().tolist()):
        tensor = {"name": "features", "datatype": "FP32", "shape": list(encoded.shape), "data": data}
        request = {"inputs": [tensor], "outputs": [{"name": "score"}]}
        status, again = ask(app, "POST", f"{path}/versions/1/infer", request)
        assert status == 200
        assert [output["name"] for output in again["outputs"]] == ["score"]
        assert again["outputs"][0]["data"] == outputs["score"]["data"]


def test_callers_of_unequal_sizes_each_get_their_own_rows(app: App, model: ServedModel) -> None:
    rng = np.random.default_rng(2)
    width = len(model.features)
    parts = [rng.random((size, width)).astype(np.float32) for size in (3, 1, 5, 2)]
    batch = []
    for index, part in enumerate(parts):
        tensor = {"name": "features", "datatype": "FP32", "shape": list(part.shape), "data": part.tolist()}
        body = json.dumps({"id": str(index), "inputs": [tensor]}).encode()
        outcome = app.handle(Request("POST", f"/v2/models/{model.name}/infer", {}, body, True))
        assert isinstance(outcome, Scoring)
        batch.append(outcome)
    assert app.admission.waiting == 11
    for index, (part, reply) in enumerate(zip(parts, app.score(batch), strict=True)):
        answer = json.loads(reply.body)
        assert answer["id"] == str(index)
        np.testing.assert_allclose(answer["outputs"][0]["data"], model.score(part), rtol=1e-5)
    assert app.admission.waiting == 0


def test_a_score_that_is_no_number_fails_its_own_request_alone(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = []
    for _ in range(2):
        outcome = app.handle(Request("POST", "/predict", {}, json.dumps({"features": FEATURES}).encode(), True))
        assert isinstance(outcome, Scoring)
        batch.append(outcome)
    monkeypatch.setattr(app.model, "score", lambda _: np.array([np.nan, 0.5], dtype=np.float32))
    bad, good = app.score(batch)
    assert (bad.status, good.status) == (500, 200)
    assert b"nan" not in bad.body.lower()


def tensor(width: int, **change: Any) -> dict[str, Any]:
    whole = {"name": "features", "datatype": "FP32", "shape": [1, width], "data": [0] * width}
    return {key: value for key, value in (whole | change).items() if value is not None}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "inputs is missing"),
        ([], "inputs: expected at least one tensor"),
        ([7], "inputs[0]: expected an object, not 7"),
        ([{"name": None}], "inputs[0].name is missing; expected a name"),
        ([{"name": "other"}], "inputs: 'numeric' is missing"),
        ([{"shape": [1, 3]}], "inputs[0].shape: expected [-1, "),
        ([{"shape": [2, -1]}], "inputs[0].shape: expected a list of whole numbers"),
        ([{"shape": [True, 1]}], "inputs[0].shape: expected a list of whole numbers"),
        ([{"datatype": "BYTES"}], "inputs[0].datatype: expected one of"),
        ([{"data": [0]}], "inputs[0].data holds 1 value; the shape"),
        ([{"data": [[0], 1]}], "inputs[0].data: lists and values are mixed"),
        ([{"data": None}], "inputs[0].data is missing"),
        ([{}, {}], "inputs[1].name: 'features' is given twice"),
    ],
)
def test_a_wrong_tensor_is_named_by_its_path(app: App, model: ServedModel, inputs: Any, message: str) -> None:
    width = len(model.features)
    document: dict[str, Any] = {}
    if inputs is not None:
        document["inputs"] = [tensor(width, **each) if isinstance(each, dict) else each for each in inputs]
    status, answer = ask(app, "POST", f"/v2/models/{model.name}/infer", document)
    assert status == 400
    assert answer["error"].startswith(message)


def test_rows_given_as_lists_are_of_the_shape_and_their_values_named_as_in_the_request(
    app: App, model: ServedModel
) -> None:
    width = len(model.features)

    def error(first: list[Any], second: list[Any]) -> str:
        inputs = [tensor(width, shape=[2, width], data=[first, second])]
        status, answer = ask(app, "POST", f"/v2/models/{model.name}/infer", {"inputs": inputs})
        assert status == 400
        return str(answer["error"])

    zeros = [0] * width
    assert error(zeros, ["x", *zeros[1:]]).startswith("inputs[0].data[1][0]: expected a number")
    assert error([*zeros[1:], 1e300], zeros).startswith(f"inputs[0].data[0][{width - 1}]: a number does not fit FP32")
    assert error(zeros[1:], [0, *zeros]).startswith("inputs[0].data: its lists do not have the shape")


@pytest.mark.parametrize("value", ["x", True, None, [1]])
def test_a_value_that_is_no_number_is_named(app: App, model: ServedModel, value: Any) -> None:
    data = [0.0] * len(model.features)
    request = {"inputs": [tensor(len(data), data=[*data[:4], value, *data[5:]])]}
    status, answer = ask(app, "POST", f"/v2/models/{model.name}/infer", request)
    assert status == 400
    assert answer["error"].startswith("inputs[0].data" if isinstance(value, list) else "inputs[0].data[4]")


def test_unknown_paths_and_methods_are_told_what_there_is(app: App) -> None:
    assert ask(app, "GET", "/nothing")[0] == 404
    status, answer = ask(app, "GET", "/predict")
    assert (status, answer["error"]) == (405, "/predict takes POST")
    status, answer = ask(app, "POST", "/health", {})
    assert (status, answer["error"]) == (405, "/health takes GET, HEAD")


def test_a_token_guards_all_but_health(model: ServedModel) -> None:
    app = served(model, token="secret")
    assert ask(app, "GET", "/v2/health/live")[0] == 200
    assert ask(app, "GET", "/metrics")[0] == 401
    assert ask(app, "GET", "/nothing")[0] == 401
    assert ask(app, "POST", "/predict", {"features": FEATURES})[0] == 401
    assert ask(app, "POST", "/predict", {"features": FEATURES}, authorization="Bearer secret")[0] == 200


def test_a_draining_server_is_live_and_not_ready(app: App) -> None:
    assert ask(app, "GET", "/v2/health/ready")[0] == 200
    app.draining = True
    app.count("/v2/health/ready", 503)
    app.count("/predict", 500)
    assert not app.metrics.rejected  # neither was refused
    assert (ask(app, "GET", "/v2/health/live")[0], ask(app, "GET", "/v2/health/ready")[0]) == (200, 503)


def test_metrics_are_open_metrics_and_count_what_was_done(app: App, model: ServedModel) -> None:
    for _ in range(3):
        ask(app, "POST", "/predict", {"features": FEATURES})
    app.count("/predict", 200)
    app.count(None, 400)
    app.metrics.request_s.add(0.003)
    families = {
        family.name: family for family in text_string_to_metric_families(ask(app, "GET", "/metrics")[1].decode())
    }
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value for f in families.values() for sample in f.samples
    }
    assert values["lparbench_requests_total", ("code", "200"), ("endpoint", "/predict")] == 1
    assert values["lparbench_rejected_total", ("reason", "invalid")] == 1
    assert values["lparbench_batch_rows_sum",] == 3
    assert values["lparbench_request_seconds_count",] == 1
    assert sum(v for (name, *_), v in values.items() if name == "lparbench_decisions_total") == 3
    scores = {sample.labels["le"]: sample.value for sample in families["lparbench_scores"].samples if sample.labels}
    assert scores["+Inf"] == values["lparbench_scores_count",] == 3
    assert set(scores.values()) == {0, 3}  # always the same row
    assert values["lparbench_worker_share", ("worker", "server")] == 1
    assert families["lparbench_physical_cores"].samples == []  # off PowerVM
    assert families["lparbench_model"].samples[0].labels["model"] == model.name


def test_the_wait_for_the_scorer_is_that_of_the_first_of_a_turn(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((10.0, 10.1, 10.25))
    monkeypatch.setattr("harness.serving.batch.perf_counter", lambda: next(clock))
    flushes: list[Any] = []
    replies: list[Reply] = []
    batch: Batch[Request] = Batch(app, flushes.append)
    for _ in range(2):
        batch.take(Request("POST", "/predict", {}, json.dumps({"features": FEATURES}).encode(), True), replies.append)
    (flush,) = flushes
    flush()
    assert [reply.status for reply in replies] == [200, 200]
    assert (app.metrics.queue_s.count, app.metrics.queue_s.total) == (1, 0.25)
    assert "lparbench_queue_seconds_sum 0.25\n" in ask(app, "GET", "/metrics")[1].decode()


def test_drift_is_told_per_feature(app: App, model: ServedModel) -> None:
    for _ in range(2):
        for _ in range(100):
            ask(app, "POST", "/predict", {"features": FEATURES})
    status, answer = ask(app, "GET", "/drift")
    assert status == 200
    assert answer["windows"] == 2
    assert answer["alarms"] == 1  # always the same row
    assert set(answer["features"]) == set(model.features)
    assert answer["scores"]["over"] is True
    assert answer["flagged"]["share"] in (0, 1)
    assert (answer["missing"], answer["scores_of"], answer["unwatched"]) == ({}, "validation rows", [])
    assert "scores" in answer["drifted"]
    families = {
        family.name: family for family in text_string_to_metric_families(ask(app, "GET", "/metrics")[1].decode())
    }
    statistics = {sample.labels["statistic"] for sample in families["lparbench_drift"].samples}
    assert statistics == {"psi", "ks", "flagged"}
    (ks,) = [each for each in families["lparbench_drift_of_bound"].samples if each.labels["statistic"] == "ks"]
    assert ks.value == pytest.approx(answer["scores"]["distance"] / answer["scores"]["bound"], rel=1e-6)


def test_the_partitions_physical_cores_are_those_between_two_looks(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter((Clock(0, 0), Clock(1000, 1500)))
    monkeypatch.setattr("harness.platform.purr.read", lambda _: next(clocks))
    for _ in range(2):
        app.sample()
    text = ask(app, "GET", "/metrics")[1].decode()
    assert "lparbench_physical_cores 1.5\n" in text
    assert list(text_string_to_metric_families(text))


def test_a_server_whose_clock_is_wrong_says_so(app: App, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    app.sample()
    assert ask(app, "GET", "/health")[1]["clock_mismatch"] is None
    monkeypatch.setattr(ClockWatch, "elapsed", lambda _: Elapsed(50.0, 5.0))
    app.sample()
    monkeypatch.undo()
    app.sample()  # it is not trusted again
    words = "the clock that times says that 50.00 s passed, the kernel's uptime 5.00 s"
    assert ask(app, "GET", "/health")[1]["clock_mismatch"] == words
    assert capsys.readouterr().err == f"lparbench: latencies and deadlines are wrong: {words}.\n"
    families = {
        family.name: family for family in text_string_to_metric_families(ask(app, "GET", "/metrics")[1].decode())
    }
    assert families["lparbench_clock_mismatch"].samples[0].value == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datatype": "INT32", "first": 0.5}, "inputs[0].data[1]: expected a number of INT32, not 0.5"),
        ({"datatype": "UINT8", "first": -1}, "inputs[0].data[1]: expected a number of UINT8, not -1"),
        ({"datatype": "UINT8", "first": 256}, "inputs[0].data[1]: expected a number of UINT8, not 256"),
        ({"datatype": "INT64", "first": 1e19}, "inputs[0].data[1]: expected a number of INT64"),
        ({"datatype": "FP16", "first": 65600}, "inputs[0].data[1]: expected a number of FP16, not 65600"),
        ({"datatype": "FP32", "first": 1e39}, "inputs[0].data[1]: a number does not fit FP32"),
        ({"parameters": []}, "inputs[0].parameters: expected an object, not []"),
    ],
)
def test_a_value_is_of_its_tensors_datatype(app: App, model: ServedModel, change: dict[str, Any], message: str) -> None:
    path, width = f"/v2/models/{model.name}/infer", len(model.features)
    data = [0, change.pop("first", 0), *[0] * (width - 2)]
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, width], "data": data, "parameters": {}} | change
    status, answer = ask(app, "POST", path, {"inputs": [tensor]})
    assert (status, answer["error"][: len(message)]) == (400, message)
    tensor |= {"data": [0, 7, *data[2:]], "parameters": {"any": 1}}
    assert ask(app, "POST", path, {"inputs": [tensor], "parameters": {}})[0] == 200
    for where in ({"parameters": 1}, {"outputs": [{"name": "score", "parameters": 1}]}):
        assert ask(app, "POST", path, {"inputs": [tensor], **where})[0] == 400


def test_a_raw_value_is_named_by_its_place_in_the_request(app: App, model: ServedModel) -> None:
    numbers = ask(app, "GET", f"/v2/models/{model.name}")[1]["parameters"]["numeric_columns"]
    columns = list(model.bundle.encoder.columns)

    def error(nested: bool, wrong: str, value: Any) -> str:
        rows = [FEATURES, [value if name == wrong else each for name, each in zip(columns, FEATURES, strict=True)]]
        block = [[row[columns.index(name)] for name in numbers] for row in rows]
        flat = [value for row in block for value in row]
        inputs = [
            {"name": "numeric", "datatype": "FP64", "shape": [2, len(numbers)], "data": block if nested else flat}
        ]
        for name in ("protocol_type", "service", "flag"):
            values = [row[columns.index(name)] for row in rows]
            shape = [2, 1] if nested else [2]
            data = [[each] for each in values] if nested else values
            inputs.append({"name": name, "datatype": "BYTES", "shape": shape, "data": data})
        status, answer = ask(app, "POST", f"/v2/models/{model.name}/infer", {"inputs": inputs})
        assert status == 400
        return str(answer["error"])

    assert error(False, "service", "gone").startswith("inputs[2].data[1]: expected a category that training held (serv")
    assert error(True, "flag", "gone").startswith("inputs[3].data[1][0]: expected a category that training held (flag)")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyError("x"), ExitCode.TOOL_FAILED, "failed: KeyError: 'x' (test_serving_app.py:"),
        (OSError(28, "No space left on device", "/x\x1b[31m"), ExitCode.TOOL_FAILED, "No space left on device"),
        (InputError("it is none"), ExitCode.USAGE, "error: it is none"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted"),
    ],
)
def test_a_server_ends_with_one_line_and_a_code_of_the_table(
    error: BaseException, code: ExitCode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        raise error

    assert ended(main) == code
    said = capsys.readouterr().err
    assert said.startswith("lparbench: ")
    assert words in said
    assert said.count("\n") == 1
    assert "\x1b" not in said
