"""A sizing from its request to its record: begun, measured where the decision is open, resumed, and answered."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from harness.decode import decode_json_file, encode
from harness.errors import ExitCode, InputError, LparbenchError, MeasurementError
from harness.measure.clock import Clock, SystemClock
from harness.measure.verdicts import MIN_BLOCKS
from harness.placement.smt import SmtMethod, Write, write_switch
from harness.placement.smt_guard import restore_after_kill
from harness.platform.facts import Facts
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.files import write_file
from harness.record.identity import now
from harness.record.model import Verdict
from harness.record.size_model import CapacitySeries, Layout, PlanKind, Size, SizeQuestion
from harness.record.spec import RunSpec, Scenario
from harness.record.store import check_writable
from harness.roofline.measured import cache_to_exceed
from harness.runs.design import Design, Grid, design_to_resume, new_design, read_design, write_design
from harness.runs.engine import Engine, Progress
from harness.runs.fingerprint import check_same_machine
from harness.runs.journal import Journal, Measurement, SessionEntry, open_journal, read_journal
from harness.runs.machine import any_core
from harness.runs.preflight import fewest_test_rows
from harness.runs.schedule import Configuration, block_of
from harness.runs.stopping import duration
from harness.serving.arrival_trace import trace_content
from harness.sizing.answer import Bench, instances_of
from harness.sizing.assemble import EndedBy, SizeRequest, entitled_cores, layout_of, series_of, size_record
from harness.sizing.choice import COARSE_BLOCKS, Choice, Setting, coarse, next_block
from harness.sizing.curves import curve_of
from harness.sizing.forecast import ahead
from harness.sizing.subject import backend_of
from harness.sweeps.run import Work, switching
from harness.sweeps.session import machine
from harness.sweeps.settings import Bounds, Factors, Location, configurations_of
from harness.workers.executor import Executor
from harness.workload.model import Workload

REQUEST_FILE = "request.json"
ARRIVALS_FILE = "arrivals.txt"
LONGEST_BOUND_S = 1.0  # beyond it a search by trials of ten times the bound takes too long
DEFAULT_LAYOUTS: tuple[Layout, ...] = ("per-core", "per-thread")
_PREPARATIONS = 2  # pieces of work: survey and training
_MOST_CORES = 64  # of the core counts that are considered one by one


@dataclass(frozen=True)
class Wanted:
    """What the user asks for; None for the defaults."""

    question: SizeQuestion
    plans: tuple[PlanKind, ...]
    budget_s: float | None = None
    cores: tuple[int, ...] | None = None
    threads_per_core: tuple[int, ...] | None = None
    layouts: tuple[Layout, ...] | None = None
    node: int | None = None
    arrivals: str = "poisson"  # "constant", or a file of recorded ones
    http: bool = False  # behind the product's server, loaded from a core of its own


def begin(
    spec: RunSpec,
    wanted: Wanted,
    argv: tuple[str, ...],
    out: Path,
    *,
    sysroot: SysRoot | None = None,
    executor: Executor | None = None,
) -> Path:
    """Write design and request of a new sizing below ``out``, and give its directory.

    Args:
        executor: has a worker look at classes and files of the user's first; None leaves that to the fit.

    Raises:
        InputError: the workload is not known, a class or a file is not usable,
            the bound cannot be measured, or the machine has no such cores.
        MeasurementError: the machine is emulated.
    """
    bound = wanted.question.p99_s
    if bound is not None and bound > LONGEST_BOUND_S:
        raise InputError(
            f"--p99 {bound:g}s: a trial lasts ten times the bound, and a search takes about fifteen of them.",
            remedy=f"Give a bound of at most {LONGEST_BOUND_S:g}s, or leave --p99 out for throughput.",
        )
    design = new_design(spec, argv, Facts(sysroot="/"), Grid((), SmtMethod.AFFINITY, 0.0, {}))
    design = replace(design, identity=design.identity.replace("-sweep-", "-size-"))
    core, server = any_core(sysroot or SysRoot()), bound is not None  # else batches have to be filled by the test rows
    rows = fewest_test_rows(design.workloads, spec, executor, core, own_only=server)
    facts, bounds = machine(sysroot)
    if (emulator := facts.emulation.refuses) is not None:
        raise MeasurementError(
            f"This machine is emulated ({emulator}): times mean nothing.", remedy="Measure on a real one."
        )
    node = _node(bounds, wanted.node)
    if wanted.http:
        wanted = _over_http(wanted, bounds.cores[node])
    configurations, skipped = _configurations(design.workloads[0], spec, wanted, bounds, node, rows)
    if not configurations:
        raise InputError(f"None of the settings can run here: {'; '.join(skipped)}.", remedy="See: lparbench probe")
    check_writable(out)
    scenarios: tuple[Scenario, ...] | None = ("http",) if wanted.http else None
    spec = replace(design.spec, p99_bound_s=bound or spec.p99_bound_s, scenarios=scenarios, arrivals=wanted.arrivals)
    design = replace(design, facts=facts, spec=spec, grid=Grid(configurations, bounds.method, 0.0, skipped))
    trace = _trace(wanted)
    layouts = wanted.layouts or DEFAULT_LAYOUTS
    request = SizeRequest(wanted.question, bounds.cores[node], wanted.plans, layouts, wanted.budget_s)
    directory = out / design.identity
    directory.mkdir()
    if trace is not None:  # kept with the sizing, which may be resumed when the file is another
        write_file(directory / ARRIVALS_FILE, trace)
        design = replace(design, spec=replace(design.spec, arrivals=str((directory / ARRIVALS_FILE).resolve())))
    write_file(directory / REQUEST_FILE, (json.dumps(encode(request), indent=1) + "\n").encode())
    write_design(design, directory)
    return directory


def _trace(wanted: Wanted) -> bytes | None:
    """The recorded arrivals; None where they are drawn.

    Raises:
        InputError: throughput has none, or the file holds no arrivals.
    """
    if wanted.arrivals == "poisson":
        return None
    if wanted.question.p99_s is None:
        raise InputError("--arrivals needs --p99: throughput waits for no requests.", remedy="Example: --p99 5ms")
    return None if wanted.arrivals == "constant" else trace_content(Path(wanted.arrivals))


def _over_http(wanted: Wanted, cores: int) -> Wanted:
    """What can be measured behind one server process: a core is left for the load.

    Raises:
        InputError: there is no bound, no core to leave, or a layout of several processes.
    """
    if wanted.question.p99_s is None:
        raise InputError("--scenario http needs --p99.", remedy="Example: --p99 5ms")
    if cores < 2:
        raise InputError("Load over HTTP needs a core of its own; there is only one.", remedy="Leave out --scenario.")
    if wanted.layouts not in (None, ("single",)):
        raise InputError(
            "--scenario http measures one server process.", remedy="Give --layouts single, or leave it out."
        )
    return replace(wanted, layouts=("single",), cores=wanted.cores or tuple(range(1, min(cores - 1, _MOST_CORES) + 1)))


def is_sizing(directory: Path) -> bool:
    """Whether this is the directory of a sizing, finished or not."""
    return (directory / REQUEST_FILE).exists()


def proceed(
    directory: Path,
    executor: Executor,
    progress: Progress,
    *,
    clock: Clock | None = None,
    sysroot: SysRoot | None = None,
    write: Write = write_switch,
    more_s: float | None = None,
) -> Size:
    """Measure what is still open, and give the record; ``more_s`` from now on replaces what is left of the budget.

    Raises:
        InputError: this is no sizing, or what a worker found wrong in the user's files.
        EnvironmentMismatchError: the machine is not the one it was begun on.
    """
    if not is_sizing(directory):
        raise InputError(f"{directory}: this is no sizing.", remedy="Give the directory that `lparbench size` named.")
    design, request = design_to_resume(directory), decode_json_file(SizeRequest, directory / REQUEST_FILE)
    with open_journal(directory) as journal:
        progress.say(f"{'Continuing' if journal.entries else 'Sizing in'} {directory}")
        request = request if more_s is None else replace(request, budget_s=journal.spent_s() + more_s)
        ended_by = measure(
            Sizing(directory, design, request, clock or SystemClock(), sysroot or SysRoot()),
            journal, executor, progress, write=write,
        )  # fmt: skip
        return size_record(design, request, journal.entries, ended_by)


def stored(directory: Path) -> Size:
    """The record of a sizing that is not finished, from what it has measured."""
    request = decode_json_file(SizeRequest, directory / REQUEST_FILE)
    return size_record(read_design(directory), request, read_journal(directory), "stored")


def exit_code(size: Size) -> ExitCode:
    """Good when the answer rests on measured cores, and what it rests on is valid."""
    chosen = size.answer.chosen
    invalid = chosen is not None and any(
        point.validity.verdict is not Verdict.VALID
        for series in size.series
        if (series.threads_per_core, series.layout) == (chosen.threads_per_core, chosen.layout)
        for point in series.points
        if point.cores == chosen.cores
    )
    return ExitCode.judged(failed=False, inconclusive=invalid or size.answer.verdict != "answered")


@dataclass(frozen=True)
class Sizing:
    """A sizing that is under way."""

    directory: Path
    design: Design
    request: SizeRequest
    clock: Clock
    sysroot: SysRoot

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every setting that may be measured."""
        return () if self.design.grid is None else self.design.grid.configurations

    def choice(self, journal: Journal, done: int) -> Choice:
        """What to measure after ``done`` blocks, from these blocks alone: the same before and after a kill."""
        bench = self._bench(self._series(journal, done))
        return next_block(bench, self.request.question, self.settings, done)

    def ahead(self, journal: Journal, done: int) -> list[Setting]:
        """The settings that will probably be measured after ``done`` blocks, as often as each will be."""
        return ahead(self._bench, self._series(journal, done), self.request.question, self.settings, done)

    def _series(self, journal: Journal, done: int) -> tuple[CapacitySeries, ...]:
        earlier = [entry for entry in journal.of(Measurement) if entry.block < done]
        return series_of(self.design, self.request.layouts, earlier)

    def _bench(self, series: tuple[CapacitySeries, ...]) -> Bench:
        entitled = entitled_cores(self.design.facts)
        curves = tuple(curve_of(each, entitled=entitled) for each in series)
        return Bench(curves, self.request.node_cores, self.request.question.p99_s)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The configurations as a choice names them, in the same order."""
        return tuple(
            Setting(each.cores, each.threads_per_core, layout_of(each, self.request.layouts))
            for each in self.configurations
        )


def measure(sizing: Sizing, journal: Journal, executor: Executor, progress: Progress, *, write: Write) -> EndedBy:
    """Measure block after block until the decision stands or the budget is used up; says what ended it."""
    design, grid = sizing.design, sizing.design.grid
    assert grid is not None
    if grid.method is SmtMethod.SWITCHED and restore_after_kill(sizing.sysroot):
        progress.say("The sizing was killed while SMT was switched; the state before is restored.")
    check_same_machine(design.facts, probe(sizing.sysroot), "sizing")
    spent_s = sum(entry.result.wall_s for entry in journal.entries if not isinstance(entry, SessionEntry))
    began_ns = sizing.clock.now_ns() - round(spent_s * 1e9)
    journal.note(SessionEntry(now()))
    workloads = {workload.name: workload for workload in design.workloads}
    emulated = design.facts.emulation.emulated is True
    engine = Engine(
        sizing.directory,
        design.spec,
        workloads,
        journal,
        executor,
        progress,
        slow=emulated,
        sysroot=sizing.sysroot,
    )
    work = Work(engine, grid, sizing.sysroot)
    least = COARSE_BLOCKS * len(coarse(sizing.settings)) + MIN_BLOCKS - COARSE_BLOCKS
    progress.start(_PREPARATIONS + max(least, len(journal.of(Measurement))), "survey of the machine")
    placement = work.placed_over(sizing.request.node_cores)
    engine.survey(placement, roof=True, cache_bytes=cache_to_exceed(design.facts, placement.cpus))
    for name in workloads:
        if engine.fitted(name, design.spec.protocol) is None:
            work.fit(name)
    blocks = _Blocks(sizing, journal, progress, work, began_ns)
    with switching(sizing.sysroot, write) if grid.method is SmtMethod.SWITCHED else nullcontext() as session:
        done = 0
        while True:
            choice = sizing.choice(journal, done)
            if choice.ended_by is not None:
                engine.clean_up()
                return choice.ended_by
            for slot in block_of(sizing.configurations, block=done, seed=design.spec.seed):
                configuration = sizing.configurations[slot.configuration]
                if sizing.settings[slot.configuration] not in choice.settings or slot.name in journal.done():
                    continue
                if blocks.over_budget():
                    return "budget"
                progress.advance(f"block {done + 1}: {configuration.describe()}")
                work.measure(slot, configuration, session)
            done += 1
            blocks.say(done)


@dataclass(frozen=True)
class _Blocks:
    sizing: Sizing
    journal: Journal
    progress: Progress
    work: Work
    began_ns: int

    def over_budget(self) -> bool:
        """Whether another measurement would take longer than the budget lasts."""
        budget_s, walls = self.sizing.request.budget_s, self.walls()
        if budget_s is None or not walls:
            return False
        return self.elapsed_s() + sum(walls) / len(walls) > budget_s

    def say(self, done: int) -> None:
        """Set the number of measurements; after the first block say how long they take, as far as can be known."""
        ahead = self.sizing.ahead(self.journal, done)
        measured = self.journal.of(Measurement)
        self.progress.expect(_PREPARATIONS + len(measured) + len(ahead))
        if done == 1 and self.walls():
            walls: dict[Setting, list[float]] = {}
            for entry in measured:
                walls.setdefault(self.sizing.settings[entry.configuration], []).append(entry.result.wall_s)
            unlike = sum(self.walls()) / len(self.walls())  # of a setting that was not measured yet
            left_s = sum(mean(walls.get(setting, [unlike])) for setting in ahead)
            if self.sizing.request.budget_s is not None:
                left_s = min(left_s, max(0.0, self.sizing.request.budget_s - self.elapsed_s()))
            self.progress.say(f"One block takes {duration(sum(self.walls()))}; about {duration(left_s)} to go.")

    def elapsed_s(self) -> float:
        """Since it was begun, without the time between sessions."""
        return (self.sizing.clock.now_ns() - self.began_ns) * 1e-9

    def walls(self) -> list[float]:
        """Seconds of each measurement."""
        return [entry.result.wall_s for entry in self.journal.of(Measurement) if entry.result.wall_s]


@contextmanager
def resumable(directory: Path) -> Iterator[None]:
    """On the way out by an exception, say on standard error how the sizing is resumed."""
    try:
        yield
    except BaseException:
        with suppress(LparbenchError):
            done = sum(isinstance(entry, Measurement) for entry in read_journal(directory))
            print(f"Measurements done and kept in {directory}: {done}", file=sys.stderr)
            print(f"  Resume: lparbench size --resume {directory}", file=sys.stderr)
            print(f"  Answer so far: lparbench size --from {directory}", file=sys.stderr)
        raise


def _node(bounds: Bounds, asked: int | None) -> int | None:
    """The node to measure: the one asked for, or the one with most usable cores."""
    if asked is not None and asked not in bounds.cores:
        known = ", ".join(str(node) for node in sorted(node for node in bounds.cores if node is not None))
        raise InputError(
            f"--nodes {asked}: no CPU of it may be used.", remedy=f"Nodes that have some: {known or 'none'}."
        )
    if not bounds.cores:
        raise InputError("No core may be used here.", remedy="See: lparbench probe")
    return asked if asked is not None else max(bounds.cores, key=lambda node: (bounds.cores[node], -(node or 0)))


def _configurations(
    workload: Workload, spec: RunSpec, wanted: Wanted, bounds: Bounds, node: int | None, rows: int | None
) -> tuple[tuple[Configuration, ...], dict[str, int]]:
    """Every core count, SMT level and layout that can run; a level is all threads of a core that are online."""
    server, largest = wanted.question.p99_s is not None, max(workload.inference.batch_sizes)
    capacity: Scenario = "http" if wanted.http else "server"
    levels = [1 << power for power in range(bounds.threads.bit_length())]
    chosen: dict[Configuration, None] = {}
    skipped: dict[str, int] = {}
    counts = wanted.cores or tuple(range(1, min(bounds.cores[node], _MOST_CORES) + 1))
    for level in wanted.threads_per_core or levels:
        for cores in counts:
            for layout in wanted.layouts or DEFAULT_LAYOUTS:
                factors = Factors(
                    workloads=(workload.name,),
                    smt=(level,),
                    threads_per_core=(level,),
                    cores=(cores,),
                    locations=(Location(node),),
                    batch_sizes=(1,) if server else (min(largest, rows or largest),),
                    backends=(backend_of(workload, spec),),
                    dtypes=(spec.dtypes or ("float32",))[:1],
                    instances=(instances_of(layout, cores, level),),
                )
                possible, reasons = configurations_of(factors, bounds)
                for each in possible:
                    chosen[replace(each, scenarios=(capacity,), batch_sizes=()) if server else each] = None
                for reason, amount in reasons.items():
                    skipped[reason] = skipped.get(reason, 0) + amount
    return tuple(chosen), skipped
