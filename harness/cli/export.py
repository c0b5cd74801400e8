"""``lparbench export``: a run or a sweep for other tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError
from harness.reporting.stored import EXPERIMENT, ExportFormat


def export(
    run: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="A run directory, the run.json in it, or ARCHIVE#RECORD; a sweep for CSV; runs for published.",
        ),
    ],
    to: Annotated[ExportFormat, typer.Option("--format", "-f", help="What to write.")] = ExportFormat.CSV,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: -, standard output.", show_default=False),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="MLflow store: sqlite:///FILE or http(s)://SERVER.", show_default=False),
    ] = None,
    experiment: Annotated[str, typer.Option(metavar="NAME", help="MLflow experiment; made when missing.")] = EXPERIMENT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON about what was written.")] = False,
) -> None:
    """Write a run as CSV, OpenMetrics or pytest-benchmark JSON, or log it to an MLflow store; a sweep as CSV.

    `published` is a Markdown table of runs under both protocols: the published figures next to those reached here.

    Example: `lparbench export results/runs/20260801T120000Z-3f2a --format pytest-benchmark -o now.json`
    """
    from harness.record.archived import archived
    from harness.record.files import is_standard_output, write_output
    from harness.reporting.stored import exported, logged_to_mlflow
    from harness.sweeps.result import is_sweep

    with archived(run) as paths:
        if to is ExportFormat.MLFLOW and len(paths) == 1 and not is_sweep(paths[0]):
            identifier = logged_to_mlflow(paths[0], tracking_uri, experiment)
            logged = {"format": to.value, "tracking_uri": tracking_uri, "experiment": experiment}
            logged |= {"mlflow_run": identifier}
            typer.echo(json.dumps(logged, indent=2) if as_json else f"Logged as MLflow run {identifier}")
            return
        content = exported(paths, to)
    if output is not None and not is_standard_output(output):
        write_output(output, content, inputs=run)
        written = {"format": to.value, "file": str(output), "bytes": len(content)}
        typer.echo(json.dumps(written, indent=2) if as_json else str(output))
        return
    if as_json and to is not ExportFormat.PYTEST_BENCHMARK:
        raise InputError(f"--json with --format {to.value} needs --output.", remedy="Name a file with -o FILE.")
    sys.stdout.buffer.write(content)
