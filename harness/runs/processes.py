"""From what worker processes measured to the process records of one scenario."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.placement.model import MemoryBinding
from harness.placement.verify import Observation
from harness.record.model import MemoryPolicy, ProcessRecord, Served
from harness.record.spec import Scenario
from harness.runs.concurrent import concurrent_rates, series_by_batch, total_pages, union
from harness.runs.journal import Measurement
from harness.workers.counting import together
from harness.workers.outcomes import InstanceOutcome, MeasureOutcome


def process_record(measurement: Measurement, scenario: Scenario) -> ProcessRecord:
    """One measurement's part in a scenario; of several instances, their series by batch size, then by instance."""
    result = measurement.result
    outcomes = [report.outcome for report in result.reports]
    observations = [report.observation for report in result.reports if report.observation is not None]
    if result.failure is not None or not observations:
        return ProcessRecord(
            measurement.block,
            measurement.order,
            measurement.seed,
            pid=result.pid,
            wall_s=result.wall_s,
            failure=result.failure or "it left no outcome",
        )
    instances = [outcome for outcome in outcomes if isinstance(outcome, InstanceOutcome)]
    single = next((outcome for outcome in outcomes if isinstance(outcome, MeasureOutcome)), None)
    steal = [outcome.steal_share for outcome in outcomes if isinstance(outcome, InstanceOutcome | MeasureOutcome)]
    known_steal = [share for share in steal if share is not None]
    series = tuple(trace.series for trace in series_by_batch(instances))
    return ProcessRecord(
        block=measurement.block,
        order=measurement.order,
        random_state=measurement.seed,
        pid=result.pid,
        wall_s=result.reports[0].wall_s if single else result.wall_s,
        rss_peak_bytes=sum(report.rss_peak_bytes for report in result.reports),
        steal_share=min(1.0, fmean(known_steal)) if len(known_steal) == len(steal) else None,
        cpus_allowed=union(observation.cpus_allowed for observation in observations),
        cpus_sampled=union(observation.cpus_sampled for observation in observations),
        page_nodes=total_pages([observation.page_nodes for observation in observations]),
        memory_policy=_policy(observations[0]),
        series=series if single is None else single.series.get(scenario, ()),
        instances=tuple(observation.cpus_allowed for observation in observations) if instances else (),
        concurrent=concurrent_rates(instances) if instances else (),
        served=_served(single, instances, scenario),
        counters=together([each.counters for each in instances if each.counters is not None])
        if single is None
        else single.counters.get(scenario),
    )


def _served(single: MeasureOutcome | None, instances: Sequence[InstanceOutcome], scenario: Scenario) -> Served | None:
    """What was served, by all instances together where there are several: each of them knows it."""
    if single is not None:
        return single.served.get(scenario)
    return next((each.served for each in instances if scenario == "server"), None)


def policy_of(binding: MemoryBinding) -> MemoryPolicy:
    """A memory policy as records have it."""
    return MemoryPolicy("bind" if binding.nodes else "default", binding.nodes, binding.refused)


def _policy(observation: Observation) -> MemoryPolicy | None:
    return None if observation.memory_policy is None else policy_of(observation.memory_policy)
