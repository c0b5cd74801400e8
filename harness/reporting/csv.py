"""A run as comma-separated values: one line per recorded figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from harness.record.model import Metric, Result, Run
from harness.reporting.sections.counters import RATIOS, counted, ratios_of
from harness.reporting.text import ranges
from harness.wording import inert

COLUMNS = (
    "run_id", "created", "workload", "detector", "dataset", "origin", "protocol", "scenario", "backend", "dtype",
    "nodes", "cpus", "threads", "smt", "instances", "cache", "verdict", "batch_size", "metric", "value", "unit",
    "ci_low", "ci_high", "sd", "n", "note",
)  # fmt: skip

_Cell = str | float | int | None


def render_csv(run: Run) -> str:
    """All metrics of a run, every batch size and the accuracy included; full precision, empty where not known."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in run.results:
        start = _start(run, result)
        for line in _lines(result):
            writer.writerow([inert(cell) for cell in (*start, *line)])
    return buffer.getvalue()


def _start(run: Run, result: Result) -> tuple[_Cell, ...]:
    data, place = result.dataset, result.placement
    return (
        run.run_id, run.created, result.workload, result.detector, data.name, data.origin, data.protocol,
        result.scenario, result.backend, result.dtype, ranges(place.nodes), ranges(place.cpus), place.threads,
        place.smt, result.instances, result.cache, result.validity.verdict.value,
    )  # fmt: skip


def _lines(result: Result) -> Iterator[tuple[_Cell, ...]]:
    yield from _metrics(result.batch_size, result.metrics)
    for size in sorted(result.by_batch):
        if size != result.batch_size:
            yield from _metrics(size, result.by_batch[size])
    for name, metric in sorted(result.accuracy.metrics.items()) if result.accuracy is not None else ():
        yield None, name, metric.mean, "", None, None, metric.sd, metric.n, None
    counters = counted(result.processes)
    means, units = ratios_of(counters), {ratio.name: ratio.unit for ratio in RATIOS}
    for name, value in means.items():
        yield None, name, value, units[name], None, None, None, len(counters), "counters of user code"


def _metrics(batch_size: int | None, metrics: Mapping[str, Metric]) -> Iterator[tuple[_Cell, ...]]:
    for name in sorted(metrics):
        metric = metrics[name]
        yield (
            batch_size, name, metric.value, metric.unit, metric.ci_low, metric.ci_high, None, metric.n, metric.note
        )  # fmt: skip
