"""A run: survey, fit, measure in shuffled blocks of fresh processes, judge, and assemble the record."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

from harness import __version__, trust
from harness.content import user_cache
from harness.errors import ExitCode, InputError, LparbenchError
from harness.measure.clock import Clock, SystemClock
from harness.platform.facts import Facts, LoadedSoftware
from harness.platform.sysroot import SysRoot
from harness.record.model import SCHEMA_VERSION, Checks, Result, Roofline, Run, Tool, Verdict
from harness.record.spec import Protocol, RunSpec, Scenario
from harness.record.store import RECORD_NAME, check_writable
from harness.roofline.assemble import roofline, with_shares, with_workloads
from harness.roofline.measured import cache_to_exceed
from harness.runs.accuracy import other_protocol
from harness.runs.assemble import missing_backends, results_of, too_large
from harness.runs.design import (
    DESIGN_FILE,
    Design,
    design_to_resume,
    named_files,
    new_design,
    read_design,
    write_design,
)
from harness.runs.engine import Engine, Fit, Progress, key_of, now
from harness.runs.fingerprint import check_same_machine, fingerprint, state_digest
from harness.runs.forecast import forecast, has_time, no_survey, within_budget
from harness.runs.journal import JOURNAL_FILE, FitEntry, Journal, Measurement, SessionEntry, open_journal
from harness.runs.machine import Machine, observed
from harness.runs.precision import headline_estimates
from harness.runs.preflight import checked_by_worker
from harness.runs.schedule import Configuration, block_of
from harness.runs.stopping import Amount, Stopping
from harness.scenarios.cold import eviction_bytes
from harness.scoring.backends import BACKENDS
from harness.scratch import scratch
from harness.workers.executor import Executor
from harness.workers.outcomes import SurveyOutcome
from harness.workers.variants import FULL
from harness.workload.model import Workload

INFERENCE: tuple[Scenario, ...] = ("offline", "single_stream")
_ABANDONED_S = 60.0  # after which a run without a journal will not begin any more
UNFINISHED = ".unfinished"  # ending of the directory of a run that is under way


@dataclass(frozen=True)
class Session:
    """A run that is under way: a directory with its design and its journal."""

    directory: Path
    design: Design
    machine: Machine
    made: tuple[Path, ...] = ()  # directories above, that were not there before

    def done(self) -> None:
        """The record is kept, or there is nothing to keep: what led to it is not needed any more."""
        rmtree(self.directory, ignore_errors=True)
        _remove_empty(self.made)


def begin(
    spec: RunSpec,
    argv: tuple[str, ...],
    out: Path,
    *,
    sysroot: SysRoot | None = None,
    executor: Executor | None = None,
) -> Session:
    """Check what was asked for, look at the machine, and write the design below ``out``.

    Args:
        executor: has a worker look at classes and files of the user's first; None leaves that to the fits.

    Raises:
        InputError: a workload, a parameter, a class, a file or the placement cannot be.
        LparbenchError: nothing can be written to ``out``.
    """
    design = new_design(spec, argv, Facts(sysroot="/"))  # a typo is told before the machine is looked at
    made = tuple(folder for folder in (out, *out.parents) if not folder.exists())
    try:
        check_writable(out)
        if _clear_abandoned(out) and not any(out.iterdir()):
            made = made or (out,)  # by a run that was killed
        machine = observed(design.spec, sysroot or SysRoot())
        if executor is not None:
            checked_by_worker(design.workloads, design.spec, executor, machine.placement, own_only=True)
        design = replace(design, facts=machine.facts)
        directory = out / f"{design.identity}{UNFINISHED}"
        directory.mkdir()
        write_design(design, directory)
    except BaseException:
        _remove_empty(made)
        raise
    return Session(directory, design, machine, made)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something is in there
            folder.rmdir()


def _clear_abandoned(out: Path) -> bool:
    """Remove runs that were killed before anything was done that would be missed; whether there was one."""
    cleared = False
    for directory in out.glob(f"*{UNFINISHED}"):
        with suppress(LparbenchError, OSError):
            if time.time() - directory.stat().st_mtime < _ABANDONED_S and not (directory / JOURNAL_FILE).exists():
                continue  # it may be about to write one
            with open_journal(directory) as journal:  # unless somebody is at work there
                if not journal.of(FitEntry):
                    rmtree(directory, ignore_errors=True)
                    cleared = True
    return cleared


def resume(directory: Path, *, sysroot: SysRoot | None = None) -> Session:
    """An interrupted run, by the name of its directory with or without its ending.

    Raises:
        InputError: there is none, or it is finished.
        EnvironmentMismatchError: this is not the machine that it was begun on.
    """
    directory = _unfinished(directory)
    design = design_to_resume(directory)
    if design.grid is not None:
        kind, command = ("sizing", "size") if "-size-" in design.identity else ("sweep", "sweep")
        resume_by = f"Resume it by: lparbench {command} --resume {directory}"
        raise InputError(f"{directory}: this is a {kind}.", remedy=resume_by)
    machine = observed(design.spec, sysroot or SysRoot())
    check_same_machine(design.facts, machine.facts, "run")
    return Session(directory, design, machine)


def smt_to_resume(directory: Path) -> int | None:
    """The SMT level that an interrupted run was begun at; None where it took what there was.

    Raises:
        InputError: see :func:`resume`.
    """
    return read_design(_unfinished(directory)).spec.smt


def _unfinished(directory: Path) -> Path:
    """The directory of an interrupted run, by its name with or without its ending."""
    finished = directory.with_name(directory.name.removesuffix(UNFINISHED))
    unfinished = finished.with_name(finished.name + UNFINISHED)
    if (finished / RECORD_NAME).exists():
        rmtree(unfinished, ignore_errors=True)  # it was killed when its record was whole
        raise InputError(f"{finished}: this run is finished.", remedy=f"Look at it by: lparbench report {finished}")
    return unfinished if not (directory / DESIGN_FILE).exists() and (unfinished / DESIGN_FILE).exists() else directory


def execute(session: Session, executor: Executor, progress: Progress, clock: Clock | None = None) -> Run:
    """Do what the design says and the journal does not yet hold; ``clock`` says when a time budget is used up.

    A worker that dies takes only its own result with it. An interrupt leaves a directory that can be resumed, or
    nothing where nothing was done yet that would be missed.

    Raises:
        InputError: what a worker found wrong in the user's files.
    """
    with open_journal(session.directory) as journal:
        journal.note(SessionEntry(now()))
        try:
            return _execute(session, journal, executor, progress, clock or SystemClock())
        except BaseException:
            if not journal.of(FitEntry):
                session.done()
            raise


def run_once(spec: RunSpec, executor: Executor, progress: Progress, argv: tuple[str, ...] = ()) -> Run:
    """Do a run of which only the record is wanted; nothing is left on the disk.

    Raises:
        LparbenchError: see :func:`begin` and :func:`execute`.
    """
    with scratch("run") as directory:
        return execute(begin(spec, argv, directory), executor, progress)


def remember_own(record: Run, directory: Path) -> None:
    """A record that names code was written here: a baseline made of it need not be asked for."""
    if any(trust.names_code(result.detector) for result in record.results):
        trust.remember(directory / RECORD_NAME)
        trust.remember(*named_files(directory / RECORD_NAME, record.spec))


def exit_code(record: Run) -> ExitCode:
    """Failed when an accuracy floor was missed, inconclusive when a result is not valid."""
    accuracies = [result.accuracy for result in record.results if result.accuracy is not None]
    return ExitCode.judged(
        failed=any(accuracy.passed is False for accuracy in accuracies),
        inconclusive=any(result.validity.verdict is not Verdict.VALID for result in record.results),
    )


@contextmanager
def resumable(session: Session) -> Iterator[None]:
    """On the way out by an exception, say on standard error how the run is resumed."""
    try:
        yield
    except BaseException:
        if session.directory.exists():
            print(f"What was done is kept. Resume: lparbench run --resume {session.directory}", file=sys.stderr)
        raise


def _execute(session: Session, journal: Journal, executor: Executor, progress: Progress, clock: Clock) -> Run:
    design, machine = session.design, session.machine
    emulated = machine.facts.emulation.emulated is True
    # Under emulation one process of each tells whether the scores are right; times are refused.
    spec = (
        replace(design.spec, blocks=1, budget_s=None, half_width=None, instances=1, cache="hot")
        if emulated
        else design.spec
    )
    spec, left_out = within_budget(spec)
    workloads = {workload.name: workload for workload in design.workloads}
    engine = Engine(
        session.directory, spec, workloads, journal, executor, progress, slow=emulated, generator=machine.generator
    )
    stopping = Stopping(Amount.of(spec), clock, progress.say, spent_s=journal.spent_s())
    work = _Work(engine, machine, stopping)
    configurations = sum(len(_backends(workload, spec)) for workload in design.workloads)
    for text in (None if emulated else forecast(design.workloads, spec, stopping.blocks), left_out):
        if text is not None:
            progress.say(text)
    engine.say_what_is_not_counted(machine.facts.limits)
    progress.start(
        work.set_up_units() + configurations * stopping.blocks, "start" if no_survey(spec) else "survey of the machine"
    )
    survey = None if no_survey(spec) else work.survey()
    fits = work.fits()
    measured, measurements = work.measure(fits)
    results = results_of(spec, machine, fits, measured, measurements)
    roof = roofline(None if survey is None else survey.roof, machine.facts)
    macs = {name: None if fit.outcome is None else fit.outcome.macs_per_row for name, fit in fits.items()}
    return _record(
        design, machine, stopping, survey, with_shares(results, roof, macs), with_workloads(roof, results, macs)
    )


@dataclass(frozen=True)
class _Work:
    engine: Engine
    machine: Machine
    stopping: Stopping

    def survey(self) -> SurveyOutcome | None:
        placement = self.machine.placement
        if self.engine.spec.roofline == "none":
            return self.engine.survey(placement, roof=False)
        facts, cache = self.machine.facts, user_cache()
        known = None if cache is None else cache / "roofs" / f"{state_digest(facts, placement)}.json"
        if not facts.emulation.emulated and (known is None or not known.exists()):
            self.engine.progress.say(
                "The roofs of these CPUs are measured first, which takes up to a minute; later runs in this state of "
                "the machine use them again. --no-roofline leaves them out."
            )
        cache_bytes = cache_to_exceed(facts, placement.cpus)
        return self.engine.survey(placement, roof=True, cache_bytes=cache_bytes, kept=known)

    def fits(self) -> dict[str, Fit]:
        """Every workload fitted, with what its accuracy is compared with."""
        engine = self.engine
        fits = {name: self._fit(name, engine.spec.protocol) for name in engine.workloads}
        for fit in fits.values():
            for reason in (*missing_backends(engine.spec, fit), *too_large(fit)):
                engine.progress.say(reason)
        # Under emulation, minutes of scikit-learn for no figure of this machine; in a short budget there is no time.
        if self.machine.facts.emulation.emulated or not has_time(engine.spec):
            return fits
        return {name: self._compared(fit) for name, fit in fits.items()}

    def _compared(self, fit: Fit) -> Fit:
        """With the fit under the other protocol where asked for, and the baseline detectors; nothing here is timed."""
        engine, name = self.engine, fit.workload.name
        if fit.outcome is None or fit.workload.role != "system":
            return fit
        if engine.spec.both_protocols:
            fit = replace(fit, counterpart=self._fit(name, other_protocol(engine.spec.protocol)).result)
        return replace(fit, baselines=engine.baselines(name, self.machine.placement))

    def _fit(self, name: str, protocol: Protocol) -> Fit:
        natively = "native" in _backends(self.engine.workloads[name], self.engine.spec)
        return self.engine.fit(name, protocol, self.machine.placement, natively=natively)

    def measure(self, fits: Mapping[str, Fit]) -> tuple[tuple[Configuration, ...], list[Measurement]]:
        """One process per configuration and block, in the shuffled order, for as many blocks as it takes."""
        engine, facts, placement = self.engine, self.machine.facts, self.machine.placement
        configurations = tuple(each for fit in fits.values() for each in _configurations(fit, engine.spec))
        if facts.emulation.emulated:
            configurations = tuple(replace(each, scenarios=()) for each in configurations)
        evict_bytes = eviction_bytes(facts, placement.cpus) if engine.spec.cache == "cold" else None
        done = {measurement.slot: measurement for measurement in engine.journal.of(Measurement)}
        self.stopping.set_up(measured_s=sum(measurement.result.wall_s for measurement in done.values()))
        measurements: list[Measurement] = []
        block = 0
        while configurations:
            for slot in block_of(configurations, block=block, seed=engine.spec.seed):
                configuration = configurations[slot.configuration]
                of_blocks = f"block {block + 1}" + (f" of {self.stopping.blocks}" if self.stopping.known else "")
                engine.progress.advance(f"{of_blocks}: {configuration.workload}")
                measurement = done.get(slot.name)
                if measurement is None:
                    measurement = engine.measure(slot, configuration, placement, evict_bytes=evict_bytes)
                measurements.append(measurement)
            block += 1
            another = self.stopping.another(block, headline_estimates(configurations, measurements))
            if block == 1 and another and (left := self.stopping.left()):
                engine.progress.say(left)
            engine.progress.expect(self.set_up_units() + len(configurations) * self.stopping.blocks)
            if not another:
                break
        return configurations, measurements

    def set_up_units(self) -> int:
        """Jobs before the first block: survey, fits, and what their accuracy is compared with."""
        engine = self.engine
        systems = [name for name, workload in engine.workloads.items() if workload.role == "system"]
        baselines = {key_of(engine.baseline_job(name, self.machine.placement)) for name in systems}
        compared = len(baselines) + (len(systems) if engine.spec.both_protocols else 0)
        bare = self.machine.facts.emulation.emulated or not has_time(engine.spec)
        return 1 + len(engine.workloads) + (0 if bare else compared)


def _configurations(fit: Fit, spec: RunSpec) -> Iterator[Configuration]:
    """What is measured of a workload: each backend and number format that can run it."""
    outcome, inference = fit.outcome, fit.workload.inference
    for backend in _backends(fit.workload, spec):
        if outcome is None or backend not in outcome.backends:
            continue
        for dtype in spec.dtypes or inference.dtypes:
            lower = dtype != FULL
            if dtype not in BACKENDS[backend] or (lower and not outcome.macs_per_row):
                continue
            wanted = spec.scenarios or (*INFERENCE, "train")
            trains = backend in outcome.trains_on and not lower
            scenarios = tuple(name for name in wanted if name != "train" or trains)
            if scenarios:
                yield Configuration(
                    workload=fit.workload.name,
                    backend=backend,
                    dtype=dtype,
                    scenarios=scenarios,
                    batch_sizes=tuple(size for size in inference.batch_sizes if size > 1),
                    cores=spec.cores,
                    threads_per_core=spec.threads_per_core,
                    instances=spec.instances,
                    node=spec.node,
                )


def _backends(workload: Workload, spec: RunSpec) -> tuple[str, ...]:
    return spec.backends or workload.inference.backends


def _record(
    design: Design,
    machine: Machine,
    stopping: Stopping,
    survey: SurveyOutcome | None,
    results: tuple[Result, ...],
    roof: Roofline | None,
) -> Run:
    report = machine.report
    software = LoadedSoftware(**vars(machine.facts.software)) if survey is None else survey.software
    return Run(
        schema_version=SCHEMA_VERSION,
        run_id=design.identity,
        created=design.created,
        tool=Tool("lparbench", __version__, design.argv, None if survey is None else survey.overhead),
        facts=machine.facts,
        fingerprint=fingerprint(machine.facts, software),
        findings=report.findings,
        software=software,
        spec=design.spec,
        placement=machine.placement,
        stopping=stopping.record(),
        results=results,
        checks=Checks(report.checked, report.not_checked, report.not_applicable),
        roofline=roof,
    )
