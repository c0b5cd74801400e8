"""The server scenario over blocks: the rate that every process was confirmed at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.measure.percentiles import requests_needed
from harness.record.model import Block, Metric, Validity, Verdict
from harness.runs.judge import PERCENTILES, over_processes


def server_metrics(blocks: Sequence[Block]) -> dict[str, Metric]:
    """What is published is the lowest confirmed rate of all processes, so that none of them needs luck to reach it.

    Latencies are the highest over processes and trials, each process at its own rate.
    """
    served = _served(blocks)
    if not served:
        return {}
    rates = [one["rate"] for one in served if one["rate"] is not None]
    bound = served[0]["bound_s"]
    rule = (
        f"p99 at most {bound:g} s; lowest of {len(rates)} processes, each confirmed {served[0]['confirmations']} times"
    )
    missed = f"no process held p99 at {bound:g} s: {served[0]['note']}"
    return {
        "rows_per_s": Metric(min(rates), "row/s", n=len(rates), note=rule)
        if rates
        else Metric(None, "row/s", n=0, note=missed),
        "rows_per_s_typical": over_processes(rates, "row/s"),
        "service_s": over_processes([one["service_s"] for one in served], "s"),
        **{name: _latency(served, name) for name in PERCENTILES},
    }


def refused_capacity(blocks: Sequence[Block], validity: Validity) -> Validity:
    """The verdict, made invalid where some process had no rate to publish."""
    served = _served(blocks)
    notes = [one["note"] for one in served if one["rate"] is None]
    if not notes or validity.verdict in (Verdict.FAILED, Verdict.TIMINGS_REFUSED):
        return validity
    text = f"{len(notes)} of {len(served)} processes found no rate that meets the bound: {notes[0]}."
    return Validity(Verdict.INVALID, (*validity.reasons, text))


def _served(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    return [block.details["served"] for block in blocks if "served" in block.details]


def _latency(served: Sequence[dict[str, Any]], name: str) -> Metric:
    values = [one["latencies"][name] for one in served if one["rate"] is not None]
    known = [value for value in values if value is not None]
    requests = sum(one["requests"] for one in served)
    if not known or len(known) < len(values):
        note = f"needs {requests_needed(PERCENTILES[name])} requests in each trial"
        return Metric(None, "s", n=requests, note=note)
    return Metric(max(known), "s", n=requests, note="highest of all processes, each at its own rate")
