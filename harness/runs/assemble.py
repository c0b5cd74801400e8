"""From the outcomes of worker processes to the results of a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.placement.instances import divide_among_instances
from harness.placement.plan import Placement
from harness.placement.verify import Observation, mismatches
from harness.record.model import (
    Block,
    DatasetRecord,
    Metric,
    PlacementRecord,
    Published,
    Result,
    Series,
    Validity,
    Verdict,
)
from harness.runs.accuracy import accuracy_record, counterpart_record, references_record
from harness.runs.capacity import refused_capacity, server_metrics
from harness.runs.concurrent import combined_block, combined_metrics, series_of
from harness.runs.judge import inference_metrics, judge, latency_metrics, training_metrics
from harness.runs.schedule import Configuration, Slot
from harness.runs.spec import Request, Surroundings
from harness.scoring.artifacts import disagreement
from harness.workers.jobs import FitJob, MeasureJob, Outcome, TogetherJob
from harness.workload.model import Workload

UNTIMED = "offline"  # what a configuration without timed scenarios (under emulation) is recorded as


@dataclass(frozen=True)
class Fitted:
    """A workload and the fit of its seeds."""

    workload: Workload
    job: FitJob
    outcome: Outcome
    references: Outcome | None = None  # classical detectors on the same data; None where none were asked for
    counterpart: Outcome | None = None  # its fit under the other protocol; None where none was asked for

    @property
    def payload(self) -> dict[str, Any] | None:
        """What the fit told; None when it failed."""
        return self.outcome.payload

    @property
    def directory(self) -> Path | None:
        """Artifacts of the first seed."""
        return None if self.payload is None else Path(self.job.directory)

    @property
    def backends(self) -> tuple[str, ...]:
        """What can run the exported detector."""
        return () if self.payload is None else tuple(self.payload["backends"])

    @property
    def macs_per_row(self) -> int | None:
        """Multiply-adds to score a row; None when it is not a matter of dense layers."""
        return None if self.payload is None else self.payload["macs_per_row"]

    @property
    def trains_on(self) -> tuple[str, ...]:
        """Backends whose training rate can be sampled: none for a method that does not train in steps."""
        return () if self.payload is None else tuple(self.payload["trains_on"])


@dataclass(frozen=True)
class Measured:
    """One measuring process, or several that were at work together."""

    slot: Slot
    job: MeasureJob | TogetherJob
    outcome: Outcome

    def processes(self, plan: Placement) -> list[tuple[MeasureJob, Placement, dict[str, Any]]]:
        """The processes that finished: job, the part of ``plan`` it had, and what it left."""
        if self.outcome.payload is None:
            return []
        if isinstance(self.job, TogetherJob):
            plans = divide_among_instances(plan, len(self.job.instances))
            return list(zip(self.job.instances, plans, self.outcome.payload["instances"], strict=True))
        return [(self.job, plan, self.outcome.payload)]


def results_of(
    request: Request, around: Surroundings, fitted: Mapping[str, Fitted], measured: Iterable[Measured]
) -> tuple[Result, ...]:
    """One result per workload, scenario, backend and dtype, in the order of the request."""
    by_configuration: dict[Configuration, list[Measured]] = {}
    for one in sorted(measured, key=lambda item: (item.slot.block, item.slot.order)):
        by_configuration.setdefault(one.slot.configuration, []).append(one)
    results = []
    for name, fit in fitted.items():
        own = {key: value for key, value in by_configuration.items() if key.workload == name}
        if not own:
            results.append(_unmeasured(request, around, fit))
        for configuration, processes in own.items():
            for scenario in configuration.scenarios or (UNTIMED,):
                results.append(_result(request, around, fit, configuration, scenario, processes))
    return tuple(results)


def _result(
    request: Request,
    around: Surroundings,
    fit: Fitted,
    configuration: Configuration,
    scenario: str,
    processes: Sequence[Measured],
) -> Result:
    blocks = [_block(one, scenario) for one in processes]
    wrong = tuple(text for one in processes for text in _mismatches(around, one))
    series = [block.series for block in blocks if block.failure is None]
    together = isinstance(processes[0].job, TogetherJob)
    headline = [of_process[-1] for of_process in series if of_process]
    largest = headline[0].batch_size if headline else None
    judged = [one for of_process in series for one in of_process if one.batch_size == largest] if together else headline
    emulator = around.facts.emulation.emulator if around.facts.emulation.emulated else None
    validity = judge(
        blocks,
        () if scenario == "server" else judged,  # a tail is judged with whatever disturbed it
        placement_mismatches=tuple(dict.fromkeys(wrong)),
        accuracy_mismatch=_disagreement(fit, configuration, processes, around.plan),
        emulator=emulator,
    )
    if scenario == "server":
        validity = refused_capacity(blocks, validity)

    def at_batch(size: int) -> dict[str, Metric]:
        if together:
            return combined_metrics(blocks, size)
        return inference_metrics([one for of_process in series for one in of_process if one.batch_size == size])

    metrics: dict[str, Metric] = {}
    if together and largest is not None:
        metrics = at_batch(largest)
    elif not emulator:
        metrics = _metrics(scenario, configuration.backend, headline, blocks, fit)
    sizes = sorted({one.batch_size for of_process in series for one in of_process if one.batch_size})
    by_batch = {str(size): at_batch(size) for size in (sizes if len(sizes) > 1 and not emulator else ())}
    return _assembled(
        request, around, fit, scenario=scenario, backend=configuration.backend, dtype=configuration.dtype,
        batch_size=largest, verified=_verified(blocks, wrong), wrong=wrong,
        blocks=tuple(blocks), metrics=metrics, by_batch=by_batch, validity=validity,
    )  # fmt: skip


def _metrics(
    scenario: str, backend: str, headline: Sequence[Series], blocks: Sequence[Block], fit: Fitted
) -> dict[str, Metric]:
    if scenario == "train" and fit.payload is not None:
        rows_per_step = fit.workload.training_for(fit.job.protocol).batch_size or 1
        whole_fit = fit.payload["train_seconds"] if fit.payload["trained_on"] == backend else None
        return training_metrics(headline, rows_per_step, whole_fit, seeds=len(fit.job.seeds))
    if scenario == "server":
        return server_metrics(blocks)
    metrics = inference_metrics(headline)
    return metrics if scenario == "offline" else {**metrics, **latency_metrics(headline)}


def _unmeasured(request: Request, around: Surroundings, fit: Fitted) -> Result:
    """The result of a workload of which no configuration could be measured: its fits failed, or no backend fits."""
    wanted = ", ".join(request.backends or fit.workload.inference.backends)
    able = ", ".join(fit.backends)
    failure = fit.outcome.failure
    reasons = (failure,) if failure else (f"None of the backends asked for ({wanted}) can run it; it runs on: {able}.",)
    return _assembled(
        request, around, fit, scenario="train" if failure else "offline", backend="eager", dtype="float32",
        batch_size=None, verified=None, wrong=(), blocks=(), metrics={}, by_batch={},
        validity=Validity(Verdict.FAILED, reasons),
    )  # fmt: skip


def _assembled(
    request: Request,
    around: Surroundings,
    fit: Fitted,
    *,
    scenario: str,
    backend: str,
    dtype: str,
    batch_size: int | None,
    verified: bool | None,
    wrong: tuple[str, ...],
    blocks: tuple[Block, ...],
    metrics: dict[str, Metric],
    by_batch: dict[str, dict[str, Metric]],
    validity: Validity,
) -> Result:
    plan = around.plan
    payload = fit.payload
    reference = fit.workload.published
    return Result(
        workload=fit.workload.name,
        detector=fit.workload.detector,
        dataset=_unknown_dataset(fit, request) if payload is None else DatasetRecord(**payload["dataset"]),
        scenario=scenario,
        backend=backend,
        dtype=dtype,
        batch_size=batch_size,
        placement=PlacementRecord(
            nodes=tuple(plan.nodes),
            cpus=tuple(plan.cpus),
            threads=plan.threads,
            threads_per_core=plan.threads_per_core,
            smt=around.facts.topology.smt.online,
            memory_policy=_policy(blocks, plan.memory_policy),
            env=dict(plan.env),
            verified=verified,
            mismatches=tuple(dict.fromkeys(wrong)),
        ),
        blocks=blocks,
        metrics=metrics,
        by_batch=by_batch,
        accuracy=None if payload is None else _accuracy(fit, request, payload),
        published=None
        if reference is None
        else Published(reference.metric, reference.value, reference.source, reference.difference),
        share_of_peak=None,
        validity=validity,
        title=fit.workload.title,
        cache=request.cache,
        instances=request.instances if blocks and not around.facts.emulation.emulated else 1,
    )


def missing_backends(request: Request, workload: Workload, payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Why backends that were asked for cannot run on this machine, a sentence each."""
    wanted = request.backends or workload.inference.backends
    reasons: Mapping[str, str] = payload.get("unavailable", {})
    return tuple(f"Backend {name} was left out. {reasons[name]}" for name in wanted if name in reasons)


