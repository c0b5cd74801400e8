"""A run in an MLflow tracking store, local or remote, through MLflow's own client."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.decode import encode
from harness.errors import InputError, LparbenchError
from harness.record.accuracy import Accuracy
from harness.record.model import Result, Run, Verdict
from harness.record.store import BUNDLES, kept_bundles
from harness.reporting.metric_lines import metric_lines

_LONGEST_PARAM = 500
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


def log_to_mlflow(run: Run, directory: Path, *, tracking_uri: str, experiment: str) -> str:
    """Log a run as one MLflow run with a nested run per result, and its files as artifacts.

    Args:
        run: the record.
        directory: the run directory; its files become artifacts, and so do the model bundles that the run kept there or
            elsewhere.
        tracking_uri: "file:///...", "sqlite:///...", or a server's "http(s)://...".
        experiment: made when missing.

    Returns:
        Identifier of the MLflow run.

    Raises:
        InputError: MLflow is not installed.
        LparbenchError: the store refuses or cannot be reached; says what it said.
    """
    with _opened(tracking_uri, experiment) as (client, identifier):
        return _log(client, identifier, run, directory)


def check_store(tracking_uri: str, experiment: str) -> None:
    """See that a run could be logged there, before it is measured; a server that is down is asked few times.

    Raises:
        InputError, LparbenchError: see `log_to_mlflow`.
    """
    own = _RETRIES not in os.environ
    os.environ.setdefault(_RETRIES, "2")  # its client's seven take two minutes
    try:
        with _opened(tracking_uri, experiment):
            pass
    finally:
        if own:
            del os.environ[_RETRIES]


@contextmanager
def _opened(tracking_uri: str, experiment: str) -> Iterator[tuple[Any, str]]:
    """MLflow's client and the experiment's identifier; what it refuses becomes one clear error."""
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError:
        raise InputError(
            "Tracking with MLflow needs its client, which is not installed.",
            remedy="Install it with: pip install 'lparbench[track]'",
        ) from None
    errors = (mlflow.exceptions.MlflowException, OSError, ImportError)
    try:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            identifier = client.create_experiment(experiment, artifact_location=_artifacts_of(tracking_uri))
        else:
            identifier = known.experiment_id
        yield client, identifier
    except errors as error:
        raise LparbenchError(
            f"{tracking_uri}: the tracking store refused the run: {error}.",
            remedy="Check the address, and that the server is up; sqlite needs all of: pip install 'lparbench[track]'.",
        ) from error


def _artifacts_of(tracking_uri: str) -> str | None:
    """Where the files of an sqlite store go: beside the database, not into the working directory."""
    scheme = "sqlite:///"
    if not tracking_uri.startswith(scheme):
        return None
    database = Path(tracking_uri.removeprefix(scheme)).resolve()
    return database.with_name(f"{database.stem}-artifacts").as_uri()


def _log(client: Any, experiment: str, run: Run, directory: Path) -> str:
    tags = {
        "mlflow.runName": run.run_id,
        "lparbench.run_id": run.run_id,
        "lparbench.created": run.created,
        "lparbench.version": run.tool.version,
        **{f"lparbench.fingerprint.{name}": _text(value) for name, value in encode(run.fingerprint).items()},
    }
    parent: str = client.create_run(experiment, tags=tags).info.run_id
    status = "FAILED"
    try:
        for result in run.results:
            _log_result(client, experiment, parent, result)
        for workload, bundle in kept_bundles(run, directory).items():
            client.log_artifacts(parent, str(bundle), f"{BUNDLES}/{workload}")
        for file in sorted(directory.iterdir()):
            if file.is_file():
                client.log_artifact(parent, str(file))
        status = "FINISHED"
    finally:
        client.set_terminated(parent, status=status)
    return parent


def _log_result(client: Any, experiment: str, parent: str, result: Result) -> None:
    name = f"{result.workload} {result.scenario} {result.backend} {result.dtype}"
    tags = {
        "mlflow.runName": name,
        "mlflow.parentRunId": parent,
        "lparbench.verdict": result.validity.verdict.value,
        "lparbench.reasons": _text("; ".join(result.validity.reasons)),
    }
    child = client.create_run(experiment, tags=tags).info.run_id
    for key, value in _parameters(result).items():
        client.log_param(child, key, _text(value))
    for batch_size, metric_name, metric in metric_lines(result):
        suffix = "" if batch_size in (None, result.batch_size) else f".batch_{batch_size}"
        bounds = {"": metric.value, ".ci_low": metric.ci_low, ".ci_high": metric.ci_high}
        for bound, value in bounds.items():
            if value is not None and math.isfinite(value):
                client.log_metric(child, f"{metric_name}{suffix}{bound}", value)
    if result.accuracy is not None:
        _log_training(client, child, result.accuracy)
    client.set_terminated(child, status="FINISHED" if result.validity.verdict is Verdict.VALID else "FAILED")


def _log_training(client: Any, child: str, accuracy: Accuracy) -> None:
    """Loss and validation metrics of each epoch, and what the detector gets right and wrong at its threshold."""
    for epoch, loss in enumerate(accuracy.loss_curve, 1):
        if math.isfinite(loss):
            client.log_metric(child, "training_loss", loss, step=epoch)
    for name, values in accuracy.validation_curve.items():
        for epoch, measured in enumerate(values, 1):
            if measured is not None and math.isfinite(measured):
                client.log_metric(child, f"validation_{name}", measured, step=epoch)
    for name, parameter in accuracy.parameters.items():
        client.log_param(child, f"detector.{name}", _text(parameter))
    for name, weight in zip(("normal", "anomaly"), accuracy.class_weights, strict=False):
        client.log_param(child, f"class_weight_{name}", _text(weight))
    confusion = encode(accuracy.confusion)
    for name, rows in confusion.items():
        client.log_metric(child, name, rows)
    client.log_dict(child, {"threshold": accuracy.threshold, **confusion}, "confusion.json")
    for key, value in {
        "threshold_rule": accuracy.threshold_rule,
        "epochs_trained": accuracy.epochs.trained,
        "epochs_scheduled": accuracy.epochs.scheduled,
        "limited_epochs": accuracy.limits.epochs,
        "limited_rows": accuracy.limits.rows,
        "prevalence": accuracy.prevalence,
    }.items():
        client.log_param(child, key, _text(value))


def _parameters(result: Result) -> dict[str, object]:
    place, data = result.placement, result.dataset
    return {
        "workload": result.workload,
        "detector": result.detector,
        "dataset": data.name,
        "data_origin": data.origin,
        "protocol": data.protocol,
        "scenario": result.scenario,
        "backend": result.backend,
        "dtype": result.dtype,
        "batch_size": result.batch_size,
        "nodes": list(place.nodes),
        "threads": place.threads,
        "threads_per_core": place.threads_per_core,
        "smt": place.smt,
        "instances": result.instances,
        "cache": result.cache,
        "memory_policy": str(place.memory_policy),
    }


def _text(value: object) -> str:
    return str(value)[:_LONGEST_PARAM]
