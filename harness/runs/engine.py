"""The measuring engine of runs and sweeps: surveys, fits, measures, and notes each in the journal before the next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol as Interface

from harness.placement.model import Placement
from harness.placement.verify import changed_cpus, cpus_online, mismatches
from harness.platform.facts import LimitFacts
from harness.platform.parse import format_cpulist
from harness.platform.perf import not_permitted
from harness.platform.sysroot import SysRoot
from harness.record.identity import now
from harness.record.spec import CAPACITY, Protocol, RunSpec, TrainingDtype
from harness.runs.journal import BaselineEntry, FitEntry, Journal, Measurement, SurveyEntry
from harness.runs.schedule import Configuration, Slot
from harness.scenarios.capacity import PATIENCE_S
from harness.scoring.artifacts import disagreement
from harness.training.rank_setting import RankGroup
from harness.trust import names_code
from harness.wording import percentage, plural
from harness.workers.baseline_detectors import baseline_job
from harness.workers.executor import Executor
from harness.workers.jobs import (
    BaselineJob,
    ConcurrentJob,
    FitJob,
    HttpSetting,
    Job,
    MeasureJob,
    SurveyJob,
    divided,
    ranked,
)
from harness.workers.outcomes import (
    FitOutcome,
    InstanceOutcome,
    JobResult,
    MeasureOutcome,
    SurveyOutcome,
    WorkerOutcome,
    WorkerReport,
)
from harness.workload.model import Workload

_SURVEY_TIMEOUT_S = 120.0
_FIT_TIMEOUT_S = 6 * 3600.0
BUNDLE = "bundle"  # in the directory of a fit
LEFTOVERS = FITS, _SCRATCH = ("fits", "scratch")  # folders that workers fill
_MEASURE_TIMEOUT_S = 300.0  # beyond the time its series are given
_EMULATED_SLOWDOWN = 50.0


class Progress(Interface):
    """Hears what the engine does; see ``harness.reporting.progress``."""

    def start(self, total: int, text: str) -> None:
        """``total`` units of work lie ahead; ``text`` names the first."""

    def advance(self, text: str) -> None:
        """One unit is done; ``text`` names the next."""

    def expect(self, total: int) -> None:
        """It turned out that there are ``total`` units in all."""

    def say(self, text: str) -> None:
        """Something that the user should know now."""


@dataclass(frozen=True)
class Fit:
    """A workload fitted with every seed; the first seed's artifacts are what is measured.

    Attributes:
        seeds: that it was fitted with.
        directory: of the artifacts.
        baselines: of the same data; None where none were asked for.
        counterpart: the fit under the other protocol; None where none was asked for.
    """

    workload: Workload
    protocol: Protocol
    seeds: int
    directory: Path
    result: JobResult
    baselines: JobResult | None = None
    counterpart: JobResult | None = None

    @property
    def outcome(self) -> FitOutcome | None:
        """What the fit gave; None when it failed."""
        return self.result.outcome(FitOutcome)


@dataclass(frozen=True)
class Engine:
    """Does pieces of work in worker processes, each once: what the journal holds is not done again.

    Attributes:
        directory: receives artifacts of fits and what workers leave.
        workloads: by name.
        slow: processes take many times as long, as under emulation.
        generator: where load over HTTP comes from; None where there is none, or each measurement has its own.
        ranks: where each rank of a training goes that is started here; none where one process trains.
        group: that they are a part of; None where they are all.
        sysroot: the machine, whose CPUs are to be the same before and after each slot.
    """

    directory: Path
    spec: RunSpec
    workloads: Mapping[str, Workload]
    journal: Journal
    executor: Executor
    progress: Progress
    slow: bool = False
    generator: Placement | None = None
    ranks: tuple[Placement, ...] = ()
    group: RankGroup | None = None
    sysroot: SysRoot = field(default_factory=SysRoot)

    def survey(
        self, placement: Placement, *, roof: bool, cache_bytes: int | None = None, kept: Path | None = None
    ) -> SurveyOutcome | None:
        """Overhead, software, and the measured roof if asked for; None when the survey failed.

        Args:
            placement: of the worker, and of the runs whose roof it is.
            roof: whether to measure it.
            cache_bytes: of the last level, to measure memory and kernels as well.
            kept: file that keeps the roof for later runs in this state of the machine.
        """
        done = self.journal.of(SurveyEntry)
        if done:
            return done[0].result.outcome(SurveyOutcome)
        directory = str(self._scratch("survey"))
        job = SurveyJob(
            threads=placement.threads,
            cpus=placement.cpus,
            directory=directory,
            roof=roof,
            cache_bytes=cache_bytes,
            kept=None if kept is None else str(kept),
            fresh=self.spec.roofline == "measured",
        )
        result = self._run(job, placement, _SURVEY_TIMEOUT_S)
        self.journal.note(SurveyEntry(result))
        return result.outcome(SurveyOutcome)

    def fitted(self, workload: str, protocol: Protocol, dtype: TrainingDtype = "float32") -> JobResult | None:
        """What the journal holds of a fit."""
        fits, key = self.journal.of(FitEntry), (workload, protocol, dtype)
        return next((each.result for each in fits if (each.workload, each.protocol, each.dtype) == key), None)

    def fit(
        self, name: str, protocol: Protocol, placement: Placement, *,
        backends: Collection[str], dtype: TrainingDtype = "float32",
    ) -> Fit:  # fmt: skip
        """Fit a workload with every seed for ``backends``: on the native trainer where that is one and can be."""
        workload, spec = self.workloads[name], self.spec
        seeds = spec.seeds or workload.training_for(protocol).seeds
        full, own = dtype == "float32", protocol == spec.protocol
        directory = self.directory / FITS / (f"{name}-{protocol}" if full else f"{name}-{protocol}-{dtype}")
        result = self.fitted(name, protocol, dtype)
        if result is None:
            trained = f"training {plural(seeds, 'seed')}{'' if full else f' in {dtype}'}"
            self.progress.advance(f"{name}: {trained if spec.bundle is None else f'opening {spec.bundle}'}")
            shutil.rmtree(directory, ignore_errors=True)  # of a fit that was killed
            job = FitJob(
                workload=workload, protocol=protocol, data_dir=spec.data_dir, synthetic=spec.stand_ins,
                seeds=tuple(range(seeds)),
                trainer="native" if "native" in backends and not self.ranks else "torch",
                epochs=spec.epochs, rows=spec.rows, threads=placement.threads, directory=str(directory),
                learning_rates=spec.learning_rates if own else (),
                dtype=dtype,
                save=self._bundle(name, directory) if own else None,
                scores=spec.scores and own,
                bundle=spec.bundle,
                compiles="compile" in backends,
            )  # fmt: skip
            result = self._trained(job, placement)
            if not own or not full:
                shutil.rmtree(directory, ignore_errors=True)  # it is not measured
            self.journal.note(FitEntry(name, protocol, result, dtype))
        return Fit(workload, protocol, seeds, directory, result)

    def _trained(self, job: FitJob, placement: Placement) -> JobResult:
        """The fit, by one process or by ranks; of ranks, with where each was."""
        if not self.ranks:
            return self._run(job, placement, _FIT_TIMEOUT_S)
        result = self._run(ranked(job, self.ranks, self.group, self.spec.reduce), placement, _FIT_TIMEOUT_S)
        if not result.reports or not isinstance(outcome := result.reports[0].outcome, FitOutcome):
            return result  # failed, or without the first rank
        where = "; ".join(_cpus_and_node(each) for each in self.ranks)
        share = outcome.reduce_seconds / outcome.train_seconds
        here = f"{len(self.ranks)} here: " if len(self.ranks) < outcome.ranks else ""
        remarks = [
            f"Trained by {plural(outcome.ranks, 'rank')} ({here}CPUs {where}), {percentage(share)} of the time "
            "combining gradients."
        ]
        for rank, (part, report) in enumerate(zip(self.ranks, result.reports, strict=True)):
            if report.observation is not None:
                remarks += [f"Rank {rank}: {text}" for text in mismatches(part, report.observation)]
        return result.with_outcome(replace(outcome, remarks=(*outcome.remarks, *remarks)))

    def _bundle(self, name: str, directory: Path) -> str | None:
        """Where the model bundle of a workload goes; None where nobody needs one."""
        if self.spec.save is not None:
            return str(Path(self.spec.save) / name)
        kept = self.spec.bundles and not names_code(self.workloads[name].detector)
        return str(directory / BUNDLE) if kept or "http" in (self.spec.scenarios or ()) else None

    def _http_setting(
        self, workload: str, fit_directory: Path, placement: Placement, generator: Placement | None
    ) -> HttpSetting:
        bundle = self._bundle(workload, fit_directory)
        assert bundle is not None
        assert generator is not None
        return HttpSetting(bundle, placement, generator)

    def baselines(self, name: str, placement: Placement) -> JobResult:
        """The baseline detectors of a workload: those of an earlier one on the same data, or new ones."""
        job = self.baseline_job(name, placement)
        key = key_of(job)
        for entry in self.journal.of(BaselineEntry):
            if entry.key == key:
                return entry.result
        self.progress.advance(f"{job.dataset}: baseline detectors")
        done = len(self.journal.of(BaselineEntry))
        job = replace(job, directory=str(self._scratch(f"baselines-{done}")))
        result = self._run(job, placement, _FIT_TIMEOUT_S)
        self.journal.note(BaselineEntry(key, result))
        return result

    def baseline_job(self, name: str, placement: Placement) -> BaselineJob:
        """The job of a workload's baseline detectors, without a directory."""
        spec = self.spec
        workload = self.workloads[name]
        seeds = spec.seeds or workload.training_for(spec.protocol).seeds
        job = baseline_job(workload, spec.protocol, spec.data_dir, spec.rows, placement.threads, seeds)
        return replace(job, synthetic=spec.stand_ins)

    def measure(
        self,
        slot: Slot,
        configuration: Configuration,
        placement: Placement,
        *,
        evict_bytes: int | None = None,
        generator: Placement | None = None,
    ) -> Measurement:
        """Measure one slot in fresh processes at ``placement``, loaded over HTTP from ``generator``."""
        directory = self._scratch(slot.name)
        fit_directory = self.directory / FITS / f"{configuration.workload}-{self.spec.protocol}"
        job = MeasureJob(
            artifact=str(fit_directory),
            backend=configuration.backend,
            dtype=configuration.dtype,
            scenarios=slot.scenarios,
            batch_sizes=configuration.batch_sizes,
            series_seconds=self.spec.series_seconds,
            cpus=placement.cpus,
            threads=placement.threads,
            seed=slot.seed,
            directory=str(directory),
            p99_bound_s=self.spec.p99_bound_s,
            arrivals=self.spec.arrivals,
            evict_bytes=evict_bytes,
            counters=self.spec.counters,
            http=None
            if "http" not in slot.scenarios
            else self._http_setting(configuration.workload, fit_directory, placement, generator or self.generator),
        )
        whole = divided(job, placement, configuration.instances)
        timeout_s = _MEASURE_TIMEOUT_S + 8 * self.spec.series_seconds * (len(job.batch_sizes) + 2)
        timeout_s += 2 * PATIENCE_S * len({*slot.scenarios} & {*CAPACITY})
        online = cpus_online(self.sysroot)
        result = self._run(whole, placement, timeout_s)
        changed = changed_cpus(online, cpus_online(self.sysroot))
        placements = whole.placements if isinstance(whole, ConcurrentJob) else (placement,)
        if result.failure is None and slot.scenarios and any(_unfit(report.outcome) for report in result.reports):
            failure = f"the data set has fewer rows than a batch of {configuration.batch_sizes[-1]}"
            result = replace(result, reports=(), failure=failure)
        measurement = measured(
            slot,
            placements,
            result,
            mismatches=(
                *changed,
                *(
                    text
                    for part, report in zip(placements, result.reports)  # noqa: B905 - there are none when it failed
                    if report.observation is not None
                    for text in mismatches(part, report.observation)
                ),
            ),
            clock=next((text for report in result.reports if (text := _of_clocks(report)) is not None), None),
            disagreement=None if result.failure else _disagreement(fit_directory, whole, configuration.dtype),
        )
        self.journal.note(measurement)
        shutil.rmtree(directory, ignore_errors=True)
        return measurement

    def give_up(self, slot: Slot, reason: str) -> Measurement:
        """Note why a slot cannot be measured."""
        measurement = measured(slot, (), JobResult((), reason, None, 0.0))
        self.journal.note(measurement)
        return measurement

    def say_what_is_not_counted(self, limits: LimitFacts) -> None:
        """Where counters are asked for and the kernel does not permit them: what would."""
        reason = not_permitted(self.sysroot, limits.container) if self.spec.counters else None
        if reason is not None:
            self.progress.say(f"Counters of the processor are left out. {reason}")

    def clean_up(self) -> None:
        """Remove what workers left; what it was for is in the journal."""
        for leftover in LEFTOVERS:
            shutil.rmtree(self.directory / leftover, ignore_errors=True)

    def _run(self, job: Job, placement: Placement, timeout_s: float) -> JobResult:
        return self.executor.run(job, placement, timeout_s=timeout_s * (_EMULATED_SLOWDOWN if self.slow else 1.0))

    def _scratch(self, name: str) -> Path:
        """A new directory for workers: a report or a signal left by those of a killed session must not be taken."""
        directory = self.directory / _SCRATCH / name
        shutil.rmtree(directory, ignore_errors=True)
        return directory


