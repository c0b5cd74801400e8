"""The ``lparbench`` fixture: measures, judges, and says the verdict in pytest's terms."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.compare.observations import Side, side_of
from harness.decode import decode, decode_json_file
from harness.errors import EnvironmentMismatchError, ExitCode, InputError, LparbenchError, MeasurementError
from harness.gates.baseline import make_baseline
from harness.gates.baseline_file import read_baseline, update_baseline
from harness.gates.gate import BaselineSource, GateReport, GateVerdict, Pair, gate
from harness.gates.live import measure_enough
from harness.gates.policy import Policy, read_policy
from harness.gates.remeasure import repeated
from harness.measure.verdicts import DEFAULT_MARGIN
from harness.placement.plan import plan
from harness.pytest_plugin.calls import Pedantic, Stats, checked, first_value, plain
from harness.pytest_plugin.machine import this_machine
from harness.pytest_plugin.options import BASE_OPTION, baselines_of, file_name, session_key
from harness.pytest_plugin.outcomes import NoVerdict, open_outcome
from harness.pytest_plugin.processes import BASELINE, CANDIDATE, Place, Processes
from harness.pytest_plugin.serve import directory_key
from harness.pytest_plugin.warm import WorkerDiedError, pool_of
from harness.pytest_plugin.worker import JOB_FILE, FunctionJob, Timed, measure
from harness.record.spec import RunSpec
from harness.reporting.comparison_terminal import gate_verdict

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """The arguments of ``@pytest.mark.lparbench``.

    Attributes:
        margin: relative slowdown that matters; None: 3 %, or the noise floor where that is higher.
        blocks: fresh processes per side, with a stored baseline.
        max_blocks: most processes per side when two functions are measured in the same blocks.
        seconds: time each process spends on timing.
        cores, threads_per_core, node: where the processes are pinned.
    """

    margin: float | None = None
    blocks: int = 12
    max_blocks: int = 30
    seconds: float = 0.1
    cores: int = 1
    threads_per_core: int = 1
    node: int | None = None

    @staticmethod
    def of(item: pytest.Item) -> Settings:
        """From the test's markers, the nearest winning.

        Raises:
            InputError: an argument that the marker does not have, or of another type.
        """
        arguments: dict[str, object] = {}
        for marker in reversed(list(item.iter_markers("lparbench"))):
            arguments |= marker.kwargs
        return decode(Settings, arguments, "pytest.mark.lparbench")


class Lparbench:
    """The fixture's value: judges each function that it is called with, and answers as ``benchmark`` does.

    The verdict is kept until the test has ended, so that the test's own assertions come first.

    Attributes:
        name, fullname, group, param, params, extra_info, stats: as pytest-benchmark's fixture has them.
    """

    disabled, enabled = False, True
    skipped = has_error = False

    def __init__(self, item: pytest.Item, config: pytest.Config) -> None:
        self._item, self._config = item, config
        self._calls = 0
        self._problems: list[BaseException] = []
        self.summary: list[str] = []
        self.name, self.fullname = item.name, item.nodeid
        marker = item.get_closest_marker("benchmark")
        self.group = None if marker is None else marker.kwargs.get("group")
        self._collect_garbage = marker is None or not marker.kwargs.get("disable_gc", False)
        callspec = getattr(item, "callspec", None)
        self.param: str | None = None if callspec is None else callspec.id
        self.params: dict[str, Any] | None = None if callspec is None else callspec.params
        self.extra_info: dict[str, Any] = {}
        self.stats: Stats | None = None

    def __call__(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Judge ``function(*args, **kwargs)`` against the test's baseline file; gives what it returns."""
        call = self._judged(lambda: plain(function, args, kwargs))
        timed = Timed(call, collect_garbage=self._collect_garbage)
        value: T = self._stored({CANDIDATE: timed}, function)
        return value

    def pedantic(
        self,
        target: Callable[..., T],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> T:
        """As pytest-benchmark's: ``setup`` before each round, ``rounds`` of them (and at least twenty) per process."""
        call = self._judged(lambda: Pedantic(target, args, kwargs or {}, setup, teardown))
        prepare = None if setup is None and teardown is None else call.prepare
        timed = Timed(call, prepare, rounds, iterations, warmup_rounds, self._collect_garbage)
        value: T = self._stored({CANDIDATE: timed}, target)
        return value

    def against(self, baseline: Callable[..., Any], candidate: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Judge ``candidate`` against ``baseline``, both called alike and measured in the same blocks.

        Gives what the candidate returns.
        """
        functions = {BASELINE: baseline, CANDIDATE: candidate}
        sides = {side: Timed(self._judged(partial(plain, call, args, kwargs))) for side, call in functions.items()}
        settings = self._judged(lambda: Settings.of(self._item))
        index = self._begin(sides)
        first_value(sides[BASELINE])
        value: T = checked(first_value(sides[CANDIDATE]), candidate)
        if index is not None and self._may_measure():
            processes = self._judged(lambda: self._processes(settings, sides, index))
            self._finish(lambda: self._concurrent(processes, settings))
            self.summary += processes.notes
        return value

    def workload(self, name: str, **options: object) -> None:
        """Run a workload and judge its times and accuracy against the test's baseline file.

        Args:
            name: as ``lparbench run`` takes it.
            options: other fields of :class:`harness.record.spec.RunSpec`; ``blocks`` and where it runs are arguments of
                the marker.
        """
        from harness.reporting.progress import Silence  # as long to import as all the rest
        from harness.runs import run as runs
        from harness.workers.executor import ProcessExecutor

        index = self._begin({})
        settings = self._judged(lambda: Settings.of(self._item))
        spec = replace(
            self._judged(lambda: decode(RunSpec, {**options, "workloads": [name]}, "lparbench.workload")),
            cores=settings.cores,
            threads_per_core=settings.threads_per_core,
            node=settings.node,
        )
        measure = partial(runs.run_once, executor=ProcessExecutor(), progress=Silence())
        if index is not None and self._may_measure():
            self._against_stored(lambda: side_of(repeated(spec, settings.blocks, measure)), settings, index)

    def finish(self) -> None:
        """Say the verdict, once the test has ended well.

        Raises:
            NoVerdict: there is none.
            Failed: it got slower, or cannot be judged as it is written.
        """
        if not self._calls:
            self._problems.append(NoVerdict("the test did not call it"))
        for problem in sorted(self._problems, key=lambda problem: isinstance(problem, NoVerdict)):
            if isinstance(problem, NoVerdict):
                open_outcome(self._config, problem, self.summary, self._item.nodeid)
            else:
                raise problem

    def _begin(self, sides: Mapping[str, Timed]) -> int | None:
        """Number of this call; in a worker process, measure where this call is the one, and end the test there.

        None in a worker for another call.
        """
        index, self._calls = self._calls, self._calls + 1
        directory = self._config.stash.get(directory_key, None)
        if directory is None:
            return index
        job = decode_json_file(FunctionJob, directory / JOB_FILE)
        if job.index == index:
            measure(directory, sides[job.side])
            pytest.skip("measured")
        return None

    def _may_measure(self) -> bool:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            return True
        self._problems.append(
            NoVerdict("tests that run at the same time would disturb the measurement: run it without -n")
        )
        return False

    def _stored(self, sides: Mapping[str, Timed], function: Callable[..., Any]) -> Any:
        """Call the function of the test once, then judge it."""
        settings = self._judged(lambda: Settings.of(self._item))
        index = self._begin(sides)
        began = time.perf_counter()
        raw = first_value(sides[CANDIDATE])
        self.stats = Stats([time.perf_counter() - began])
        value = self._judged(lambda: checked(raw, function))
        if index is None or not self._may_measure():
            return value
        base = self._config.getoption(BASE_OPTION)
        processes = self._judged(lambda: self._processes(settings, sides, index, None if base is None else Path(base)))
        if base is not None:
            self._finish(lambda: self._against_base(processes, settings))
        else:
            self._against_stored(lambda: processes.fresh(settings.blocks)[0], settings, index)
        if data := processes.samples(CANDIDATE):
            self.stats = Stats(data)
        self.summary += processes.notes
        return value

    def _processes(
        self, settings: Settings, sides: Mapping[str, Timed], index: int, base: Path | None = None
    ) -> Processes:
        return Processes(
            item=self._item,
            place=self._place(settings),
            sides=(BASELINE, CANDIDATE) if base else tuple(sides),
            seconds=settings.seconds,
            seed=int.from_bytes(os.urandom(4), "big"),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
            index=index,
            calls=sides,
            base=base,
        )

    def _place(self, settings: Settings) -> Place:
        machine = this_machine()
        placement = plan(
            machine.facts.topology,
            cores=settings.cores,
            threads_per_core=settings.threads_per_core,
            node=settings.node,
            allowed=machine.facts.limits.allowed_cpus,
        )
        return Place(machine.fingerprint, placement)

    def _concurrent(self, processes: Processes, settings: Settings) -> None:
        def measured() -> Pair:
            processes.forget()

            def add(blocks: int) -> Pair:
                first, second = processes.add(blocks)
                return first, second

            margin = settings.margin or DEFAULT_MARGIN
            return measure_enough(add, {processes.key: margin}, max_blocks=settings.max_blocks)

        pair = measured()
        policy = self._policy(settings)
        self._conclude(
            gate(make_baseline(pair[0]), pair, policy, source=BaselineSource.CONCURRENT, measure_again=measured)
        )

    def _against_base(self, processes: Processes, settings: Settings) -> None:
        pool = pool_of(self._config)
        try:
            there = pool.worker(processes.place.placement, processes.base, 0).ready.nodeids
        except WorkerDiedError as error:
            raise MeasurementError(f"the base revision cannot be measured: {error}") from None
        self._config.stash[session_key].of_base |= set(there)
        if self._item.nodeid in there:
            self._concurrent(processes, settings)
        else:
            self.summary.append(f"new: {self._item.nodeid}: the base revision does not have it")

    def _against_stored(self, measured: Callable[[], Side], settings: Settings, index: int) -> None:
        path = baselines_of(self._config) / file_name(self._item.nodeid, index)

        accept = self._config.getoption("--lparbench-accept")

        def updated() -> None:
            sessions = len(update_baseline(path, measured(), accept=accept, option="--lparbench-accept").sessions)
            self._config.stash[session_key].judged.add(self._item.nodeid)
            self.summary.append(
                f"{self._item.nodeid}: baseline written, {sessions} session{'s' if sessions != 1 else ''}"
            )

        def judged() -> None:
            if not path.exists():
                raise InputError(
                    f"{self._item.nodeid} has no baseline in {path.parent}.",
                    remedy="Write one with: pytest --lparbench-update",
                )
            baseline = read_baseline(path, self._place(settings).fingerprint, self._policy(settings).allowed)
            self._conclude(
                gate(
                    baseline,
                    (baseline.side, measured()),
                    self._policy(settings),
                    source=BaselineSource.STORED,
                    measure_again=lambda: (baseline.side, measured()),
                )
            )

        self._finish(updated if self._config.getoption("--lparbench-update") else judged)

    def _policy(self, settings: Settings) -> Policy:
        file = self._config.getoption("--lparbench-policy")
        allowed = tuple(self._config.getoption("allow_diff") or ())
        asked = read_policy(None if file is None else Path(file), Policy(allowed=allowed))
        return asked if settings.margin is None else replace(asked, margin=settings.margin)

    def _finish(self, judge: Callable[[], None]) -> None:
        """Judge; what stands in the way is kept for the end of the test."""
        try:
            judge()
        except MeasurementError as error:
            self._problems.append(NoVerdict(str(error)))
        except EnvironmentMismatchError as error:
            remedy = "Add this machine: pytest --lparbench-update. Or let it differ: --allow-diff FACT."
            self._problems.append(pytest.fail.Exception(f"lparbench: {error.message} {remedy}", pytrace=False))
        except LparbenchError as error:
            self._problems.append(pytest.fail.Exception(f"lparbench: {error}", pytrace=False))

    def _judged(self, judge: Callable[[], T]) -> T:
        """What ``judge`` gives; wrong use fails the test at once, in one line."""
        try:
            return judge()
        except LparbenchError as error:
            problem = error
        pytest.fail(f"lparbench: {problem}", pytrace=False)

    def _conclude(self, report: GateReport) -> None:
        self._config.stash[session_key].judged.add(self._item.nodeid)
        self.summary += [f"{result.verdict.value}: {result.subject}: {result.why}" for result in report.results]
        status, text = gate_verdict(report)
        if report.exit_code is ExitCode.REGRESSION:
            why = "; ".join(result.why for result in report.results if result.verdict is GateVerdict.REGRESSED)
            self._problems.append(pytest.fail.Exception(f"lparbench: {text} {why}", pytrace=False))
        elif report.exit_code is not ExitCode.GOOD:
            undecided = (result.why for result in report.results if result.verdict is not GateVerdict.PASSED)
            self._problems.append(NoVerdict("; ".join(undecided) or status.word))
