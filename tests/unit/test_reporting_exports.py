"""Exports are read back by what they are for: pytest-benchmark, Prometheus' parser, MLflow's client."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from support.mutations import small_run
from support.records import inference, run
from typer.testing import CliRunner

from harness.cli.main import app
from harness.cli.run import log_run
from harness.compare.compare import compare
from harness.compare.inputs import load_history, load_side
from harness.compare.observations import side_of
from harness.errors import InputError, LparbenchError
from harness.measure.verdicts import CompareVerdict
from harness.record.model import Metric, Validity, Verdict
from harness.record.store import kept_bundles, write_run
from harness.reporting.openmetrics import openmetrics_text
from harness.reporting.pytest_benchmark_json import pytest_benchmark_text
from harness.runs.run import Session, kept_files


def saved(path: Path, content: bytes | str | Any) -> Path:
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def foreign(path: Path, times: dict[str, list[float]], **machine: Any) -> Path:
    """A file as pytest-benchmark writes it."""
    return saved(
        path,
        {
            "machine_info": {
                "machine": "ppc64le",
                "release": "6.12",
                "cpu": {"brand_raw": "POWER10", "count": 8},
                **machine,
            },
            "commit_info": {"id": "1"},
            "benchmarks": [{"fullname": name, "stats": {"data": data, "median": 1.0}} for name, data in times.items()],
            "datetime": "2026-08-01T12:00:00",
            "version": "5.0.0",
        },
    )


def test_the_tool_itself_compares_two_exports(tmp_path: Path) -> None:
    files = [
        saved(tmp_path / f"{i:04d}_run.json", pytest_benchmark_text(small_run(f"run-{i}", seed=i, slowdown=1 + i)))
        for i in range(2)
    ]
    output = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "pytest_benchmark",
        "compare",
        *map(str, files),
        f"--csv={output}",
        "--columns=median,rounds",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=480, check=False)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert len(rows) == 4
    slow, fast = sorted((float(row["median"]) for row in rows if "mlp" in row["name"]), reverse=True)
    assert slow / fast == pytest.approx(2, rel=0.05)
    assert all(int(row["rounds"]) == 12 for row in rows)


def test_the_statistics_are_those_the_tool_computes() -> None:
    from pytest_benchmark.stats import Stats

    (benchmark, _) = json.loads(pytest_benchmark_text(small_run("a", seed=3)))["benchmarks"]
    theirs = Stats()
    for value in benchmark["stats"]["data"]:
        theirs.update(value)
    for name in ("min", "max", "mean", "stddev", "rounds", "median", "ops", "total", "outliers"):
        assert benchmark["stats"][name] == pytest.approx(getattr(theirs, name)), name
    assert set(Stats.fields) < set(benchmark["stats"])


def test_our_export_is_read_back_whole(tmp_path: Path) -> None:
    record = small_run("a", seed=1)
    side = load_side(saved(tmp_path / "a.json", pytest_benchmark_text(record)))
    assert side == side_of(record)
    bad = replace(record, results=(replace(record.results[0], validity=Validity(Verdict.INVALID, ("steal",))),))
    again = load_side(saved(tmp_path / "bad.json", pytest_benchmark_text(bad)))
    assert again == side_of(bad)
    # The tool itself would show a result that is not valid as any other.
    assert json.loads(pytest_benchmark_text(bad))["benchmarks"] == []


def test_folders_of_pytest_benchmark_files_are_processes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name, level in (("old", 1e-3), ("new", 1.3e-3)):
        (tmp_path / name).mkdir()
        for process in range(7):
            centre = level * np.exp(rng.normal(0, 0.01))
            foreign(
                tmp_path / name / f"{process}.json",
                {"test_x.py::test_a": (centre * rng.uniform(0.99, 1.05, 20)).tolist()},
            )
    report = compare([load_side(tmp_path / "old"), load_side(tmp_path / "new")])
    (one,) = report.times
    assert one.comparison.verdict is CompareVerdict.REGRESSED
    assert str(one.key) == "test_x.py::test_a pytest-benchmark"
    alone = compare([load_side(tmp_path / "old" / "0.json"), load_side(tmp_path / "new" / "0.json")])
    assert alone.times[0].comparison.verdict is CompareVerdict.INCONCLUSIVE
    assert "1 block, at least 6" in (alone.times[0].comparison.note or "")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"benchmarks": 3, "machine_info": {}, "datetime": ""}, r"benchmarks is 3 \(int\); expected a list"),
        ({"benchmarks": [], "machine_info": [1]}, "machine_info is a list; expected a table"),
        ({"benchmarks": [], "machine_info": {}, "lparbench": 3}, r"lparbench is 3 \(int\); expected a table"),
    ],
)
def test_damaged_files_name_the_place(tmp_path: Path, content: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_side(saved(tmp_path / "x.json", content))


def test_files_of_two_machines_are_not_one_side(tmp_path: Path) -> None:
    foreign(tmp_path / "0.json", {"a": [1.0]})
    foreign(tmp_path / "1.json", {"a": [1.0]}, release="6.13")
    with pytest.raises(InputError, match="another machine"):
        load_side(tmp_path)


def test_what_is_no_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a run\.json nor files of pytest-benchmark"):
        load_side(tmp_path)
    with pytest.raises(InputError, match="no run records"):
        load_history([tmp_path])
    with pytest.raises(InputError, match="no such file"):
        load_side(tmp_path / "none.json")
    saved(tmp_path / "x.json", "{")
    with pytest.raises(InputError, match="not JSON"):
        load_side(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"x\.json: not JSON"):
        load_side(tmp_path)
    saved(tmp_path / "x.json", "[]")
    with pytest.raises(InputError, match="no 'benchmarks'"):
        load_side(tmp_path)


def test_histories_are_collected_from_folders_once(tmp_path: Path) -> None:
    for i in range(3):
        write_run(small_run(f"run-{i}", seed=i), tmp_path)
    found = load_history([tmp_path, tmp_path / "run-1", tmp_path / "run-1" / "run.json"])
    assert sorted(side.name for side in found) == ["run-0", "run-1", "run-2"]


def test_openmetrics_is_accepted_by_prometheus_own_parser() -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="prometheus_client is not installed")
    invalid = replace(inference("bad"), validity=Validity(Verdict.INVALID, ("steal",)))
    record = run(inference('a"b\\c\nd'), inference("w2", scenario="single_stream"), invalid)
    families = {one.name: one for one in parser.text_string_to_metric_families(openmetrics_text(record).decode())}
    rates = families["lparbench_rows_per_s"].samples
    assert {sample.labels["workload"] for sample in rates} == {'a"b\\c\nd', "w2"}  # the invalid one is not given
    estimate = next(s for s in rates if s.labels["bound"] == "estimate" and s.labels["batch_size"] == "8192")
    assert estimate.value == record.results[0].metrics["rows_per_s"].value
    assert float(estimate.timestamp) == 1785585600
    assert {s.labels["verdict"]: s.value for s in families["lparbench_results"].samples} == {"valid": 2, "invalid": 1}
    assert families["lparbench_auc_roc"].samples[0].value == 0.949


def test_mlflow_holds_the_run_and_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    from harness.reporting.mlflow_store import log_to_mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the store that needs no database driver
    record = run(
        inference("w1"), inference("w2", metrics={"rows_per_s": Metric(5.0, "rows/s", 4.0, 6.0, 6)}, by_batch={})
    )
    directory = write_run(record, tmp_path / "runs", {"report.html": b"<p>report</p>"})
    uri = (tmp_path / "mlruns").as_uri()
    identifier = log_to_mlflow(record, directory, tracking_uri=uri, experiment="lpar")
    client = mlflow.MlflowClient(tracking_uri=uri)
    parent = client.get_run(identifier)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["lparbench.fingerprint.cpu"].startswith("POWER10")
    assert {one.path for one in client.list_artifacts(identifier)} == {"run.json", "report.html"}
    experiment = client.get_experiment_by_name("lpar").experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{identifier}'")
    by_workload = {one.data.params["workload"]: one for one in children}
    assert by_workload["w2"].data.metrics["rows_per_s"] == 5.0
    assert by_workload["w2"].data.metrics["rows_per_s.ci_low"] == 4.0
    assert "rows_per_s.batch_64" in by_workload["w1"].data.metrics
    assert by_workload["w1"].data.tags["lparbench.verdict"] == "valid"
    log_to_mlflow(record, directory, tracking_uri=uri, experiment="lpar")  # an experiment that is there is used


def test_a_tracked_run_keeps_its_bundles_where_mlflow_and_the_server_look(tmp_path: Path) -> None:
    record = run(inference("w1"))
    record = replace(record, spec=replace(record.spec, save=None, bundles=True))
    fit = tmp_path / "unfinished" / "fits" / f"w1-{record.spec.protocol}" / "bundle"
    (fit / "part").mkdir(parents=True)
    (fit / "part" / "manifest.json").write_text("{}")
    design = SimpleNamespace(spec=record.spec, workloads=[SimpleNamespace(name="w1"), SimpleNamespace(name="failed")])
    files = kept_files(Session(tmp_path / "unfinished", cast("Any", design), cast("Any", None)))
    directory = write_run(record, tmp_path / "runs", files)
    assert kept_bundles(record, directory) == {"w1": directory / "bundles" / "w1"}
    assert (directory / "bundles/w1/part/manifest.json").read_text() == "{}"


def test_mlflow_holds_the_training_beside_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")
    from harness.reporting.mlflow_store import log_to_mlflow

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = inference("w1")
    assert result.accuracy is not None
    result = replace(result, accuracy=replace(result.accuracy, parameters={"learning_rate": "0.001"}))
    assert result.accuracy is not None
    bundle = tmp_path / "bundles" / "w1"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    record = run(result)
    record = replace(record, spec=replace(record.spec, save=str(tmp_path / "bundles")))
    directory = write_run(record, tmp_path / "runs", {"report.html": b"<p>report</p>"})
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    (tmp_path / "store").mkdir()
    identifier = log_to_mlflow(record, directory, tracking_uri=uri, experiment="lpar")
    client = mlflow.MlflowClient(tracking_uri=uri)
    (child,) = client.search_runs(
        [client.get_run(identifier).info.experiment_id], f"tags.`mlflow.parentRunId` = '{identifier}'"
    )
    curve = client.get_metric_history(child.info.run_id, "training_loss")
    assert [point.step for point in curve] == list(range(1, len(result.accuracy.loss_curve) + 1))
    assert [point.value for point in curve] == pytest.approx(result.accuracy.loss_curve)
    for name, values in result.accuracy.validation_curve.items():
        points = client.get_metric_history(child.info.run_id, f"validation_{name}")
        assert [point.step for point in points] == list(range(2, len(values) + 1))  # the first epoch has none
        assert [point.value for point in points] == pytest.approx(values[1:])
    weights = [child.data.params[f"class_weight_{kind}"] for kind in ("normal", "anomaly")]
    assert weights == ["0.625", "2.5"]
    assert child.data.params["detector.learning_rate"] == "0.001"
    assert child.data.metrics["true_positive"] == result.accuracy.confusion.true_positive
    assert [file.path for file in client.list_artifacts(identifier, "bundles/w1")] == ["bundles/w1/manifest.json"]
    assert not list(elsewhere.iterdir())


def test_an_unreachable_store_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from harness.reporting.mlflow_store import log_to_mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(LparbenchError, match=r"http://127\.0\.0\.1:9: the tracking store refused"):
        log_to_mlflow(run(), tmp_path, tracking_uri="http://127.0.0.1:9", experiment="x")


def test_a_store_that_refuses_is_an_error_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    command = ["run", "nsl-kdd-mlp", "--synthetic", "--out", str(tmp_path / "runs"), "--track", "http://127.0.0.1:9"]
    with pytest.raises(LparbenchError, match=r"http://127\.0\.0\.1:9: the tracking store refused"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [["--track", "--synthetic"], ["--synthetic", "--track"], ["--resume", "DIR", "--track"]]
)
def test_tracking_alone_means_a_local_store(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(uri: str, _: str) -> None:
        asked.append(uri)
        raise InputError("as scripted")

    monkeypatch.setattr("harness.reporting.mlflow_store.check_store", refuse)
    monkeypatch.setattr("harness.runs.run.smt_to_resume", lambda _: None)
    with pytest.raises(InputError, match="as scripted"):
        CliRunner().invoke(app, ["run", *words], catch_exceptions=False)
    assert asked == ["sqlite:///mlflow.db"]


def test_a_suite_and_workloads_exclude_each_other() -> None:
    with pytest.raises(InputError, match="--suite quikc and workloads are named"):
        CliRunner().invoke(app, ["run", "nsl-kdd-mlp", "--suite", "quikc"], catch_exceptions=False)


def test_a_store_that_refuses_after_measuring_leaves_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LparbenchError("as scripted")

    monkeypatch.setattr("harness.reporting.mlflow_store.log_to_mlflow", refuse)
    with pytest.raises(LparbenchError, match="as scripted") as error:
        log_run(run(), Path("runs/r 1"), "http://tracker:5000")
    assert "lparbench export 'runs/r 1' --format mlflow --tracking-uri http://tracker:5000" in (
        error.value.remedy or ""
    )


def test_without_mlflow_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.reporting.mlflow_store import log_to_mlflow

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"lparbench\[track\]"):
        log_to_mlflow(run(), tmp_path, tracking_uri="x", experiment="x")
