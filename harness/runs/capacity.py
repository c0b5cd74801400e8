"""The server scenario over processes: the rate that every one of them reaches."""

from __future__ import annotations

from collections.abc import Sequence

from harness.measure.percentiles import PERCENTILES, requests_needed
from harness.record.model import Metric, ProcessRecord, Served, Validity, Verdict
from harness.runs.judge import over_processes
from harness.wording import plural, some_of


def server_metrics(processes: Sequence[ProcessRecord]) -> dict[str, Metric]:
    """What is published is the lowest rate of all processes, so that each of them reaches it.

    Latencies are the highest over processes and trials, each process at its own rate.
    """
    served = _served(processes)
    if not served:
        return {}
    rates = [outcome.rate for outcome in served if outcome.rate is not None]
    first = served[0]
    rule = f"p99 at most {first.bound_s:g} s; lowest of {plural(len(rates), 'process', 'processes')}, {first.meets}"
    missed = f"no process held p99 at {first.bound_s:g} s: {first.note}"
    return {
        "rows_per_s": Metric(min(rates), "rows/s", n=len(rates), note=rule)
        if rates
        else Metric(None, "rows/s", n=0, note=missed),
        "rows_per_s_typical": over_processes(rates, "rows/s"),
        "service_s": over_processes([outcome.service_s for outcome in served], "s"),
        **{name: _latency(served, name) for name in PERCENTILES},
    }


def refused_capacity(processes: Sequence[ProcessRecord], validity: Validity) -> Validity:
    """The verdict, made invalid where some process had no rate to publish."""
    served = _served(processes)
    notes = [outcome.note for outcome in served if outcome.rate is None]
    if not notes or validity.verdict in (Verdict.FAILED, Verdict.TIMINGS_REFUSED):
        return validity
    text = f"{some_of(len(notes), len(served), 'process', 'processes')} found no rate that meets the bound: {notes[0]}."
    return Validity(Verdict.INVALID, (*validity.reasons, text))


def _served(processes: Sequence[ProcessRecord]) -> list[Served]:
    return [process.served for process in processes if process.served is not None]


def _latency(served: Sequence[Served], name: str) -> Metric:
    values = [outcome.latencies[name] for outcome in served if outcome.rate is not None]
    known = [value for value in values if value is not None]
    requests = sum(outcome.requests for outcome in served)
    if not known or len(known) < len(values):
        note = f"needs {requests_needed(PERCENTILES[name])} requests in each trial"
        return Metric(None, "s", n=requests, note=note)
    return Metric(max(known), "s", n=requests, note="highest of all processes, each at its own rate")
