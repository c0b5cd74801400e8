"""The main job: survey, fit, measure in shuffled blocks of fresh processes, judge, and assemble the record."""

from __future__ import annotations

import datetime
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from harness import __version__
from harness.decode import decode
from harness.measure.clock import Clock, SystemClock
from harness.placement.instances import divide_among_instances
from harness.placement.plan import Placement
from harness.record.model import SCHEMA_VERSION, Run
from harness.record.spec import Protocol as ProtocolName
from harness.roofline.assemble import roofline, with_shares, with_workloads
from harness.roofline.measured import MeasuredRoof, cache_to_exceed
from harness.runs.accuracy import other_protocol
from harness.runs.assemble import Fitted, Measured, missing_backends, results_of
from harness.runs.fingerprint import fingerprint
from harness.runs.precision import headline_estimates
from harness.runs.schedule import Configuration, Slot, block_of
from harness.runs.spec import Entry, Request, Surroundings
from harness.runs.stopping import Stopping
from harness.scenarios.cold import eviction_bytes
from harness.scenarios.server import PATIENCE_S
from harness.scoring.backends import BACKENDS
from harness.workers.baseline_detectors import key_of, references_job
from harness.workers.executor import Executor
from harness.workers.jobs import FitJob, InstanceJob, MeasureJob, Outcome, SurveyJob, TogetherJob
from harness.workers.variants import FULL
from harness.workload.model import Workload

INFERENCE = ("offline", "single_stream")
_SURVEY_TIMEOUT_S = 120.0
_FIT_TIMEOUT_S = 6 * 3600.0
_MEASURE_TIMEOUT_S = 300.0  # beyond the time its series are given
_EMULATED_SLOWDOWN = 50.0


class Progress(Protocol):
    """Told what the run does; see ``harness.reporting.progress``."""

    def start(self, total: int, text: str) -> None:
        """``total`` units of work lie ahead."""

    def advance(self, text: str) -> None:
        """One unit is done; ``text`` names the next."""

    def expect(self, total: int) -> None:
        """It turned out that there are ``total`` units in all."""

    def say(self, text: str) -> None:
        """Something that the user should know now."""


def execute(
    request: Request, around: Surroundings, executor: Executor, progress: Progress, clock: Clock | None = None
) -> Run:
    """Do the run; ``clock`` (the real one by default) says when a time budget is used up.

    A worker that dies takes only its own result with it. An interrupt ends the run with nothing left behind.

    Raises:
        InputError: what a worker found wrong in the user's files.
    """
    if around.facts.emulation.emulated:
        # One process of each tells whether the scores are right; times are refused.
        request = replace(request, blocks=1, budget_s=None, half_width=None, instances=1, cache="hot")
    parts = divide_among_instances(around.plan, request.instances)
    evict_bytes = eviction_bytes(around.facts, around.plan.cpus) if request.cache == "cold" else None
    stopping = Stopping(request.amount, clock or SystemClock(), progress.say)
    configurations = sum(len(_backends(entry, request)) for entry in request.entries)
    set_up = _set_up_units(request, around)
    progress.start(set_up + configurations * stopping.blocks, "survey of the timing loop")
    with tempfile.TemporaryDirectory(prefix="lparbench-") as scratch:
        job = _Job(request, around, executor, progress, Path(scratch), stopping, evict_bytes, parts, set_up)
        survey = job.survey()
        fitted = job.beside({entry.workload.name: job.fit(entry) for entry in request.entries})
        measured = job.measure(fitted)
        results = results_of(request, around, fitted, measured)
        macs = {name: fit.macs_per_row for name, fit in fitted.items()}
        peak = survey.get("peak")
        roof = roofline(None if peak is None else decode(MeasuredRoof, peak, "survey: peak"), around.facts)
        facts = around.facts.to_json()
        software = survey.get("software", facts["software"])
        created = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        return Run(
            schema_version=SCHEMA_VERSION,
            run_id=f"{created:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
            created=created.isoformat().replace("+00:00", "Z"),
            tool={
                "name": "lparbench",
                "version": __version__,
                "argv": list(request.argv),
                "overhead": survey.get("overhead"),
            },
            facts=facts,
            fingerprint=fingerprint(facts, software),
            findings=around.findings,
            software=software,
            plan=_plan_record(request, around.plan, stopping),
            checks=around.checks,
            results=with_shares(results, roof, macs),
            roofline=with_workloads(roof, results, macs),
        )