def _accuracy(fit: Fitted, request: Request, payload: dict[str, Any]) -> dict[str, Any]:
    protocol = request.protocol
    found = accuracy_record(fit.workload, protocol, payload)
    found["notes"] += missing_backends(request, fit.workload, payload)
    if fit.references is not None:
        found |= references_record(fit.references)
    if fit.counterpart is not None:
        found["counterpart"] = counterpart_record(fit.workload, protocol, fit.counterpart)
    return found


def _block(one: Measured, scenario: str) -> Block:
    outcome, slot = one.outcome, one.slot
    if outcome.payload is None:
        return Block(
            index=slot.block, order=slot.order, seed=slot.seed, pid=outcome.pid, wall_s=outcome.wall_s,
            rss_peak_bytes=None, steal_share=None, cpus_allowed=None, cpus_sampled=None, page_nodes=None,
            failure=outcome.failure or "it left no outcome",
        )  # fmt: skip
    if isinstance(one.job, TogetherJob):
        return combined_block(slot, outcome)
    payload = outcome.payload
    served = payload["served"] if scenario == "server" else None
    observation = Observation.from_json(payload["observation"])
    return Block(
        index=slot.block,
        order=slot.order,
        seed=slot.seed,
        pid=outcome.pid,
        wall_s=payload["wall_s"],
        rss_peak_bytes=payload["rss_peak_bytes"],
        steal_share=payload["steal_share"],
        cpus_allowed=observation.cpus_allowed,
        cpus_sampled=observation.cpus_sampled,
        page_nodes=observation.page_nodes_json(),
        series=tuple(series_of(values) for values in payload["series"].get(scenario, ())),
        details={"memory_policy": observation.memory_policy, **({"served": served} if served else {})},
        rates={"1": served["rate"]} if served and served["rate"] else {},
    )


