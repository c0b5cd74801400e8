"""The figures of a result one by one, for stores that keep a number under a name."""

from __future__ import annotations

from collections.abc import Iterator

from harness.record.model import Metric, Result


def metric_lines(result: Result) -> Iterator[tuple[int | None, str, Metric]]:
    """Every metric with its batch size: all batch sizes where there are several, and accuracy (of no batch) last."""
    for size, metrics in result.by_batch.items():
        if int(size) != result.batch_size:
            yield from ((int(size), name, metric) for name, metric in metrics.items())
    yield from ((result.batch_size, name, metric) for name, metric in result.metrics.items())
    accuracy = (result.accuracy or {}).get("metrics")
    for name, figure in (accuracy if isinstance(accuracy, dict) else {}).items():
        if isinstance(figure, dict) and isinstance(figure.get("value"), int | float):
            yield None, name, Metric(value=figure["value"], unit="", n=figure.get("n"))