@dataclass(frozen=True)
class _Job:
    request: Request
    around: Surroundings
    executor: Executor
    progress: Progress
    scratch: Path
    stopping: Stopping
    evict_bytes: int | None
    parts: tuple[Placement, ...]  # of the placement, one per instance
    set_up: int  # units of work before the first block

    def survey(self) -> Mapping[str, Any]:
        plan = self.around.plan
        cache_bytes = cache_to_exceed(self.around.facts, plan.cpus)
        job = SurveyJob(plan.threads, tuple(plan.cpus), str(self.scratch / "survey"), cache_bytes=cache_bytes)
        outcome = self.executor.run(job, plan, timeout_s=self._patience(_SURVEY_TIMEOUT_S))
        return outcome.payload or {}

    def fit(self, entry: Entry) -> Fitted:
        """Fit every seed; the first seed's artifacts are what is measured."""
        return self._fit(entry, self.request.protocol)

    def beside(self, fitted: Mapping[str, Fitted]) -> dict[str, Fitted]:
        """The fits with what their accuracy is shown beside: the other protocol where asked for, and the references.

        Nothing here is timed.
        """
        if self.around.facts.emulation.emulated:  # minutes of scikit-learn's native code for no figure of this machine
            return dict(fitted)
        entries = {entry.workload.name: entry for entry in self.request.entries}
        scored: dict[str, Outcome] = {}
        found = {}
        for name, fit in fitted.items():
            if fit.payload is not None and fit.workload.role == "system":
                if self.request.both_protocols:
                    other = self._fit(entries[name], other_protocol(self.request.protocol))
                    shutil.rmtree(other.job.directory, ignore_errors=True)  # it is not measured
                    fit = replace(fit, counterpart=other.outcome)
                fit = replace(fit, references=self._references(fit.workload, scored))
            found[name] = fit
        return found

    def _references(self, workload: Workload, scored: dict[str, Outcome]) -> Outcome:
        """Those of an earlier workload on the same data, or new ones."""
        request, plan = self.request, self.around.plan
        job = references_job(workload, request.protocol, request.data_dir, request.rows, plan.threads)
        key = key_of(job)
        if key not in scored:
            self.progress.advance(f"{workload.dataset}: classical references")
            job = replace(job, directory=str(self.scratch / f"references-{len(scored)}"))
            scored[key] = self.executor.run(job, plan, timeout_s=self._patience(_FIT_TIMEOUT_S))
        return scored[key]

    def _fit(self, entry: Entry, protocol: ProtocolName) -> Fitted:
        name = entry.workload.name
        seeds = tuple(range(_seeds(entry, protocol, self.request)))
        self.progress.advance(f"{name}: training {len(seeds)} seed{'s' if len(seeds) > 1 else ''}")
        job = FitJob(
            workload=entry.reference,
            dataset=entry.dataset,
            label=entry.label,
            protocol=protocol,
            data_dir=None if self.request.data_dir is None else str(self.request.data_dir),
            seeds=seeds,
            trainer="native" if "native" in _backends(entry, self.request) else "torch",
            epochs=self.request.epochs,
            rows=self.request.rows,
            threads=self.around.plan.threads,
            directory=str(self.scratch / f"fit-{name}-{protocol}"),
            learning_rates=self.request.learning_rates if protocol == self.request.protocol else (),
        )
        outcome = self.executor.run(job, self.around.plan, timeout_s=self._patience(_FIT_TIMEOUT_S))
        for reason in missing_backends(self.request, entry.workload, outcome.payload or {}):
            self.progress.say(reason)
        return Fitted(entry.workload, job, outcome)

    def measure(self, fitted: Mapping[str, Fitted]) -> list[Measured]:
        """One process per configuration and block, in the shuffled order."""
        configurations = []
        for entry in self.request.entries:
            fit = fitted[entry.workload.name]
            configurations += list(_configurations(entry, self.request, fit))
        if self.around.facts.emulation.emulated:
            configurations = [replace(one, scenarios=()) for one in configurations]
        self.stopping.set_up()
        measured: list[Measured] = []
        done = 0
        while configurations:
            for slot in block_of(configurations, block=done, seed=self.request.seed):
                measured.append(self._measure_slot(slot, fitted[slot.configuration.workload]))
            done += 1
            another = self.stopping.another(done, headline_estimates(measured))
            self.progress.expect(self.set_up + len(configurations) * self.stopping.blocks)
            if not another:
                break
        return measured

    def _measure_slot(self, slot: Slot, fit: Fitted) -> Measured:
        configuration = slot.configuration
        self.progress.advance(f"block {slot.block + 1} of {self.stopping.blocks}: {configuration.workload}")
        batch_sizes = tuple(size for size in fit.workload.inference.batch_sizes if size > 1)
        name = f"{slot.block}-{slot.order}"
        job = MeasureJob(
            artifact=str(fit.directory),
            backend=configuration.backend,
            dtype=configuration.dtype,
            scenarios=slot.scenarios,
            batch_sizes=batch_sizes,
            series_seconds=self.request.series_seconds,
            steal_cpus=tuple(self.around.plan.cpus),
            threads=self.around.plan.threads,
            seed=slot.seed,
            directory=str(self.scratch / f"measure-{name}"),
            p99_bound_s=self.request.p99_bound_s,
            evict_bytes=self.evict_bytes,
        )
        timeout = _MEASURE_TIMEOUT_S + 8 * self.request.series_seconds * (len(batch_sizes) + 2)
        if "server" in slot.scenarios:
            timeout += 2 * PATIENCE_S
        whole = job if len(self.parts) == 1 else _together(job, self.parts)
        return Measured(slot, whole, self.executor.run(whole, self.around.plan, timeout_s=self._patience(timeout)))

    def _patience(self, seconds: float) -> float:
        return seconds * (_EMULATED_SLOWDOWN if self.around.facts.emulation.emulated else 1.0)