def _mismatches(around: Surroundings, one: Measured) -> tuple[str, ...]:
    return tuple(
        text
        for _, plan, payload in one.processes(around.plan)
        for text in mismatches(plan, Observation.from_json(payload["observation"]))
    )


def _verified(blocks: Sequence[Block], wrong: Sequence[str]) -> bool | None:
    return None if all(block.failure is not None for block in blocks) else not wrong


def _disagreement(
    fit: Fitted, configuration: Configuration, processes: Sequence[Measured], plan: Placement
) -> str | None:
    """How this configuration's scores differ from the detector's own, in the first process in which they do."""
    assert fit.directory is not None
    for job in (job for one in processes for job, _, _ in one.processes(plan)):
        difference = disagreement(fit.directory, Path(job.directory), configuration.dtype)
        if difference is not None:
            return difference
    return None


def _policy(blocks: Sequence[Block], planned: str) -> str:
    return next(
        (str(block.details["memory_policy"]) for block in blocks if block.details.get("memory_policy")), planned
    )


def _unknown_dataset(fit: Fitted, request: Request) -> DatasetRecord:
    return DatasetRecord(
        name=fit.workload.dataset, origin="unknown", protocol=request.protocol, sha256={}, verified=None, rows={},
        features=0, prevalence=None,
    )  # fmt: skip
