"""From the processes of one configuration to metrics with intervals, and to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.measure.estimates import ProcessEstimate, process_estimate
from harness.measure.percentiles import PERCENTILES, percentile
from harness.measure.sampling import Samples
from harness.measure.stats import interval_over_processes
from harness.measure.validity import Evidence, Reason, invalidities
from harness.record.model import Metric, ProcessRecord, Validity, Verdict
from harness.record.series import Series


def estimate_of(series: Series) -> ProcessEstimate:
    """The estimates of one process."""
    return process_estimate(series.durations_ns, series.flags, inner=series.inner, warmup=series.warmup)


def inference_metrics(series: Sequence[Series]) -> dict[str, Metric]:
    """Metrics of one batch size from the series of its processes.

    ``rows_per_s`` counts every call after warm-up, as ``mean_inference_s`` does, which is what the source documents
    report: it is the batch over it. ``rows_per_s_undisturbed`` and ``call_s`` rest on each process's median of
    undisturbed samples.
    """
    if not series:
        return {}
    batch = series[0].batch_size or 1
    estimates = [estimate_of(each) for each in series]
    return {
        "rows_per_s": over_processes([each.rows_per_s(batch) for each in estimates], "rows/s"),
        "rows_per_s_undisturbed": over_processes([each.rows_per_s_undisturbed(batch) for each in estimates], "rows/s"),
        "call_s": over_processes([each.call_s for each in estimates], "s"),
        "call_all_samples_s": over_processes([each.median_s for each in estimates], "s"),
        "mean_inference_s": over_processes([each.mean_s for each in estimates], "s"),
        "mean_inference_per_row_s": over_processes([each.mean_s / batch for each in estimates], "s"),
    }


def latency_metrics(series: Sequence[Series]) -> dict[str, Metric]:
    """Percentiles over the requests of all processes, warm-up left out; without a value where too few were made."""
    if not series:
        return {}
    inner = max(each.inner for each in series)
    durations = np.concatenate([np.asarray(each.durations_ns[each.warmup :], dtype=np.int64) for each in series])
    pooled = Samples(durations, np.zeros(len(durations), dtype=np.uint8), inner, wall_ns=int(durations.sum()))
    bounds = {name: percentile(pooled, percent) for name, percent in PERCENTILES.items()}
    return {
        name: Metric(bound.value_s, unit="s", n=bound.requests, note=bound.note or "at most, with 99 % confidence")
        for name, bound in bounds.items()
    }


def training_metrics(series: Sequence[Series], rows_per_step: int) -> dict[str, Metric]:
    """Rate of the training loop over processes."""
    estimates = [estimate_of(each) for each in series]
    undisturbed = [each.rows_per_s_undisturbed(rows_per_step) for each in estimates]
    return {
        "train_rows_per_s": over_processes([each.rows_per_s(rows_per_step) for each in estimates], "rows/s"),
        "train_rows_per_s_undisturbed": over_processes(undisturbed, "rows/s"),
        "step_s": over_processes([each.call_s for each in estimates], "s"),
        "step_all_samples_s": over_processes([each.median_s for each in estimates], "s"),
        "mean_step_s": over_processes([each.mean_s for each in estimates], "s"),
    }


def over_processes(values: Sequence[float], unit: str) -> Metric:
    """Geometric mean over processes with its 95 % t interval; no interval from one process."""
    if not values:
        return Metric(value=None, unit=unit, n=0, note="no process finished")
    interval = interval_over_processes(values)
    note = "no interval from one process" if interval.n == 1 else None
    return Metric(interval.centre, unit, interval.low, interval.high, interval.n, note)


def judge(
    processes: Sequence[ProcessRecord],
    series: Sequence[Series],
    *,
    placement_mismatches: Sequence[str],
    accuracy_mismatch: str | None,
    clock_mismatch: str | None = None,
    emulator: str | None,
) -> Validity:
    """The verdict on a result, with every reason.

    Args:
        processes: failed ones included.
        series: of the finished processes, the ones the verdict on steadiness and disturbance rests on.
        placement_mismatches: what ``placement.verify`` reported, over all processes.
        accuracy_mismatch: how this backend's scores differ from the detector's own.
        clock_mismatch: how the clock that timed disagrees with the kernel's, in any process.
    """
    failures = tuple(f"block {process.block}: {process.failure}" for process in processes if process.failure)
    finished = [process for process in processes if process.failure is None]
    if not finished:
        return Validity(Verdict.FAILED, failures)
    evidence = Evidence(
        blocks=len(finished),
        clean_shares=[estimate_of(each).undisturbed_share for each in series],
        steal_shares=[process.steal_share for process in finished],
        steady=[each.steady for each in series],
        placement_mismatches=placement_mismatches,
        accuracy_mismatch=accuracy_mismatch,
        clock_mismatch=clock_mismatch,
    )
    broken = invalidities(evidence)
    reasons = (*failures, *(rule.sentence for rule in broken))
    if emulator is not None:
        kept = tuple(rule.sentence for rule in broken if rule.reason is Reason.ACCURACY)
        refusal = f"Times are refused under emulation ({emulator}); scores and counts stand."
        return Validity(Verdict.TIMINGS_REFUSED if not kept else Verdict.INVALID, (refusal, *failures, *kept))
    if not broken:
        return Validity(Verdict.VALID, reasons)
    if all(rule.reason is Reason.NO_STEADY_STATE for rule in broken):
        return Validity(Verdict.NO_STEADY_STATE, reasons)
    return Validity(Verdict.INVALID, reasons)
