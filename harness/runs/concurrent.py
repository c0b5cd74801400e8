"""Several instances that ran at the same time, as one block: rates in the window that all of them shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from harness.measure.overlap import InstanceTrace, overlap_throughput
from harness.measure.sampling import MIN_CLEAN
from harness.placement.verify import Observation
from harness.record.model import Block, Metric, Series
from harness.runs.judge import over_processes
from harness.runs.schedule import Slot
from harness.workers.jobs import Outcome


@dataclass(frozen=True)
class Together:
    """One batch size over all instances.

    Attributes:
        rows_per_s: sum over the instances of the rows they completed in the window, per second of it.
        least, most: of a single instance.
        undisturbed_rows_per_s: sum over the instances of the rate of each one's median undisturbed sample in it.
        window_s: time in which all of them were at work.
        window_share: of the time from the first start to the last completion.
    """

    rows_per_s: float
    least: float
    most: float
    undisturbed_rows_per_s: float
    window_s: float
    window_share: float


def series_of(values: Mapping[str, Any]) -> Series:
    """A series as a worker writes it."""
    return Series(**{**values, "durations_ns": tuple(values["durations_ns"]), "flags": tuple(values["flags"])})


def together(traces: Sequence[Mapping[str, Any]]) -> Together:
    """What instances reached together, from the traces of one batch size, one per instance.

    The warm-up of each is left out. Source of the window rule: what a slow instance does after the others have ended,
    it does on an idle machine.
    """
    series = [series_of(trace["series"]) for trace in traces]
    shared = [_requests(trace, one) for trace, one in zip(traces, series, strict=True)]
    found = overlap_throughput(shared)
    batch = series[0].batch_size or 1
    opens = max(trace.began_ns for trace in shared)
    closes = min(int(trace.completed_ns[-1]) for trace in shared)
    calls = [_median_call_s(trace, one, opens, closes) for trace, one in zip(traces, series, strict=True)]
    return Together(
        rows_per_s=batch * found.total,
        least=batch * found.least,
        most=batch * found.most,
        undisturbed_rows_per_s=sum(batch / call for call in calls),
        window_s=found.window_s,
        window_share=found.window_share,
    )


def combined_block(slot: Slot, outcome: Outcome) -> Block:
    """The block of a job whose payload has one entry per instance; series by batch size, then by instance."""
    assert outcome.payload is not None
    parts: list[dict[str, Any]] = outcome.payload["instances"]
    observations = [Observation.from_json(part["observation"]) for part in parts]
    by_batch = list(zip(*(part["traces"] for part in parts), strict=True))
    rates = {str(traces[0]["series"]["batch_size"]): together(traces) for traces in by_batch}
    pages = [one.page_nodes for one in observations]
    steal = [part["steal_share"] for part in parts]
    return Block(
        index=slot.block,
        order=slot.order,
        seed=slot.seed,
        pid=outcome.pid,
        wall_s=outcome.wall_s,
        rss_peak_bytes=sum(part["rss_peak_bytes"] for part in parts),
        steal_share=None if None in steal else fmean(steal),
        cpus_allowed=_union(one.cpus_allowed for one in observations),
        cpus_sampled=_union(one.cpus_sampled for one in observations),
        page_nodes=None if None in pages else _added([one for one in pages if one is not None]),
        series=tuple(series_of(trace["series"]) for traces in by_batch for trace in traces),
        details={
            "memory_policy": observations[0].memory_policy,
            "instances": [list(one.cpus_allowed) for one in observations],
            "together": {size: asdict(one) for size, one in rates.items()},
        },
        rates={size: one.rows_per_s for size, one in rates.items()},
    )


def combined_metrics(blocks: Sequence[Block], batch_size: int) -> dict[str, Metric]:
    """Metrics of one batch size over blocks of instances."""
    found = [Together(**block.details["together"][str(batch_size)]) for block in blocks if block.failure is None]
    if not found:
        return {}
    return {
        "rows_per_s": over_processes([one.rows_per_s for one in found if one.rows_per_s], "row/s"),
        "rows_per_s_undisturbed": over_processes([one.undisturbed_rows_per_s for one in found], "row/s"),
        "instance_rows_per_s_min": over_processes([one.least for one in found if one.least], "row/s"),
        "instance_rows_per_s_max": over_processes([one.most for one in found if one.most], "row/s"),
        "window_share": Metric(min(one.window_share for one in found), "1", n=len(found), note="least of the blocks"),
    }


def _requests(trace: Mapping[str, Any], series: Series) -> InstanceTrace:
    completed = np.asarray(trace["completed_ns"], dtype=np.int64)
    began = int(completed[series.warmup - 1]) if series.warmup else int(trace["began_ns"])
    return InstanceTrace(began, completed[series.warmup :], weight=series.inner)


def _median_call_s(trace: Mapping[str, Any], series: Series, opens: int, closes: int) -> float:
    """Median of the samples completed in the window, the undisturbed ones where there are enough, per call."""
    completed = np.asarray(trace["completed_ns"], dtype=np.int64)
    durations = np.asarray(series.durations_ns, dtype=np.float64)
    clean = np.asarray(series.flags) == 0
    inside = (completed > opens) & (completed <= closes)
    enough = (mask for mask in (inside & clean, inside) if np.count_nonzero(mask) >= MIN_CLEAN)
    kept = next(enough, np.ones(len(durations), dtype=bool))
    return float(np.median(durations[kept])) * 1e-9 / series.inner


def _union(lists: Any) -> tuple[int, ...]:
    return tuple(sorted({cpu for cpus in lists for cpu in cpus}))


def _added(pages: Sequence[Mapping[int, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in pages:
        for node, count in one.items():
            total[str(node)] = total.get(str(node), 0) + count
    return total
