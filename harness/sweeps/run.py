"""A sweep: measures every slot of its design that its journal does not yet hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InputError
from harness.measure.clock import Clock, SystemClock
from harness.placement.model import Placement
from harness.placement.plan import plan, plan_apart
from harness.placement.smt import SmtMethod, SmtSession, Write, smt_session, write_switch
from harness.placement.smt_guard import guarded, restore_after_kill
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.identity import now
from harness.runs.design import Design, Grid
from harness.runs.engine import Engine, Progress, unable
from harness.runs.fingerprint import check_same_machine
from harness.runs.forecast import for_work_s, next_slot_s, no_survey, slot_start_s
from harness.runs.journal import FitEntry, Journal, Measurement, SessionEntry, SurveyEntry
from harness.runs.schedule import Configuration, Slot
from harness.runs.stopping import duration
from harness.wording import plural
from harness.workers.executor import Executor

_SERIES_PER_SLOT = 2  # as much time goes into warming up as into the window
_NAMED = 4  # settings left out; more are counted
_OVERHEAD_S = 0.5  # of a slot, besides starting the process and the series: the signal, the journal, loading the data


def run_sweep(
    directory: Path,
    design: Design,
    journal: Journal,
    executor: Executor,
    progress: Progress,
    *,
    sysroot: SysRoot | None = None,
    write: Write = write_switch,
    spent_s: float = 0.0,
) -> None:
    """Survey, fit, and measure every slot that is not in the journal, in the order of the design.

    A worker that dies takes only its own slot with it, which is noted as failed and not tried again. Whatever ends this
    function, the SMT state is as it was before, and what the journal holds need not be measured again.

    Args:
        sysroot: the machine whose SMT is switched, by ``write``; this one by default.
        spent_s: time that the command took before, which a budget counts; no block is begun that does not fit into it,
            and of the first one no setting but one.

    Raises:
        InputError: what a worker found wrong in the user's files, or this is no sweep.
        EnvironmentMismatchError: the machine is not the one the sweep was begun on.
        LparbenchError: SMT cannot be switched any more.
    """
    grid = design.grid
    if grid is None or "-sweep-" not in design.identity:
        kind, command = ("run", "run") if grid is None else ("sizing", "size")
        resume = f"Resume it by: lparbench {command} --resume {directory}"
        raise InputError(f"{directory}: this is a {kind}.", remedy=resume)
    sysroot = sysroot or SysRoot()
    facts = _same_machine(design, grid, sysroot, progress)
    journal.note(SessionEntry(now()))
    workloads = {workload.name: workload for workload in design.workloads}
    emulated = design.facts.emulation.emulated is True
    engine = Engine(directory, design.spec, workloads, journal, executor, progress, slow=emulated, sysroot=sysroot)
    work = Work(engine, grid, sysroot, facts=facts)
    engine.say_what_is_not_counted(design.facts.limits)
    done = journal.done()
    budget = _Budget(for_work_s(design.spec, spent_s), SystemClock(), journal, grid.configurations)
    slots = tuple(design.slots())
    remaining = [slot for slot in slots if slot.name not in done]
    fits = [name for name in workloads if engine.fitted(name, design.spec.protocol) is None]
    progress.start(len(fits) + len(remaining) + 1, "start" if no_survey(design.spec) else "survey of the machine")
    if not no_survey(design.spec):
        engine.survey(work.placed(), roof=False)
    progress.say(_estimate(design, grid, journal, spent_s, fits=len(fits), remaining=len(remaining), slots=len(slots)))
    for name in fits:
        work.fit(name)
    switched = grid.method is SmtMethod.SWITCHED and bool(remaining)
    with switching(sysroot, write) if switched else nullcontext() as session:
        for slot in budget.within(remaining, lambda left: progress.say(_without_time(grid, left))):
            configuration = grid.configurations[slot.configuration]
            progress.advance(f"block {slot.block + 1} of {design.spec.blocks}: {configuration.describe()}")
            work.measure(slot, configuration, session)
    if len(journal.done()) == len(slots):  # else a session with more budget measures what was fitted
        engine.clean_up()


def _same_machine(design: Design, grid: Grid, sysroot: SysRoot, progress: Progress) -> Facts:
    """The machine, which is the one that the sweep was begun on, with the SMT state that it had then."""
    if grid.method is SmtMethod.SWITCHED and restore_after_kill(sysroot):
        progress.say("The sweep was killed while SMT was switched; the state before is restored.")
    facts = probe(sysroot, cross_checked=False)
    check_same_machine(design.facts, facts, "sweep")
    return facts


class _Budget:
    """Whether more fits into the time of a sweep, by what was measured before."""

    def __init__(
        self, budget_s: float | None, clock: Clock, journal: Journal, configurations: Sequence[Configuration]
    ) -> None:
        self._budget_s, self._clock, self._journal, self._configurations = budget_s, clock, journal, configurations
        self._began = clock.now_ns() - round(journal.spent_s() * 1e9)

    def within(self, slots: Sequence[Slot], left_out: Callable[[Sequence[Slot]], None]) -> Iterator[Slot]:
        """Slots as long as there is time; ``left_out`` hears of those of the first block that there is none for."""
        for position, slot in enumerate(slots):
            if not self.has_room(slot):
                if slot.block == 0:
                    left_out([each for each in slots[position:] if each.block == 0])
                return
            yield slot

    def has_room(self, slot: Slot) -> bool:
        """Before a slot: the first block goes as far as there is time, any other is measured whole or not at all."""
        walls: dict[str, list[float]] = {}
        for entry in self._journal.of(Measurement):
            walls.setdefault(self._configurations[entry.configuration].backend, []).append(entry.result.wall_s)
        if self._budget_s is None or not walls or (slot.block and slot.order):
            return True
        fit_s = max((entry.result.wall_s for entry in self._journal.of(FitEntry)), default=0.0)
        needed_s = next_slot_s(self._configurations[slot.configuration].backend, walls, fit_s)
        if slot.block:
            needed_s = sum(wall for same in walls.values() for wall in same) / slot.block
        return (self._clock.now_ns() - self._began) * 1e-9 + needed_s <= self._budget_s


def _without_time(grid: Grid, slots: Sequence[Slot]) -> str:
    """Settings that a short budget leaves out."""
    named = [grid.configurations[slot.configuration].describe() for slot in slots]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return f"Left out, for which the budget has no time: {'; '.join([*named[:_NAMED], *more])}."


@contextmanager
def switching(sysroot: SysRoot, write: Write) -> Iterator[SmtSession]:
    """A session in which SMT can be switched; whatever ends it, the state before is restored."""
    with guarded(sysroot), smt_session(sysroot, write) as session:
        if session.method is not SmtMethod.SWITCHED:
            raise InputError(
                "The sweep switches SMT, which is not permitted to this user.", remedy="Resume it as root."
            )
        yield session


@dataclass
class Work:
    """Places and measures configurations on the machine, switching SMT between them."""

    engine: Engine
    grid: Grid
    sysroot: SysRoot
    level: int | None = None  # of SMT, as last switched
    facts: Facts | None = None  # of the machine at that level

    def fit(self, name: str) -> None:
        """Train once; what is measured is the scoring, whose speed does not depend on the weights."""
        backends = {each.backend for each in self.grid.configurations if each.workload == name}
        self.engine.fit(name, self.engine.spec.protocol, self.placed(), backends=backends)

    def measure(self, slot: Slot, configuration: Configuration, session: SmtSession | None) -> None:
        """Measure one slot, switching SMT where it needs another level."""
        reason = unable(self.engine.fitted(configuration.workload, self.engine.spec.protocol), configuration)
        try:
            self._switch(configuration.smt, session)
            if reason is None:
                placement = self.placed(configuration)
                self.engine.measure(slot, configuration, placement, generator=self._generator(configuration, placement))
        except InputError as error:  # of this configuration on this machine: the others may still do
            reason = str(error)
        if reason is not None:
            self.engine.give_up(slot, reason)

    def placed(self, configuration: Configuration | None = None) -> Placement:
        """Where a configuration goes on the machine as it is now; the best core where none is given."""
        if self.facts is None:
            self.facts = probe(self.sysroot, cross_checked=False)
        placement = plan(
            self.facts.topology,
            cores=1 if configuration is None else configuration.cores,
            threads_per_core=1 if configuration is None else configuration.threads_per_core,
            node=None if configuration is None else configuration.node,
            limits=self.facts.limits,
        )
        if configuration is None or configuration.memory_node is None:
            return placement
        return placement.bound_to((configuration.memory_node,))

    def placed_over(self, cores: int) -> Placement:
        """A thread on each of so many cores of the node that the configurations are on."""
        return self.placed(replace(self.grid.configurations[0], cores=cores, threads_per_core=1, memory_node=None))

    def _generator(self, configuration: Configuration, placement: Placement) -> Placement | None:
        """Where load over HTTP comes from; None where there is none."""
        if "http" not in configuration.scenarios:
            return None
        facts = self.facts or probe(self.sysroot, cross_checked=False)
        return plan_apart(facts.topology, placement, limits=facts.limits)

    def _switch(self, level: int | None, session: SmtSession | None) -> None:
        if session is not None and level is not None and level != self.level:
            session.switch(level)
            self.level, self.facts = level, None


def _estimate(
    design: Design, grid: Grid, journal: Journal, started_s: float, *, fits: int, remaining: int, slots: int
) -> str:
    """What lies ahead, by the slots done so far, or before the first one by what starting a process took."""
    walls = [wall for measurement in journal.of(Measurement) if (wall := measurement.result.wall_s)]
    survey_s = next((entry.result.wall_s for entry in journal.of(SurveyEntry)), 0.0)
    starts = [slot_start_s(each.backend, started_s, survey_s) for each in grid.configurations]
    slot_s = sum(starts) / len(starts) + _SERIES_PER_SLOT * design.spec.series_seconds + _OVERHEAD_S
    if walls:
        slot_s = sum(walls) / len(walls)
    settings, amount = len(grid.configurations), design.spec.blocks
    count = f"{plural(settings, 'setting')} in {plural(amount, 'block')}"
    done = "" if remaining == slots else f", {slots - remaining} of {plural(slots, 'measurement')} done"
    training = f" after training {plural(fits, 'workload')}" if fits else ""
    if design.spec.budget_s is not None and journal.spent_s() + remaining * slot_s > design.spec.budget_s:
        block = f"{duration(settings * slot_s)}{training}"
        return f"{plural(settings, 'setting')}{done}: as much as fits into the budget; a block takes about {block}."
    return f"{count}{done}: about {duration(remaining * slot_s)}{training}."
