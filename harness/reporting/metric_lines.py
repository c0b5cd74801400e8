"""The figures of a result one by one, for stores that keep a number under a name."""

from __future__ import annotations

from collections.abc import Iterator

from harness.record.model import Metric, Result


def metric_lines(result: Result) -> Iterator[tuple[int | None, str, Metric]]:
    """Every metric with its batch size: all batch sizes where there are several, and accuracy (of no batch) last."""
    for size, metrics in result.by_batch.items():
        if size != result.batch_size:
            yield from ((size, name, metric) for name, metric in metrics.items())
    yield from ((result.batch_size, name, metric) for name, metric in result.metrics.items())
    for name, figure in result.accuracy.metrics.items() if result.accuracy is not None else ():
        yield None, name, Metric(value=figure.mean, unit="", n=figure.n)
