"""A sweep from its levels to its record: begun, continued after an interruption, and judged."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from harness.detectors.registry import possible_backends
from harness.errors import ExitCode, InputError, LparbenchError
from harness.placement.smt import SmtMethod, may_switch
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.model import Verdict
from harness.record.spec import RunSpec, Scenario
from harness.record.store import SWEEP_NAME, check_writable
from harness.record.sweep_model import Sweep
from harness.runs.design import Design, Grid, design_to_resume, new_design, read_design, write_design
from harness.runs.engine import Progress
from harness.runs.forecast import closing_s, no_survey, sweep_too_small, sweep_within_budget
from harness.runs.journal import Journal, Measurement, open_journal, read_journal
from harness.runs.machine import any_core
from harness.runs.preflight import fewest_test_rows, most_test_rows
from harness.runs.schedule import Configuration
from harness.runs.stopping import duration
from harness.sweeps.result import sweep_record
from harness.sweeps.run import run_sweep
from harness.sweeps.settings import Bounds, Factors, Location, bounds_of, configurations_of, default_factors
from harness.wording import plural
from harness.workers.executor import Executor
from harness.workload.model import Workload


@dataclass(frozen=True)
class Levels:
    """Levels of factors as the user gives them; None for the default ones."""

    smt: tuple[int, ...] | None = None
    threads_per_core: tuple[int, ...] | None = None
    cores: tuple[int, ...] | None = None
    locations: tuple[Location, ...] | None = None
    batch_sizes: tuple[int, ...] | None = None
    backends: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    instances: tuple[int, ...] | None = None


def begin(
    spec: RunSpec, levels: Levels, margin: float, argv: tuple[str, ...], out: Path, executor: Executor | None = None
) -> Path:
    """Write the design of a new sweep below ``out``, and give its directory.

    On an emulated machine everything is done but timed.

    Args:
        executor: has a worker look at classes and data first; None leaves that to the fits.

    Raises:
        InputError: a workload is not known, a class or a file is not usable, a batch is larger than the test rows, or
            the machine cannot run any of the configurations.
    """
    spec, _ = sweep_within_budget(spec, max(levels.batch_sizes or (0,)))
    design = new_design(spec, argv, Facts(sysroot="/"), Grid((), SmtMethod.AFFINITY, margin, {}))
    if levels.batch_sizes:
        _check_batches(levels, most_test_rows(design.workloads, spec))
    facts, bounds = machine(cross_checked=not no_survey(spec))
    (scenario,) = spec.scenarios or ("offline",)
    _possible(_factors(design.workloads, bounds, levels, spec.rows), bounds, scenario)  # before any file is read
    rows = fewest_test_rows(design.workloads, spec, executor, any_core(SysRoot()), own_only=False)
    _check_batches(levels, rows)
    factors = _factors(design.workloads, bounds, levels, rows)
    if scenario != "offline":
        factors = replace(factors, batch_sizes=(1,))  # a request is a row
    configurations, skipped = _possible(factors, bounds, scenario)
    check_writable(out)
    if facts.emulation.emulated:
        configurations = tuple(replace(each, scenarios=()) for each in configurations)
    design = replace(design, facts=facts, grid=Grid(configurations, bounds.method, margin, skipped))
    directory = out / design.identity
    directory.mkdir()
    write_design(design, directory)
    return directory


def proceed(
    directory: Path, executor: Executor, progress: Progress, spent_s: float = 0.0, more_s: float | None = None
) -> Sweep:
    """Do what is still to do, and give the record.

    Args:
        directory: of the sweep.
        executor: does its jobs.
        progress: hears of it.
        spent_s: time that the command took before, which a budget counts.
        more_s: that it may take from now on, in place of what is left of the budget that it was begun with.

    Raises:
        LparbenchError: see :func:`harness.sweeps.run.run_sweep`.
    """
    design = design_to_resume(directory)
    slots = tuple(design.slots())
    with open_journal(directory) as journal:
        if len(journal.done()) < len(slots):
            progress.say(f"{'Continuing' if journal.entries else 'Sweep in'} {directory}")
            for reason, amount in sorted(design.grid.skipped.items()) if design.grid else ():
                progress.say(f"Left out, {plural(amount, 'setting')}: {reason}.")
            if (emulator := design.facts.emulation.refuses) is not None:
                progress.say(f"This machine is emulated ({emulator}): settings are applied and checked, times refused.")
            for text in (
                () if design.facts.emulation.emulated else _of_budget(design, spent_s, resumed=bool(journal.entries))
            ):
                progress.say(text)
            (directory / SWEEP_NAME).unlink(missing_ok=True)  # of an earlier state
            more = design if more_s is None else _with_budget(design, journal.spent_s() + more_s)
            run_sweep(directory, more, journal, executor, progress, spent_s=spent_s)
            if more.spec.budget_s is not None and len(journal.done()) < len(slots):
                progress.say(_used_up(directory, journal, len(slots), spent_s))
        return sweep_record(_as_measured(design, journal), journal.entries)


def _of_budget(design: Design, started_s: float, *, resumed: bool) -> Iterator[str]:
    """What a short budget leaves out, and of a new sweep that it is too small for anything."""
    configurations = design.grid.configurations if design.grid else ()
    _, cut = sweep_within_budget(
        design.spec, max((size for each in configurations for size in each.batch_sizes), default=0)
    )
    too_small = None if resumed else sweep_too_small(design.spec, started_s)
    yield from (text for text in (too_small, cut) if text is not None)


def _with_budget(design: Design, budget_s: float) -> Design:
    return replace(design, spec=replace(design.spec, budget_s=budget_s))


def _used_up(directory: Path, journal: Journal, slots: int, started_s: float) -> str:
    """What is said where the budget ended a sweep, with what would finish it."""
    walls = [entry.result.wall_s for entry in journal.of(Measurement)]
    to_go = slots - len(walls)
    rest_s = started_s + closing_s(started_s) + to_go * sum(walls) / max(1, len(walls))
    return (
        f"The budget is used up after {len(walls)} of {plural(slots, 'measurement')}. The others, about"
        f" {duration(rest_s)}: lparbench sweep --resume {directory} --budget {math.ceil(rest_s)}s"
    )


def _as_measured(design: Design, journal: Journal) -> Design:
    """The design with the whole blocks that its budget had time for; without a budget, as it is."""
    if design.spec.budget_s is None:
        return design
    done = journal.done()
    whole = 0
    while whole < design.spec.blocks and all(slot.name in done for slot in design.slots() if slot.block == whole):
        whole += 1
    return replace(design, spec=replace(design.spec, blocks=max(1, whole)))


def exit_code(record: Sweep) -> ExitCode:
    """Inconclusive unless the sweep is finished and every workload has a best configuration that is valid."""
    valid = {cell.id for cell in record.cells if cell.validity.verdict is Verdict.VALID}
    answered = set(record.workloads) <= {best.workload for best in record.best if best.cell in valid}
    unfinished = record.design.slots_done < record.design.slots
    return ExitCode.judged(failed=False, inconclusive=unfinished or not answered)


def machine(sysroot: SysRoot | None = None, *, cross_checked: bool = True) -> tuple[Facts, Bounds]:
    """The machine, this one by default, and what bounds configurations on it; see `probe` for ``cross_checked``."""
    root = sysroot or SysRoot()
    facts = probe(root, cross_checked=cross_checked)
    switched = (facts.topology.smt.max or 1) > 1 and may_switch(root)
    method = SmtMethod.SWITCHED if switched else SmtMethod.AFFINITY
    return facts, bounds_of(facts.topology, facts.limits, method)


def _possible(factors: Factors, bounds: Bounds, scenario: Scenario) -> tuple[tuple[Configuration, ...], dict[str, int]]:
    """Configurations that can run, and why others cannot.

    Raises:
        InputError: none can.
    """
    configurations, skipped = configurations_of(factors, bounds, scenario)
    if not configurations:
        reasons = "; ".join(skipped)
        raise InputError(f"None of the settings can run here: {reasons}.", remedy="See: lparbench probe")
    return configurations, skipped


def _check_batches(levels: Levels, rows: int | None) -> None:
    """Refuse a batch that the test rows do not fill."""
    for size in levels.batch_sizes or ():
        if rows is not None and size > rows:
            raise InputError(
                f"--batch {size}: a batch cannot be larger than the test rows, {rows:,} at most here.",
                remedy=f"Give --batch {rows} or less, or more --rows.",
            )


def _factors(workloads: tuple[Workload, ...], bounds: Bounds, levels: Levels, rows: int | None) -> Factors:
    """Levels as given, and where not the default ones: the workload's largest batch, or all ``rows`` where fewer."""
    inference = workloads[0].inference
    names = tuple(workload.name for workload in workloads)
    largest = max(inference.batch_sizes)
    factors = default_factors(bounds, names, min(largest, rows or largest), _backend(workloads))
    given = {item.name: level for item in fields(levels) if (level := getattr(levels, item.name)) is not None}
    return replace(factors, **given)


def _backend(workloads: tuple[Workload, ...]) -> str:
    """The first workload's first backend that all of them may have."""
    able = set.intersection(*({*possible_backends(workload.detector)} for workload in workloads))
    return next((name for name in workloads[0].inference.backends if name in able), "eager")


@contextmanager
def resumable(directory: Path) -> Iterator[None]:
    """On the way out by an exception, say on standard error how far the sweep is, and how it is resumed."""
    try:
        yield
    except BaseException:
        with suppress(LparbenchError):
            done = sum(isinstance(entry, Measurement) for entry in read_journal(directory))
            total = sum(1 for _ in read_design(directory).slots())
            print(f"{done} of {plural(total, 'measurement')} done and kept in {directory}", file=sys.stderr)
            print(f"  Resume: lparbench sweep --resume {directory}", file=sys.stderr)
            print(f"  Results so far: lparbench report {directory}", file=sys.stderr)
        raise
