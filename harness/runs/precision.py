"""How closely the rates are known while a run is under way."""

from __future__ import annotations

from collections.abc import Sequence

from harness.runs.assemble import Measured
from harness.runs.concurrent import together


def headline_estimates(measured: Sequence[Measured]) -> list[list[float]]:
    """Per configuration and scenario, one estimate per finished process of its headline rate or time."""
    found: dict[tuple[object, str], list[float]] = {}
    for one in measured:
        payload = one.outcome.payload
        for scenario in one.slot.scenarios:
            estimates = found.setdefault((one.slot.configuration, scenario), [])
            estimate = None if payload is None else _estimate(payload, scenario)
            if estimate is not None:
                estimates.append(estimate)
    return list(found.values())


def _estimate(payload: dict[str, object], scenario: str) -> float | None:
    instances = payload.get("instances")
    if isinstance(instances, list):
        traces = [instance["traces"][-1] for instance in instances if instance["traces"]]
        return together(traces).rows_per_s or None if traces else None
    served = payload.get("served")
    if scenario == "server":
        return served["rate"] if isinstance(served, dict) else None
    series = payload["series"]
    assert isinstance(series, dict)
    last = next(iter(series.get(scenario, ())[-1:]), None)
    return None if last is None else last["estimate_s"] or last["estimate_all_s"]
