"""How closely the rates are known while a run is under way."""

from __future__ import annotations

from collections.abc import Sequence

from harness.record.spec import CAPACITY, Scenario
from harness.runs.concurrent import concurrent_rates
from harness.runs.journal import Measurement
from harness.runs.judge import estimate_of
from harness.runs.schedule import Configuration
from harness.workers.outcomes import InstanceOutcome, MeasureOutcome


def headline_estimates(
    configurations: Sequence[Configuration], measurements: Sequence[Measurement]
) -> list[list[float]]:
    """Per configuration and scenario, one estimate per finished process of its headline rate or time."""
    estimates: dict[tuple[Configuration, Scenario], list[float]] = {}
    for measurement in measurements:
        configuration = configurations[measurement.configuration]
        for scenario in measurement.scenarios:
            known = estimates.setdefault((configuration, scenario), [])
            estimate = _estimate(measurement, scenario)
            if estimate is not None:
                known.append(estimate)
    return list(estimates.values())


def _estimate(measurement: Measurement, scenario: Scenario) -> float | None:
    outcomes = [report.outcome for report in measurement.result.reports]
    instances = [outcome for outcome in outcomes if isinstance(outcome, InstanceOutcome)]
    if instances:
        rates = concurrent_rates(instances)
        return rates[-1].rows_per_s or None if rates else None
    outcome = next(iter(outcomes), None)
    if not isinstance(outcome, MeasureOutcome):
        return None
    if scenario in CAPACITY:
        served = outcome.served.get(scenario)
        return None if served is None else served.rate
    series = outcome.series[scenario]
    return estimate_of(series[-1]).call_s if series else None
