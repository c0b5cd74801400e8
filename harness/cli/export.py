"""``lparbench export``: a run or a sweep for other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.record.model import Run


class Format(str, Enum):
    """What a run can be exported to."""

    PYTEST_BENCHMARK = "pytest-benchmark"
    CSV = "csv"
    OPENMETRICS = "openmetrics"
    MLFLOW = "mlflow"


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory or the run.json in it; a sweep directory for CSV.")
    ],
    to: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.CSV,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.", show_default=False),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="MLflow store: sqlite:///FILE or http(s)://SERVER.", show_default=False),
    ] = None,
    experiment: Annotated[
        str, typer.Option(metavar="NAME", help="MLflow experiment; made when missing.")
    ] = "lparbench",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON about what was written.")] = False,
) -> None:
    """Write a run as CSV, OpenMetrics or pytest-benchmark JSON, or log it to an MLflow store; a sweep as CSV.

    Example: `lparbench export results/runs/20260801T120000Z-3f2a --format pytest-benchmark -o now.json`
    """
    from harness.record.store import load_run, write_file
    from harness.sweeps.result import is_sweep

    if is_sweep(run):
        content = _sweep_csv(run, to)
    elif to is Format.MLFLOW:
        record = load_run(run)
        identifier = _to_mlflow(record, run, tracking_uri, experiment)
        said = {"format": to.value, "tracking_uri": tracking_uri, "experiment": experiment, "mlflow_run": identifier}
        typer.echo(json.dumps(said, indent=2) if as_json else f"Logged as MLflow run {identifier}")
        return
    else:
        content = _renderer(to)(load_run(run))
    if output is not None:
        write_file(output, content)
        said = {"format": to.value, "file": str(output), "bytes": len(content)}
        typer.echo(json.dumps(said, indent=2) if as_json else str(output))
        return
    if as_json and to is not Format.PYTEST_BENCHMARK:
        raise InputError(f"--json with --format {to.value} needs --output.", remedy="Name a file with -o FILE.")
    sys.stdout.buffer.write(content)


def _renderer(to: Format) -> Callable[[Run], bytes]:
    from harness.reporting.csv import render_csv
    from harness.reporting.openmetrics import openmetrics_text
    from harness.reporting.pytest_benchmark_json import pytest_benchmark_text

    if to is Format.PYTEST_BENCHMARK:
        return pytest_benchmark_text
    if to is Format.OPENMETRICS:
        return openmetrics_text
    return lambda record: render_csv(record).encode("utf-8", "backslashreplace")


def _sweep_csv(path: Path, to: Format) -> bytes:
    from harness.reporting.sweep_csv import render_sweep_csv
    from harness.sweeps.result import stored_sweep

    if to is not Format.CSV:
        raise InputError(
            f"{path}: a sweep cannot be written as {to.value}, which has no place for its settings.",
            remedy="Use --format csv, or measure the setting you want with `lparbench run` and export that.",
        )
    return render_sweep_csv(stored_sweep(path)).encode("utf-8", "backslashreplace")


def _to_mlflow(record: Run, path: Path, tracking_uri: str | None, experiment: str) -> str:
    from harness.reporting.mlflow_store import log_to_mlflow

    if tracking_uri is None:
        raise InputError(
            "--format mlflow needs --tracking-uri.", remedy="For example: --tracking-uri sqlite:///mlflow.db"
        )
    directory = path if path.is_dir() else path.parent
    return log_to_mlflow(record, directory, tracking_uri=tracking_uri, experiment=experiment)
