"""The metrics of a run as one flat table, a row per metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from harness.record.model import Metric, Result, Run

COLUMNS = (
    "run_id",
    "created",
    "workload",
    "detector",
    "dataset",
    "data_origin",
    "protocol",
    "scenario",
    "backend",
    "dtype",
    "batch_size",
    "nodes",
    "threads",
    "threads_per_core",
    "smt",
    "metric",
    "value",
    "unit",
    "ci_low",
    "ci_high",
    "n",
    "verdict",
    "note",
)


def csv_text(run: Run) -> bytes:
    """RFC 4180 with a header; numbers at full precision, empty where a figure is not known."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for result in run.results:
        for batch_size, name, metric in metrics_of(result):
            writer.writerow(_row(run, result, batch_size, name, metric))
    return out.getvalue().encode("utf-8", "backslashreplace")


def metrics_of(result: Result) -> Iterator[tuple[int | None, str, Metric]]:
    """Every metric of a result with its batch size: all batch sizes where there are several, and accuracy last."""
    for size, metrics in result.by_batch.items():
        if int(size) != result.batch_size:
            yield from ((int(size), name, metric) for name, metric in metrics.items())
    yield from ((result.batch_size, name, metric) for name, metric in result.metrics.items())
    accuracy = (result.accuracy or {}).get("metrics")
    for name, figure in (accuracy if isinstance(accuracy, dict) else {}).items():
        if isinstance(figure, dict) and isinstance(figure.get("value"), int | float):
            yield None, name, Metric(value=figure["value"], unit="", n=figure.get("n"), note=_spread(figure.get("sd")))


def _spread(sd: object) -> str | None:
    return f"standard deviation over seeds {sd:.4g}" if isinstance(sd, int | float) else None


def _row(run: Run, result: Result, batch_size: int | None, name: str, metric: Metric) -> list[object]:
    place = result.placement
    return [
        run.run_id,
        run.created,
        result.workload,
        result.detector,
        result.dataset.name,
        result.dataset.origin,
        result.dataset.protocol,
        result.scenario,
        result.backend,
        result.dtype,
        batch_size,
        " ".join(str(node) for node in place.nodes),
        place.threads,
        place.threads_per_core,
        place.smt,
        name,
        metric.value,
        metric.unit,
        metric.ci_low,
        metric.ci_high,
        metric.n,
        result.validity.verdict.value,
        metric.note,
    ]
