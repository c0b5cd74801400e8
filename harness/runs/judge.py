"""From the blocks of one configuration to metrics with intervals, and to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.measure.percentiles import percentile
from harness.measure.sampling import Samples
from harness.measure.stats import interval_over_processes
from harness.measure.validity import Evidence, Reason, invalidities
from harness.record.model import Block, Metric, Series, Validity, Verdict

PERCENTILES = {"p50_s": 50.0, "p90_s": 90.0, "p95_s": 95.0, "p99_s": 99.0, "p99_9_s": 99.9}


def inference_metrics(series: Sequence[Series]) -> dict[str, Metric]:
    """Metrics of one batch size from the series of its processes.

    ``rows_per_s`` and ``call_s`` rest on each process's median of undisturbed samples; ``mean_inference_s`` is the mean
    over every call after warm-up, which is what the source documents report, with ``mean_inference_per_row_s`` beside.
    """
    if not series:
        return {}
    batch = series[0].batch_size or 1
    calls = [estimate for one in series if (estimate := one.estimate_s or one.estimate_all_s) is not None]
    means = [_mean_call_s(one) for one in series]
    return {
        "rows_per_s": over_processes([batch / call for call in calls], "row/s"),
        "call_s": over_processes(calls, "s"),
        "call_all_samples_s": over_processes(
            [one.estimate_all_s for one in series if one.estimate_all_s is not None], "s"
        ),
        "mean_inference_s": over_processes(means, "s"),
        "mean_inference_per_row_s": over_processes([mean / batch for mean in means], "s"),
    }


def latency_metrics(series: Sequence[Series]) -> dict[str, Metric]:
    """Percentiles over the requests of all processes, warm-up left out; without a value where too few were made."""
    if not series:
        return {}
    inner = max(one.inner for one in series)
    durations = np.concatenate([np.asarray(one.durations_ns[one.warmup :], dtype=np.int64) for one in series])
    pooled = Samples(durations, np.zeros(len(durations), dtype=np.uint8), inner, wall_ns=int(durations.sum()))
    found = {name: percentile(pooled, percent) for name, percent in PERCENTILES.items()}
    return {
        name: Metric(value=one.value_s, unit="s", n=one.requests, note=one.note or "at most, with 99 % confidence")
        for name, one in found.items()
    }


def training_metrics(
    series: Sequence[Series], rows_per_step: int, whole_fit_s: float | None, *, seeds: int
) -> dict[str, Metric]:
    """Rate of the training loop over processes, and the seconds that the whole fit of all seeds together took."""
    steps = [estimate for one in series if (estimate := one.estimate_s or one.estimate_all_s) is not None]
    all_steps = [one.estimate_all_s for one in series if one.estimate_all_s is not None]
    metrics = {
        "train_rows_per_s": over_processes([rows_per_step / step for step in steps], "row/s"),
        "step_s": over_processes(steps, "s"),
        "step_all_samples_s": over_processes(all_steps, "s"),
    }
    if whole_fit_s is not None:
        note = "one fit: no interval" if seeds == 1 else f"{seeds} seeds trained together: no interval"
        metrics["train_seconds"] = Metric(value=whole_fit_s, unit="s", n=1, note=note)
    return metrics


def over_processes(values: Sequence[float], unit: str) -> Metric:
    """Geometric mean over processes with its 95 % t interval; no interval from one process."""
    if not values:
        return Metric(value=None, unit=unit, n=0, note="no process finished")
    interval = interval_over_processes(values)
    note = "one process: no interval" if interval.n == 1 else None
    return Metric(interval.centre, unit, interval.low, interval.high, interval.n, note)


def judge(
    blocks: Sequence[Block],
    series: Sequence[Series],
    *,
    placement_mismatches: Sequence[str],
    accuracy_mismatch: str | None,
    emulator: str | None,
) -> Validity:
    """The verdict on a result, with every reason.

    Args:
        blocks: one per process, failed ones included.
        series: of the finished processes, the ones the verdict on steadiness and disturbance rests on.
        placement_mismatches: what ``placement.verify`` found, over all processes.
        accuracy_mismatch: how this backend's scores differ from the reference's.
        emulator: name of the emulator the run was made under, if any.
    """
    failures = tuple(f"block {block.index}: {block.failure}" for block in blocks if block.failure is not None)
    finished = [block for block in blocks if block.failure is None]
    if not finished:
        return Validity(Verdict.FAILED, failures)
    evidence = Evidence(
        blocks=len(finished),
        clean_shares=[_clean_share(one) for one in series],
        steal_shares=[block.steal_share for block in finished],
        steady=[one.steady for one in series],
        placement_mismatches=placement_mismatches,
        accuracy_mismatch=accuracy_mismatch,
    )
    found = invalidities(evidence)
    reasons = (*failures, *(f"{one.text}. {one.reason.remedy}" for one in found))
    if emulator is not None:
        kept = tuple(f"{one.text}. {one.reason.remedy}" for one in found if one.reason is Reason.ACCURACY)
        refusal = f"Times are refused under emulation ({emulator}); scores and counts stand."
        return Validity(Verdict.TIMINGS_REFUSED if not kept else Verdict.INVALID, (refusal, *failures, *kept))
    if not found:
        return Validity(Verdict.VALID, reasons)
    if all(one.reason is Reason.NO_STEADY_STATE for one in found):
        return Validity(Verdict.NO_STEADY_STATE, reasons)
    return Validity(Verdict.INVALID, reasons)


def _mean_call_s(series: Series) -> float:
    kept = series.durations_ns[series.warmup :]
    return sum(kept) * 1e-9 / (len(kept) * series.inner)


def _clean_share(series: Series) -> float:
    flags = series.flags[series.warmup :]
    return sum(flag == 0 for flag in flags) / len(flags) if flags else 0.0