def _set_up_units(request: Request, around: Surroundings) -> int:
    """Jobs before the first block: survey, fits, and what their accuracy is shown beside."""
    systems = [entry.workload for entry in request.entries if entry.workload.role == "system"]
    threads = around.plan.threads
    jobs = (references_job(one, request.protocol, request.data_dir, request.rows, threads) for one in systems)
    beside = len({key_of(job) for job in jobs}) + (len(systems) if request.both_protocols else 0)
    return 1 + len(request.entries) + (0 if around.facts.emulation.emulated else beside)


def _together(job: MeasureJob, plans: Sequence[Placement]) -> TogetherJob:
    """The job once per part of the placement, each with an order of rows of its own."""
    directory = Path(job.directory)
    instances = []
    for index, part in enumerate(plans):
        values = {field.name: getattr(job, field.name) for field in fields(job)}
        values |= {
            "steal_cpus": tuple(part.cpus),
            "threads": part.threads,
            "seed": job.seed + index,
            "directory": str(directory / f"instance-{index}"),
        }
        instances.append(InstanceJob(**values, start_file=str(directory / "start.json")))
    return TogetherJob(tuple(instances), job.directory)


def _configurations(entry: Entry, request: Request, fit: Fitted) -> Iterator[Configuration]:
    for backend in _backends(entry, request):
        if fit.directory is None or backend not in fit.backends:
            continue
        for dtype in request.dtypes or entry.workload.inference.dtypes:
            lower = dtype != FULL
            if dtype not in BACKENDS[backend].dtypes or (lower and not fit.macs_per_row):
                continue
            wanted = request.scenarios or (*INFERENCE, "train")
            trained = fit.trains_on if not lower else ()
            scenarios = tuple(name for name in wanted if name != "train" or backend in trained)
            if scenarios:
                yield Configuration(entry.workload.name, backend, dtype, scenarios)


def _backends(entry: Entry, request: Request) -> tuple[str, ...]:
    return request.backends or entry.workload.inference.backends


def _seeds(entry: Entry, protocol: ProtocolName, request: Request) -> int:
    return request.seeds or entry.workload.training_for(protocol).seeds


def _plan_record(request: Request, plan: Placement, stopping: Stopping) -> dict[str, Any]:
    return {
        "suite": request.suite,
        "both_protocols": request.both_protocols,
        "workloads": [entry.workload.name for entry in request.entries],
        "protocol": request.protocol,
        "seeds": request.seeds,
        "epochs": request.epochs,
        "rows": request.rows,
        "blocks": stopping.blocks,
        "stopping": stopping.to_json(),
        "scenarios": None if request.scenarios is None else list(request.scenarios),
        "cache": request.cache,
        "instances": request.instances,
        "p99_bound_s": request.p99_bound_s if "server" in (request.scenarios or ()) else None,
        "series_seconds": request.series_seconds,
        "seed": request.seed,
        "placement": plan.to_json(),
    }
