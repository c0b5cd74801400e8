"""The main job: survey, fit, measure in shuffled blocks of fresh processes, judge, and assemble the record."""

from __future__ import annotations

import datetime
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from harness import __version__
from harness.placement.plan import Plan
from harness.record.model import SCHEMA_VERSION, Run
from harness.runs.assemble import Fitted, Measured, results_of
from harness.runs.executor import Executor
from harness.runs.fingerprint import fingerprint
from harness.runs.jobs import FitJob, MeasureJob, SurveyJob
from harness.runs.request import Entry, Request, Surroundings
from harness.runs.schedule import Configuration, Slot, schedule

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


def execute(request: Request, around: Surroundings, executor: Executor, progress: Progress) -> Run:
    """Do the run.

    A worker that dies takes only its own result with it. An interrupt ends the run with nothing left behind.

    Raises:
        InputError: what a worker found wrong in the user's files.
    """
    if around.facts.emulation.emulated:
        request = replace(
            request, blocks=1
        )  # one process of each tells whether the scores are right; times are refused
    configurations = sum(len(_backends(entry, request)) for entry in request.entries)
    progress.start(1 + len(request.entries) + configurations * request.blocks, "survey of the timing loop")
    with tempfile.TemporaryDirectory(prefix="lparbench-") as scratch:
        job = _Job(request, around, executor, progress, Path(scratch))
        survey = job.survey()
        fitted = {entry.workload.name: job.fit(entry) for entry in request.entries}
        measured = job.measure(fitted)
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
            plan=_plan_record(request, around.plan),
            checks=around.checks,
            results=results_of(request, around, fitted, measured),
        )


@dataclass(frozen=True)
class _Job:
    request: Request
    around: Surroundings
    executor: Executor
    progress: Progress
    scratch: Path

    def survey(self) -> Mapping[str, Any]:
        plan = self.around.plan
        job = SurveyJob(threads=plan.threads, cpus=tuple(plan.cpus), directory=str(self.scratch / "survey"))
        outcome = self.executor.run(job, plan, timeout_s=self._patience(_SURVEY_TIMEOUT_S))
        return outcome.payload or {}

    def fit(self, entry: Entry) -> Fitted:
        """Fit every seed; the first seed's artifacts are what is measured."""
        name = entry.workload.name
        seeds = tuple(range(_seeds(entry, self.request)))
        self.progress.advance(f"{name}: training {len(seeds)} seed{'s' if len(seeds) > 1 else ''}")
        job = FitJob(
            workload=entry.reference,
            protocol=self.request.protocol,
            data_dir=None if self.request.data_dir is None else str(self.request.data_dir),
            seeds=seeds,
            trainer="native" if "native" in _backends(entry, self.request) else "torch",
            epochs=self.request.epochs,
            rows=self.request.rows,
            threads=self.around.plan.threads,
            directory=str(self.scratch / f"fit-{name}"),
        )
        outcome = self.executor.run(job, self.around.plan, timeout_s=self._patience(_FIT_TIMEOUT_S))
        return Fitted(entry.workload, job, outcome)

    def measure(self, fitted: Mapping[str, Fitted]) -> list[Measured]:
        """One process per configuration and block, in the shuffled order."""
        configurations = []
        for entry in self.request.entries:
            fit = fitted[entry.workload.name]
            configurations += list(_configurations(entry, self.request, fit))
        if self.around.facts.emulation.emulated:
            configurations = [replace(one, scenarios=()) for one in configurations]
        slots = schedule(configurations, blocks=self.request.blocks, seed=self.request.seed)
        return [self._measure_slot(slot, fitted[slot.configuration.workload]) for slot in slots]

    def _measure_slot(self, slot: Slot, fit: Fitted) -> Measured:
        configuration = slot.configuration
        self.progress.advance(f"block {slot.block + 1} of {self.request.blocks}: {configuration.workload}")
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
        )
        timeout = _MEASURE_TIMEOUT_S + 8 * self.request.series_seconds * (len(batch_sizes) + 2)
        return Measured(slot, job, self.executor.run(job, self.around.plan, timeout_s=self._patience(timeout)))

    def _patience(self, seconds: float) -> float:
        return seconds * (_EMULATED_SLOWDOWN if self.around.facts.emulation.emulated else 1.0)


def _configurations(entry: Entry, request: Request, fit: Fitted) -> Iterator[Configuration]:
    for backend in _backends(entry, request):
        if fit.directory is None or backend not in fit.backends:
            continue
        for dtype in entry.workload.inference.dtypes:
            scenarios = (*INFERENCE, "train") if backend in fit.trains_on else INFERENCE
            yield Configuration(entry.workload.name, backend, dtype, scenarios)


def _backends(entry: Entry, request: Request) -> tuple[str, ...]:
    return request.backends or entry.workload.inference.backends


def _seeds(entry: Entry, request: Request) -> int:
    return request.seeds or entry.workload.training_for(request.protocol).seeds


def _plan_record(request: Request, plan: Plan) -> dict[str, Any]:
    return {
        "suite": request.suite,
        "workloads": [entry.workload.name for entry in request.entries],
        "protocol": request.protocol,
        "seeds": request.seeds,
        "epochs": request.epochs,
        "rows": request.rows,
        "blocks": request.blocks,
        "series_seconds": request.series_seconds,
        "seed": request.seed,
        "placement": plan.to_json(),
    }
