"""From the fits and measurements of a run to the results of its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.record.accuracy import Accuracy
from harness.record.model import (
    DatasetRecord,
    MemoryPolicy,
    Metric,
    PlacementRecord,
    ProcessRecord,
    Published,
    Result,
    Validity,
    Verdict,
)
from harness.record.series import Series
from harness.record.spec import CAPACITY, RunSpec, Scenario
from harness.runs.accuracy import accuracy_record, baselines_record, counterpart_record
from harness.runs.capacity import refused_capacity, server_metrics
from harness.runs.concurrent import concurrent_metrics
from harness.runs.engine import Fit
from harness.runs.journal import Measurement
from harness.runs.judge import inference_metrics, judge, latency_metrics, training_metrics
from harness.runs.machine import Machine
from harness.runs.processes import policy_of, process_record
from harness.runs.schedule import Configuration
from harness.runs.training_time import training_time

UNTIMED: Scenario = "offline"  # what a configuration without timed scenarios (under emulation) is recorded as


@dataclass(frozen=True)
class Subject:
    """What a result is about."""

    spec: RunSpec
    machine: Machine
    fit: Fit
    scenario: Scenario
    backend: str
    dtype: str

    @property
    def emulator(self) -> str | None:
        """Name of the emulator that the run was made under, if any; its times are refused."""
        return self.machine.facts.emulation.refuses


@dataclass(frozen=True)
class _Judged:
    """What the processes of a result gave."""

    processes: tuple[ProcessRecord, ...]
    validity: Validity
    batch_size: int | None = None
    metrics: dict[str, Metric] | None = None
    by_batch: dict[int, dict[str, Metric]] | None = None
    mismatches: tuple[str, ...] = ()


def results_of(
    spec: RunSpec,
    machine: Machine,
    fits: Mapping[str, Fit],
    configurations: Sequence[Configuration],
    measurements: Iterable[Measurement],
) -> tuple[Result, ...]:
    """One result per workload, scenario, backend and dtype, in the order of the configurations."""
    by_configuration: dict[int, list[Measurement]] = {}
    for measurement in sorted(measurements, key=lambda item: (item.block, item.order)):
        by_configuration.setdefault(measurement.configuration, []).append(measurement)
    results = []
    for name, fit in fits.items():
        own = [index for index, each in enumerate(configurations) if each.workload == name]
        if not own:
            results.append(_unmeasured(spec, machine, fit))
        for index in (each for each in own if each in by_configuration):  # a short budget leaves some out
            configuration, measured = configurations[index], by_configuration[index]
            for scenario in configuration.scenarios or (UNTIMED,):
                subject = Subject(spec, machine, fit, scenario, configuration.backend, configuration.dtype)
                results.append(_result(subject, _judged(subject, configuration, measured)))
    return tuple(results)


def _judged(subject: Subject, configuration: Configuration, measured: Sequence[Measurement]) -> _Judged:
    scenario, emulator, concurrent = subject.scenario, subject.emulator, configuration.instances > 1
    processes = tuple(process_record(measurement, scenario) for measurement in measured)
    series = [process.series for process in processes if process.failure is None]
    headline = [of_process[-1] for of_process in series if of_process]
    largest = headline[0].batch_size if headline else None
    mismatches = tuple(dict.fromkeys(text for measurement in measured for text in measurement.mismatches))
    validity = judge(
        processes,
        # A tail is judged with whatever disturbed it.
        () if scenario in CAPACITY else _of_batch(series, largest) if concurrent else headline,
        placement_mismatches=mismatches,
        accuracy_mismatch=next((each.disagreement for each in measured if each.disagreement), None),
        clock_mismatch=next((each.clock for each in measured if each.clock), None),
        emulator=emulator,
    )
    if scenario in CAPACITY:
        validity = refused_capacity(processes, validity)

    def at_batch(size: int) -> dict[str, Metric]:
        return concurrent_metrics(processes, size) if concurrent else inference_metrics(_of_batch(series, size))

    metrics: dict[str, Metric] = {}
    if concurrent and largest is not None:
        metrics = at_batch(largest)
    elif not emulator:
        metrics = _metrics(subject, headline, processes)
        if scenario == ("train" if "train" in configuration.scenarios else configuration.scenarios[0]):
            rate = metrics.get("train_rows_per_s")
            time = training_time(subject.fit, subject.backend, subject.dtype, rate)
            metrics |= {} if time is None or not headline else {"train_seconds": time}
    sizes = sorted({each.batch_size for of_process in series for each in of_process if each.batch_size})
    by_batch = {size: at_batch(size) for size in (sizes if len(sizes) > 1 and not emulator else ())}
    return _Judged(processes, validity, largest, metrics, by_batch, mismatches)


def _of_batch(series: Sequence[Sequence[Series]], batch_size: int | None) -> list[Series]:
    return [each for of_process in series for each in of_process if each.batch_size == batch_size]


def _metrics(subject: Subject, headline: Sequence[Series], processes: Sequence[ProcessRecord]) -> dict[str, Metric]:
    fit = subject.fit
    if subject.scenario == "train" and fit.outcome is not None:
        return training_metrics(headline, fit.workload.training_for(fit.protocol).batch_size or 1)
    if subject.scenario in CAPACITY:
        return server_metrics(processes)
    metrics = inference_metrics(headline)
    return metrics if subject.scenario == "offline" else {**metrics, **latency_metrics(headline)}


def _unmeasured(spec: RunSpec, machine: Machine, fit: Fit) -> Result:
    """The result of a workload of which no configuration could be measured: its fits failed, or no backend fits."""
    wanted = ", ".join(spec.backends or fit.workload.inference.backends)
    able = "" if fit.outcome is None else ", ".join(fit.outcome.backends)
    failure = fit.result.failure
    reason = failure or f"None of the backends asked for ({wanted}) can run it; it runs on: {able}."
    subject = Subject(spec, machine, fit, "train" if failure else "offline", "eager", "float32")
    return _result(subject, _Judged((), Validity(Verdict.FAILED, (reason,))))


def _result(subject: Subject, judged: _Judged) -> Result:
    spec, fit, placement, processes = subject.spec, subject.fit, subject.machine.placement, judged.processes
    workload, outcome = fit.workload, fit.outcome
    published = workload.published
    failed = all(process.failure is not None for process in processes)
    policies = [process.memory_policy for process in processes if process.memory_policy is not None]
    policy: MemoryPolicy = policies[0] if policies else policy_of(placement.memory_policy)
    return Result(
        workload=workload.name,
        detector=workload.detector,
        dataset=_unknown_dataset(fit) if outcome is None else outcome.dataset,
        scenario=subject.scenario,
        backend=subject.backend,
        dtype=subject.dtype,
        batch_size=judged.batch_size,
        placement=PlacementRecord(
            nodes=placement.nodes,
            cpus=placement.cpus,
            threads=placement.threads,
            threads_per_core=placement.threads_per_core,
            smt=subject.machine.facts.topology.smt.online,
            memory_policy=policy,
            env=dict(placement.env),
            verified=None if failed else not judged.mismatches,
            mismatches=judged.mismatches,
        ),
        processes=processes,
        metrics=judged.metrics or {},
        by_batch=judged.by_batch or {},
        accuracy=_accuracy(spec, fit),
        published=None
        if published is None
        else Published(published.metric, published.value, published.source, published.difference),
        share_of_peak=None,
        validity=judged.validity,
        title=workload.title,
        cache=spec.cache,
        instances=spec.instances if processes else 1,
    )


def missing_backends(spec: RunSpec, fit: Fit) -> tuple[str, ...]:
    """Why backends that were asked for cannot run on this machine, a sentence each."""
    wanted = spec.backends or fit.workload.inference.backends
    reasons = {} if fit.outcome is None else fit.outcome.unavailable
    return tuple(f"Backend {name} was left out. {reasons[name]}" for name in wanted if name in reasons)


def too_large(fit: Fit) -> tuple[str, ...]:
    """What is said of batches that the test rows do not fill."""
    rows = None if fit.outcome is None else fit.outcome.dataset.rows.get("test")
    larger = [] if rows is None else [size for size in fit.workload.inference.batch_sizes if size > rows]
    sizes = ", ".join(f"{size:,}" for size in larger)
    return (f"{fit.workload.name} has {rows:,} test rows: batch {sizes} is left out.",) if larger else ()


def _accuracy(spec: RunSpec, fit: Fit) -> Accuracy | None:
    if fit.outcome is None:
        return None
    accuracy = accuracy_record(fit.workload, fit.protocol, fit.outcome)
    return replace(
        accuracy,
        notes=(*accuracy.notes, *missing_backends(spec, fit)),
        baseline_detectors=None if fit.baselines is None else baselines_record(fit.baselines),
        counterpart=None
        if fit.counterpart is None
        else counterpart_record(fit.workload, fit.protocol, fit.counterpart),
    )


def _unknown_dataset(fit: Fit) -> DatasetRecord:
    return DatasetRecord(
        name=fit.workload.dataset,
        origin="unknown",
        protocol=fit.protocol,
        sha256={},
        verified=None,
        rows={},
        features=0,
        prevalence=None,
    )
