"""A stored run or sweep as a page, or as a file for another tool; what it takes is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from harness.errors import InputError

EXPERIMENT = "lparbench"  # of MLflow, where none is named


class ExportFormat(str, Enum):
    """What a run can be exported to."""

    PYTEST_BENCHMARK = "pytest-benchmark"
    CSV = "csv"
    OPENMETRICS = "openmetrics"
    MLFLOW = "mlflow"
    PUBLISHED = "published"


@dataclass(frozen=True)
class Page:
    """An HTML report, and in words how it is judged."""

    content: bytes
    status: str
    verdict: str


def page_of(path: Path) -> Page:
    """The report of a run, a sweep, a sizing, a load test or a fleet run; the same record gives the same bytes.

    Args:
        path: a directory of them, or the record in it.

    Raises:
        InputError: there is no record, or it is damaged.
    """
    from harness.record.store import (
        FLEET_NAME,
        LOAD_NAME,
        RECORD_NAME,
        SIZE_NAME,
        SWEEP_NAME,
        is_load_test,
        load_fleet,
        load_load_test,
        load_run,
        require_record,
    )
    from harness.sizing.stored import is_size, stored_size
    from harness.sweeps.result import is_sweep, stored_sweep

    if is_load_test(path):
        from harness.reporting.load_html import render_load
        from harness.reporting.load_view import sentence_of, status_of

        load = load_load_test(path)
        return Page(render_load(load), status_of(load).word, sentence_of(load))
    if is_size(path):
        from harness.reporting.size_html import render_size
        from harness.reporting.size_view import view_of as sizing_view

        size = stored_size(path)
        words = sizing_view(size)
        return Page(render_size(size), words.status.word, words.sentence)
    if is_sweep(path):
        from harness.reporting.sweep_html import render_sweep
        from harness.reporting.sweep_view import view_of

        sweep = stored_sweep(path)
        view = view_of(sweep)
        sentences = [sentence for workload in view.workloads for sentence in workload.sentences]
        return Page(render_sweep(sweep), view.status.word, " ".join([view.lead, *sentences]).lstrip())
    if path.name == FLEET_NAME or (path / FLEET_NAME).is_file():
        from harness.reporting.fleet_html import render_fleet
        from harness.reporting.fleet_view import view_of as fleet_view

        fleet = load_fleet(path)
        shown = fleet_view(fleet)
        return Page(render_fleet(fleet), shown.status.word, " ".join(shown.sentences))
    from harness.reporting.html import render
    from harness.reporting.sections.headline import headline

    require_record(path, (RECORD_NAME, SWEEP_NAME, SIZE_NAME, LOAD_NAME, FLEET_NAME))
    run = load_run(path)
    head = headline(run)
    return Page(render(run), head.status.word, head.text)


def exported(paths: Sequence[Path], to: ExportFormat) -> bytes:
    """A run, or a sweep as CSV, in the format of another tool; several runs as one table of published figures.

    Raises:
        InputError: there is no record, it is damaged, or the format has no place for it.
    """
    from harness.record.store import load_run
    from harness.sweeps.result import is_sweep, stored_sweep

    sweeps = [path for path in paths if is_sweep(path)]
    if sweeps and to is not ExportFormat.CSV:
        raise InputError(
            f"{sweeps[0]}: a sweep cannot be written as {to.value}, which has no place for its settings.",
            remedy="Use --format csv, or measure the setting you want with `lparbench run` and export that.",
        )
    if to is ExportFormat.PUBLISHED:
        from harness.reporting.published_markdown import render_published

        return _encoded(render_published([load_run(path) for path in paths]))
    if len(paths) > 1:
        raise InputError(
            f"--format {to.value} takes one run, and {len(paths)} are named.",
            remedy="Export them one by one, or several as --format published.",
        )
    (path,) = paths
    if sweeps:
        from harness.reporting.sweep_csv import render_sweep_csv

        return _encoded(render_sweep_csv(stored_sweep(path)))
    match to:
        case ExportFormat.PYTEST_BENCHMARK:
            from harness.reporting.pytest_benchmark_json import pytest_benchmark_text

            return pytest_benchmark_text(load_run(path))
        case ExportFormat.OPENMETRICS:
            from harness.reporting.openmetrics import openmetrics_text

            return openmetrics_text(load_run(path))
        case ExportFormat.CSV:
            from harness.reporting.csv import render_csv

            return _encoded(render_csv(load_run(path)))
        case ExportFormat.MLFLOW:
            raise InputError("An MLflow store is no file.", remedy="Give it with --tracking-uri.")


def logged_to_mlflow(path: Path, tracking_uri: str | None, experiment: str) -> str:
    """Log a run to an MLflow store; the identifier it has there.

    Raises:
        InputError: no run there, no store given, or MLflow is not installed.
        LparbenchError: the store refused the run.
    """
    from harness.record.store import load_run
    from harness.reporting.mlflow_store import log_to_mlflow

    run = load_run(path)
    if tracking_uri is None:
        raise InputError(
            "--format mlflow needs --tracking-uri.", remedy="For example: --tracking-uri sqlite:///mlflow.db"
        )
    directory = path if path.is_dir() else path.parent
    return log_to_mlflow(run, directory, tracking_uri=tracking_uri, experiment=experiment)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
