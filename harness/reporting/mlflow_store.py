"""A run in an MLflow tracking store, local or remote, through MLflow's own client."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from harness.decode import encode
from harness.errors import InputError, LparbenchError
from harness.record.model import Result, Run
from harness.reporting.metric_lines import metric_lines

_LONGEST_PARAM = 500


def log_to_mlflow(run: Run, directory: Path, *, tracking_uri: str, experiment: str) -> str:
    """Log a run as one MLflow run with a nested run per result, and its files as artifacts.

    Args:
        run: the record.
        directory: the run directory; its files become artifacts.
        tracking_uri: "file:///...", "sqlite:///...", or a server's "http(s)://...".
        experiment: made when missing.

    Returns:
        Identifier of the MLflow run.

    Raises:
        InputError: MLflow is not installed.
        LparbenchError: the store refuses or cannot be reached; says what it said.
    """
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError:
        raise InputError(
            "Exporting to MLflow needs its client, which is not installed.",
            remedy="Install it with: pip install 'lparbench[track]'",
        ) from None
    errors = (mlflow.exceptions.MlflowException, OSError)
    try:
        client = mlflow.MlflowClient(tracking_uri=tracking_uri)
        known = client.get_experiment_by_name(experiment)
        identifier = known.experiment_id if known is not None else client.create_experiment(experiment)
        return _log(client, identifier, run, directory)
    except errors as error:
        raise LparbenchError(
            f"{tracking_uri}: the tracking store refused the run: {error}.",
            remedy="Check the address, and that the server is up; sqlite needs all of: pip install 'lparbench[track]'.",
        ) from error


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
    client.set_terminated(child)


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
