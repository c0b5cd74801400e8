"""Several instances that ran at the same time, as one process record: rates in the window that all of them shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from harness.measure.overlap import InstanceTrace, overlap_throughput
from harness.measure.sampling import MIN_CLEAN
from harness.record.model import ConcurrentRate, Metric, ProcessRecord
from harness.runs.judge import estimate_of, over_processes
from harness.workers.outcomes import InstanceOutcome, TimedSeries


def concurrent_rates(instances: Sequence[InstanceOutcome]) -> tuple[ConcurrentRate, ...]:
    """What instances reached at the same time, per batch size.

    The warm-up of each is left out. Source of the window rule: what a slow instance does after the others have ended,
    it does on an idle machine.
    """
    return tuple(_rate(traces) for traces in zip(*(instance.traces for instance in instances), strict=True))


def series_by_batch(instances: Sequence[InstanceOutcome]) -> tuple[TimedSeries, ...]:
    """All series, by batch size and then by instance."""
    by_batch = zip(*(instance.traces for instance in instances), strict=True)
    return tuple(trace for traces in by_batch for trace in traces)


def concurrent_metrics(processes: Sequence[ProcessRecord], batch_size: int) -> dict[str, Metric]:
    """Metrics of one batch size over the records of instances that ran at the same time.

    The time per row is that of all instances together: the inverse of their rate.
    """
    finished = [process for process in processes if process.failure is None]
    rates = [rate for process in finished if (rate := process.rate_together(batch_size)) is not None]
    if not rates:
        return {}
    counted = [rate.rows_per_s for rate in rates if rate.rows_per_s]
    slowest = [rate.rows_per_s_min for rate in rates if rate.rows_per_s_min]
    fastest = [rate.rows_per_s_max for rate in rates if rate.rows_per_s_max]
    calls = [
        fmean(estimate_of(series).mean_s for series in process.series if series.batch_size == batch_size)
        for process in finished
    ]
    return {
        "rows_per_s": over_processes(counted, "rows/s"),
        "rows_per_s_undisturbed": over_processes([rate.rows_per_s_undisturbed for rate in rates], "rows/s"),
        "mean_inference_s": over_processes(calls, "s"),
        "mean_inference_per_row_s": over_processes([1 / rate for rate in counted], "s"),
        "instance_rows_per_s_min": over_processes(slowest, "rows/s"),
        "instance_rows_per_s_max": over_processes(fastest, "rows/s"),
        "window_share": Metric(min(rate.window_share for rate in rates), "1", n=len(rates), note="least of the blocks"),
    }


def union(lists: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Every CPU of any of the lists, ascending."""
    return tuple(sorted({cpu for cpus in lists for cpu in cpus}))


def total_pages(counts: Sequence[Mapping[int, int] | None]) -> dict[int, int] | None:
    """Pages per node over processes; None where one process does not know its own."""
    total: dict[int, int] = {}
    for pages in counts:
        if pages is None:
            return None
        for node, count in pages.items():
            total[node] = total.get(node, 0) + count
    return total


def _rate(traces: Sequence[TimedSeries]) -> ConcurrentRate:
    requests = [_requests(trace) for trace in traces]
    throughput = overlap_throughput(requests)
    batch = traces[0].series.batch_size or 1
    opens = max(request.began_ns for request in requests)
    closes = min(int(request.completed_ns[-1]) for request in requests)
    return ConcurrentRate(
        batch_size=batch,
        rows_per_s=batch * throughput.total,
        rows_per_s_min=batch * throughput.least,
        rows_per_s_max=batch * throughput.most,
        rows_per_s_undisturbed=sum(batch / _median_call_s(trace, opens, closes) for trace in traces),
        window_s=throughput.window_s,
        window_share=throughput.window_share,
    )


def _requests(trace: TimedSeries) -> InstanceTrace:
    completed = np.asarray(trace.completed_ns, dtype=np.int64)
    warmup = trace.series.warmup
    began = int(completed[warmup - 1]) if warmup else trace.began_ns
    return InstanceTrace(began, completed[warmup:], weight=trace.series.inner)


def _median_call_s(trace: TimedSeries, opens: int, closes: int) -> float:
    """Median of the samples completed in the window, the undisturbed ones where there are enough, per call."""
    completed = np.asarray(trace.completed_ns, dtype=np.int64)
    durations = np.asarray(trace.series.durations_ns, dtype=np.float64)
    clean = np.asarray(trace.series.flags) == 0
    inside = (completed > opens) & (completed <= closes)
    enough = (mask for mask in (inside & clean, inside) if np.count_nonzero(mask) >= MIN_CLEAN)
    kept = next(enough, np.ones(len(durations), dtype=bool))
    return float(np.median(durations[kept])) * 1e-9 / trace.series.inner
