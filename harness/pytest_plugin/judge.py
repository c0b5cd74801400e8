"""Measures what a test gives to the fixture, and judges it: against its baseline file or another side of each block."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest

from harness.compare.facts import Facts
from harness.compare.observations import Key, Side, side_of
from harness.decode import Check, PositiveInt, decode
from harness.errors import EnvironmentMismatchError, ExitCode, InputError, LparbenchError, MeasurementError
from harness.gates.baseline import Baseline, Words
from harness.gates.baseline_file import read_baseline, update_baseline
from harness.gates.gate import BaselineSource, GateReport, GateVerdict, Pair, gate
from harness.gates.live import judge_live
from harness.gates.policy import Policy, read_policy
from harness.measure.shares import LARGEST
from harness.placement.plan import plan
from harness.pytest_plugin.machine import this_machine
from harness.pytest_plugin.options import BASE_OPTION, Verdict, baselines_of, file_name, session_key
from harness.pytest_plugin.originals import Patches
from harness.pytest_plugin.outcomes import NoVerdict, end_where_the_tool_failed
from harness.pytest_plugin.processes import FIRST_LAYOUT, Place, Processes
from harness.pytest_plugin.serve import is_gated
from harness.pytest_plugin.warm import WorkerDiedError, objects_given, pool_of
from harness.pytest_plugin.worker import BASELINE, CANDIDATE, Timed

_UPDATE = {False: "pytest --lparbench-update", True: "pytest --lparbench-gate --lparbench-update"}

_LONGEST_S = 600.0
_Seconds = Annotated[float, Check(f"seconds above 0 and at most {_LONGEST_S:g}", lambda value: 0 < value <= _LONGEST_S)]
_Margin = Annotated[
    float, Check(f"a share above 0 and at most {LARGEST:g}, 0.03 for 3 %", lambda share: 0 < share <= LARGEST)
]


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

    margin: _Margin | None = None
    blocks: PositiveInt = 12
    max_blocks: PositiveInt = 60
    seconds: _Seconds = 0.1
    cores: PositiveInt = 1
    threads_per_core: PositiveInt = 1
    node: int | None = None

    @staticmethod
    def of(item: pytest.Item) -> Settings:
        """From the test's markers, the nearest winning.

        Raises:
            InputError: an argument that the marker does not have, or of another type, or without its name.
        """
        arguments: dict[str, object] = {}
        for marker in reversed(list(item.iter_markers("lparbench"))):
            if marker.args:
                raise InputError(
                    f"pytest.mark.lparbench({marker.args[0]!r}): which argument is this?",
                    remedy="Name it: margin=0.05.",
                )
            arguments |= marker.kwargs
        return decode(Settings, arguments, "pytest.mark.lparbench")


@dataclass(frozen=True)
class Judge:
    """Judges one call of the fixture; ``summary`` and ``problems`` are the fixture's, for the end of the test.

    ``patches``: what the test has replaced, set aside meanwhile.
    """

    item: pytest.Item
    settings: Settings
    index: int
    place: Place
    summary: list[str]
    problems: list[BaseException]
    patches: Patches = field(default_factory=Patches)

    def function(self, sides: Mapping[str, Timed]) -> list[float]:
        """Judge against the base revision where there is one, else the baseline file; gives the samples in seconds."""
        if not self._may_measure():
            return []
        base = self.item.config.getoption(BASE_OPTION)
        processes = self._processes(sides, None if base is None else Path(base))
        if base is not None:
            self._finish(lambda: self._against_base(processes))
        else:
            self._against_stored(lambda: processes.fresh(self.settings.blocks)[0])
        self.summary.extend(processes.notes)
        return processes.samples(CANDIDATE)

    def against(self, sides: Mapping[str, Timed]) -> None:
        """Judge one function against another."""
        if self._may_measure():
            processes = self._processes(sides, None)
            self._finish(lambda: self._concurrent(processes))
            self.summary.extend(processes.notes)

    def workload(self, name: str, options: Mapping[str, object]) -> None:
        """Judge a run of a workload against the baseline file.

        Raises:
            InputError: there is no such option.
        """
        from harness.gates.remeasure import repeated  # as long to import as all the rest
        from harness.record.spec import RunSpec
        from harness.reporting.progress import Silence
        from harness.runs import run as runs
        from harness.workers.executor import ProcessExecutor

        settings = self.settings
        spec = replace(
            decode(RunSpec, {**options, "workloads": [name]}, "lparbench.workload"),
            cores=settings.cores,
            threads_per_core=settings.threads_per_core,
            node=settings.node,
        )
        measure = partial(runs.run_once, executor=ProcessExecutor(), progress=Silence())
        if self._may_measure():
            self._against_stored(lambda: side_of(repeated(spec, settings.blocks, measure)))

    def _may_measure(self) -> bool:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            return True
        self.problems.append(
            NoVerdict("tests that run at the same time would disturb the measurement: run it without -n")
        )
        return False

    def _processes(self, sides: Mapping[str, Timed], base: Path | None) -> Processes:
        return Processes(
            item=self.item,
            place=self.place,
            sides=(BASELINE, CANDIDATE) if base else tuple(sides),
            seconds=self.settings.seconds,
            seed=int.from_bytes(os.urandom(4), "big"),
            created=self.item.config.stash[session_key].created,
            index=self.index,
            calls=sides,
            base=base,
            patches=self.patches,
        )

    def _concurrent(self, processes: Processes) -> None:
        report = judge_live(processes.pairs, {processes.key}, self._policy(), max_blocks=self.settings.max_blocks)
        self._conclude(report)

    def _against_base(self, processes: Processes) -> None:
        if objects := objects_given(self.item.config):
            raise MeasurementError(
                "the base revision cannot be measured: its process would lack the plugins that pytest.main was given as"
                f" objects ({', '.join(objects)})."
            )
        pool = pool_of(self.item.config)
        try:
            there = pool.worker(self.place.placement, processes.base, FIRST_LAYOUT).ready
        except WorkerDiedError as error:
            raise MeasurementError(f"the base revision cannot be measured: {error}") from None
        self.item.config.stash[session_key].of_base |= set(there.gated)
        for place, why in there.failed.items():
            if self.item.nodeid.startswith((f"{place}::", f"{place}/")):
                raise MeasurementError(f"the base revision cannot be measured: {place} cannot be collected: {why}")
        asks_late = not is_gated(self.item)  # by request.getfixturevalue: so may the test of the base revision
        if self.item.nodeid in (there.nodeids if asks_late else there.gated):
            self._concurrent(processes)
        else:
            self.summary.append(f"new: {self.item.nodeid}: the base revision does not have it")

    def _against_stored(self, measured: Callable[[], Side]) -> None:
        config, nodeid = self.item.config, self.item.nodeid
        path = baselines_of(config) / file_name(nodeid, self.index)

        def updated() -> None:
            accept = config.getoption("--lparbench-accept")
            side, others = measured(), self._others(path)
            sessions = len(update_baseline(path, side, accept=accept, others=others, words=self._words).sessions)
            config.stash[session_key].judged.add(path.name)
            self.summary.append(f"{nodeid}: baseline written, {sessions} session{'s' if sessions != 1 else ''}")

        def judged() -> None:
            if not path.exists():
                raise InputError(
                    f"{nodeid} has no baseline in {path.parent}.", remedy=f"Write one: {self._words.write}"
                )
            policy = self._policy()
            stored = read_baseline(path, self.place.fingerprint, policy.allowed, self._words)
            baseline = stored.pooled(self._others(path))

            def pair(_: Collection[Key] = ()) -> Pair:
                return baseline.side, measured()

            self._conclude(gate(baseline, pair(), policy, source=BaselineSource.STORED, measure_again=pair))

        if not config.getoption("--lparbench-update"):
            self._finish(judged)
        elif path.name in config.stash[session_key].judged:  # the test is run again, and the session is one
            self.summary.append(f"{nodeid}: its baseline was written before in this session, and is not again")
        else:
            self._finish(updated)

    @property
    def _words(self) -> Words:
        """How the user says what the remedies ask for."""
        update = _UPDATE[bool(self.item.config.getoption("--lparbench-gate"))]
        return Words("--lparbench-accept", "--lparbench-machine", update)

    def _others(self, path: Path) -> list[Baseline]:
        """The baselines of the other tests on this machine, as they were before the session."""
        known = self.item.config.stash[session_key].baselines
        fingerprint = self.place.fingerprint
        for file in sorted(path.parent.glob("*.json")) if not known else ():
            with contextlib.suppress(LparbenchError):  # its own test says what is wrong with it
                known[file] = read_baseline(file, fingerprint)
        return [other for file, other in known.items() if file != path and other.side.fingerprint == fingerprint]

    def _policy(self) -> Policy:
        config, margin = self.item.config, self.settings.margin
        file, here = config.getoption("--lparbench-policy"), config.invocation_params.dir
        given = Policy(allowed=tuple(config.getoption("allow_diff") or ()))
        asked = read_policy(None if file is None else here / file, given, (here, config.rootpath))
        return asked if margin is None else replace(asked, margin=margin)

    def _finish(self, judge: Callable[[], None]) -> None:
        """Judge; what stands in the way is kept for the end of the test."""
        try:
            judge()
        except MeasurementError as error:
            self.problems.append(NoVerdict(str(error)))
        except EnvironmentMismatchError as error:
            remedy = f"Add this machine: {self._words.write}. Or let it differ: --lparbench-allow-diff FACT."
            self.problems.append(pytest.fail.Exception(f"lparbench: {error.message} {remedy}", pytrace=False))
        except (LparbenchError, OSError) as error:
            end_where_the_tool_failed(self.item.config, error)
            self.problems.append(pytest.fail.Exception(f"lparbench: {error}", pytrace=False))

    def _conclude(self, report: GateReport) -> None:
        self.item.config.stash[session_key].judged.add(file_name(self.item.nodeid, self.index))
        kept = self.item.config.stash[session_key]
        for result in report.results:
            self.summary.append(f"{result.verdict.value}: {result.subject}: {result.why}")
            kept.verdicts.append(Verdict(self.item.nodeid, result.subject, result.verdict.value, result.why))
        if report.exit_code is ExitCode.GOOD:
            return
        from harness.reporting.comparison_terminal import gate_verdict  # brings all of the terminal's tables

        status, text = gate_verdict(report)
        if report.exit_code is ExitCode.REGRESSION:
            why = "; ".join(result.why for result in report.results if result.verdict is GateVerdict.REGRESSED)
            self.problems.append(pytest.fail.Exception(f"lparbench: {text} {why}", pytrace=False))
        else:
            undecided = (result.why for result in report.results if result.verdict is not GateVerdict.PASSED)
            self.problems.append(NoVerdict("; ".join(undecided) or status.word))


def place_of(settings: Settings, config: pytest.Config) -> Place:
    """This machine, and where on it the test is measured.

    Raises:
        InputError: there are no such cores, or the machine that is named has a name.
    """
    machine = this_machine()
    placement = plan(
        machine.facts.topology,
        cores=settings.cores,
        threads_per_core=settings.threads_per_core,
        node=settings.node,
        limits=machine.facts.limits,
    )
    return Place(_named(machine.fingerprint, config.getoption("--lparbench-machine")), placement)


def _named(fingerprint: Facts, machine: str | None) -> Facts:
    """The fingerprint with the name of the machine, where it does not know its processor.

    Raises:
        InputError: it does.
    """
    if machine is None:
        return fingerprint
    if (known := fingerprint.get("cpu")) is not None:
        raise InputError(f"this machine is a {known}.", remedy="--lparbench-machine is for those that do not say so.")
    return {**fingerprint, "cpu": machine}