def _cpus_and_node(placement: Placement) -> str:
    cpus = format_cpulist(placement.cpus)
    return cpus if placement.node is None else f"{cpus} of node {placement.node}"


def measured(
    slot: Slot,
    placements: Sequence[Placement],
    result: JobResult,
    *,
    mismatches: Sequence[str] = (),
    disagreement: str | None = None,
    clock: str | None = None,
) -> Measurement:
    """What came of a slot."""
    return Measurement(
        slot=slot.name,
        at=now(),
        block=slot.block,
        order=slot.order,
        configuration=slot.configuration,
        scenarios=slot.scenarios,
        seed=slot.seed,
        placements=tuple(placements),
        result=result,
        mismatches=tuple(dict.fromkeys(mismatches)),
        disagreement=disagreement,
        clock=clock,
    )


def key_of(job: BaselineJob) -> str:
    """Equal for jobs with the same outcome."""
    options = sorted(job.options.items())
    return json.dumps([job.dataset, job.protocol, options, job.threshold, job.contamination, job.data_dir, job.splits])


def unable(fit: JobResult | None, configuration: Configuration) -> str | None:
    """Why a workload with this fit cannot be measured on a configuration's backend; None where it can."""
    outcome = None if fit is None else fit.outcome(FitOutcome)
    if outcome is None:
        return f"its training failed: {fit.failure if fit else 'it was not run'}"
    if configuration.backend not in outcome.backends:
        able = ", ".join(outcome.backends)
        return f"{configuration.workload} cannot run on backend {configuration.backend}; it runs on: {able}"
    return None


def _of_clocks(report: WorkerReport) -> str | None:
    return None if report.clocks is None else report.clocks.disagreement


def _unfit(outcome: WorkerOutcome) -> bool:
    """Whether a process that was to score batches had not even rows for one."""
    if isinstance(outcome, InstanceOutcome):
        return not outcome.traces and outcome.served is None
    return isinstance(outcome, MeasureOutcome) and outcome.series == {"offline": ()}


def _disagreement(fit_directory: Path, job: MeasureJob | ConcurrentJob, dtype: str) -> str | None:
    """How scores differ from the detector's own, in the first process in which they do."""
    directories = [each.directory for each in job.instances] if isinstance(job, ConcurrentJob) else [job.directory]
    differences = (disagreement(fit_directory, Path(directory), dtype) for directory in directories)
    return next((difference for difference in differences if difference is not None), None)
