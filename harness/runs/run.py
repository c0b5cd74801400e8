"""A run: survey, fit, measure in shuffled blocks of fresh processes, judge, and assemble the record."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

from harness import __version__, trust
from harness.errors import ExitCode, InputError, LparbenchError
from harness.measure.clock import Clock, SystemClock
from harness.platform.facts import Facts, LoadedSoftware
from harness.platform.sysroot import SysRoot
from harness.record.files import DISK_FULL
from harness.record.identity import now
from harness.record.journal import JOURNAL_FILE, UNFINISHED
from harness.record.model import SCHEMA_VERSION, Checks, Result, Roofline, Run, Tool, Verdict
from harness.record.spec import RunSpec
from harness.record.store import BUNDLES, RECORD_NAME, check_writable
from harness.roofline.assemble import roofline, with_shares, with_workloads
from harness.runs.assemble import results_of
from harness.runs.design import (
    DESIGN_FILE,
    Design,
    design_to_resume,
    named_files,
    new_design,
    read_design,
    write_design,
)
from harness.runs.engine import BUNDLE, FITS, LEFTOVERS, Engine, Progress
from harness.runs.fingerprint import check_same_machine, fingerprint
from harness.runs.forecast import closing_s, forecast, no_survey, within_budget
from harness.runs.journal import FitEntry, Journal, SessionEntry, open_journal
from harness.runs.machine import Machine, any_core, observed
from harness.runs.preflight import check_group, check_save, checked_by_worker, drawn_rows
from harness.runs.stopping import Amount, Stopping, duration
from harness.runs.work import Work, backends_of
from harness.scratch import clear_left, scratch
from harness.training.rank_setting import RankGroup
from harness.workers.executor import Executor
from harness.workers.outcomes import SurveyOutcome
from harness.workers.row_scores import SCORES_FILE

_ABANDONED_S = 60.0  # after which a run without a journal will not begin any more
_KEPT = (DESIGN_FILE, JOURNAL_FILE, *LEFTOVERS)  # in that directory


@dataclass(frozen=True)
class Session:
    """A run that is under way: a directory with its design and its journal."""

    directory: Path
    design: Design
    machine: Machine
    made: tuple[Path, ...] = ()  # directories above, that were not there before
    spent_s: float = 0.0  # before it was begun, which a budget of the whole has to count

    def done(self) -> None:
        """The record is kept, or there is nothing to keep: what led to it is not needed any more."""
        _discard(self.directory)
        _remove_empty(self.made)


def begin(
    spec: RunSpec,
    argv: tuple[str, ...],
    out: Path,
    *,
    sysroot: SysRoot | None = None,
    executor: Executor | None = None,
    spent_s: float = 0.0,
    group: RankGroup | None = None,
) -> Session:
    """Check what was asked for, look at the machine, and write the design below ``out``.

    Args:
        spent_s: time that the command took before.
        executor: has a worker look at classes and files of the user's first; None leaves that to the fits.
        group: of ranks that train together, of which this run starts some.

    Raises:
        InputError: a workload, a parameter, a class, a file or the placement cannot be.
        LparbenchError: nothing can be written to ``out``.
    """
    started = time.monotonic() - spent_s
    if group is not None:
        check_group(spec)
    design = new_design(spec, argv, Facts(sysroot="/"))  # a typo is told before the machine is looked at
    folders = [out] if spec.save is None else [out, Path(spec.save)]
    made = tuple(each for folder in folders for each in (folder, *folder.parents) if not each.exists())
    try:
        check_writable(out)
        check_save(design.workloads, design.spec)
        if _clear_abandoned(out) and not any(out.iterdir()):
            made = made or (out,)  # by a run that was killed
        root = sysroot or SysRoot()
        if executor is not None:
            checked_by_worker(design.workloads, design.spec, executor, any_core(root), own_only=True)
        machine = observed(design.spec, root, group)
        design = replace(design, facts=machine.facts)
        directory = out / f"{design.identity}{UNFINISHED}"
        directory.mkdir()
        write_design(design, directory)
    except BaseException:
        _remove_empty(made)
        raise
    return Session(directory, design, machine, made, time.monotonic() - started)


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
            if not (directory / DESIGN_FILE).exists():  # killed before it was written, or somebody else's
                directory.rmdir()
                cleared = True
                continue
            with open_journal(directory) as journal:  # unless somebody is at work there
                if not journal.of(FitEntry):
                    _discard(directory)
                    cleared = True
    return cleared


def _discard(directory: Path) -> None:
    """Remove what a run keeps in its directory, and the directory where nobody has put anything else into it."""
    clear_left(directory)
    for name in _KEPT:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    _remove_empty([directory])


def resume(directory: Path, *, sysroot: SysRoot | None = None, spent_s: float = 0.0) -> Session:
    """An interrupted run, by the name of its directory with or without its ending.

    Args:
        directory: of the run.
        sysroot: the machine.
        spent_s: time that the command took before.

    Raises:
        InputError: there is none, or it is finished.
        EnvironmentMismatchError: this is not the machine that it was begun on.
    """
    started = time.monotonic() - spent_s
    directory = _unfinished(directory)
    design = design_to_resume(directory)
    if design.grid is not None:
        kind, command = ("sizing", "size") if "-size-" in design.identity else ("sweep", "sweep")
        resume_by = f"Resume it by: lparbench {command} --resume {directory}"
        raise InputError(f"{directory}: this is a {kind}.", remedy=resume_by)
    machine = observed(design.spec, sysroot or SysRoot())
    check_same_machine(design.facts, machine.facts, "run")
    return Session(directory, design, machine, spent_s=time.monotonic() - started)


def smt_to_resume(directory: Path) -> int | None:
    """The SMT level that an interrupted run was begun at; None where it took what there was.

    Raises:
        InputError: see :func:`resume`.
    """
    return read_design(_unfinished(directory)).spec.smt


def _unfinished(directory: Path) -> Path:
    """The directory of an interrupted run, by its name with or without its ending."""
    directory = directory if directory.name not in ("", "..") else directory.resolve()  # "." has no name
    if not directory.name:
        return directory
    finished = directory.with_name(directory.name.removesuffix(UNFINISHED) or directory.name)
    unfinished = finished.with_name(finished.name + UNFINISHED)
    if (finished / RECORD_NAME).exists():
        _discard(unfinished)  # it was killed when its record was whole
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


def run_once(
    spec: RunSpec,
    executor: Executor,
    progress: Progress,
    argv: tuple[str, ...] = (),
    *,
    check: bool = False,
    group: RankGroup | None = None,
) -> Run:
    """Do a run of which only the record is wanted; nothing is left on the disk.

    Args:
        spec: what is asked for.
        executor: does its jobs.
        progress: hears of it.
        argv: the command that reproduces it.
        check: whether a worker looks at classes and files of the user's first.
        group: of ranks that train together, of which this run starts some.

    Raises:
        LparbenchError: see :func:`begin` and :func:`execute`.
    """
    with scratch("run") as directory:
        session = begin(spec, argv, directory, executor=executor if check else None, group=group)
        with _kept_on_full_disk(session, directory.parent):
            return execute(session, executor, progress)


@contextmanager
def _kept_on_full_disk(session: Session, folder: Path) -> Iterator[None]:
    """Where a disk fills, what was measured moves to ``folder`` and outlives its scratch directory."""
    try:
        yield
    except (LparbenchError, OSError) as error:
        full = error.errno in DISK_FULL if isinstance(error, OSError) else error.exit_code is ExitCode.TOOL_FAILED
        if not full or not session.directory.exists():
            raise
        kept = session.directory.rename(folder / session.directory.name)
        cause = error.message if isinstance(error, LparbenchError) else f"{error.filename or kept}: {error.strerror}."
        raise LparbenchError(
            cause,
            remedy=f"Make room. What was measured is kept: `lparbench run --resume {kept}` completes its record, which"
            " `gate` takes as --candidate.",
        ) from error


def kept_files(session: Session) -> dict[str, bytes]:
    """What was asked for of each fit, by its name in the run directory: scores of every test row, the model bundle."""
    spec, files = session.design.spec, {}
    for workload in session.design.workloads:
        fit = session.directory / FITS / f"{workload.name}-{spec.protocol}"
        if spec.scores and (fit / SCORES_FILE).exists():  # its training may have failed
            files[f"scores-{workload.name}.csv"] = (fit / SCORES_FILE).read_bytes()
        for path in sorted((fit / BUNDLE).rglob("*")) if spec.bundles else ():
            if path.is_file():
                files[f"{BUNDLES}/{workload.name}/{path.relative_to(fit / BUNDLE)}"] = path.read_bytes()
    return files


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
def resumable(session: Session, options: str = "") -> Iterator[None]:
    """On the way out by an exception, say on standard error how the run is resumed, with which options."""
    try:
        yield
    except BaseException:
        if session.directory.exists():
            print(
                f"What was done is kept. Resume: lparbench run --resume {session.directory}{options}", file=sys.stderr
            )
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
    passes = any(workload.training_for(spec.protocol).epochs for workload in design.workloads)
    spec, left_out = within_budget(spec, passes=passes)
    workloads = {workload.name: workload for workload in design.workloads}
    engine = Engine(
        session.directory,
        spec,
        workloads,
        journal,
        executor,
        progress,
        slow=emulated,
        generator=machine.generator,
        ranks=machine.ranks,
        group=machine.group,
    )
    spent_s = session.spent_s + journal.spent_s()
    stopping = Stopping(Amount.of(spec), clock, progress.say, spent_s=spent_s, closing_s=closing_s(session.spent_s))
    work = Work(engine, machine, stopping)
    configurations = sum(len(backends_of(workload, spec)) for workload in design.workloads)
    rows = drawn_rows(design.workloads, spec)
    ahead = None if emulated else forecast(design.workloads, spec, stopping.blocks, rows, session.spent_s)
    for text in (ahead, left_out, _used_up(spec, journal.spent_s())):
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


def _used_up(spec: RunSpec, spent_s: float) -> str | None:
    """What is said of a run whose earlier sessions used its budget up."""
    if spec.budget_s is None or spent_s < spec.budget_s:
        return None
    return (
        f"The budget of {duration(spec.budget_s)} is used up: the record is made of what was measured. For more, begin"
        " a new run with a longer --budget."
    )


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
