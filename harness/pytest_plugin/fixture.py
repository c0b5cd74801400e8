"""The ``lparbench`` fixture: measures, judges, and says the verdict in pytest's terms."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harness.compare.observations import Side, side_of
from harness.decode import decode
from harness.errors import ExitCode, InputError, LparbenchError
from harness.gates.baseline import make_baseline
from harness.gates.baseline_file import read_baseline, update_baseline
from harness.gates.gate import BaselineSource, GateReport, GateVerdict, Pair, gate
from harness.gates.live import measure_enough
from harness.gates.policy import Policy
from harness.gates.remeasure import repeated
from harness.measure.verdicts import DEFAULT_MARGIN
from harness.placement.plan import plan
from harness.pytest_plugin.machine import this_machine
from harness.pytest_plugin.options import SIDE_OPTION, WORKER_OPTION, baselines_of
from harness.pytest_plugin.processes import Place, Processes
from harness.pytest_plugin.worker import measure
from harness.record.spec import RunSpec
from harness.reporting.comparison_terminal import gate_verdict
from harness.reporting.progress import Silence
from harness.runs import run as runs
from harness.workers.executor import ProcessExecutor

T = TypeVar("T")

_BASELINE, _CANDIDATE = "baseline", "candidate"


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
    seconds: float = 0.5
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
    """The fixture's value; one gate per test."""

    def __init__(self, item: pytest.Item, config: pytest.Config) -> None:
        self._item, self._config = item, config
        self._used = False
        self.summary: list[str] = []

    def __call__(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Judge ``function(*args, **kwargs)`` against the test's baseline file; gives what it returns."""
        call = partial(function, *args, **kwargs)
        self._begin({_CANDIDATE: call})
        settings = self._judged(lambda: Settings.of(self._item))

        def measured() -> Side:
            return self._processes(settings, (_CANDIDATE,)).add(settings.blocks)[0]

        self._against_stored(measured, settings)
        return call()

    def against(self, baseline: Callable[..., Any], candidate: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Judge ``candidate`` against ``baseline``, both called alike and measured in the same blocks.

        Gives what the candidate returns.
        """
        calls = {_BASELINE: partial(baseline, *args, **kwargs), _CANDIDATE: partial(candidate, *args, **kwargs)}
        self._begin(calls)
        settings = self._judged(lambda: Settings.of(self._item))

        def measured() -> Pair:
            processes = self._processes(settings, (_BASELINE, _CANDIDATE))

            def add(blocks: int) -> Pair:
                first, second = processes.add(blocks)
                return first, second

            margin = settings.margin or DEFAULT_MARGIN
            return measure_enough(add, {processes.key: margin}, max_blocks=settings.max_blocks)

        def judged() -> GateReport:
            pair = measured()
            policy = Policy(margin=settings.margin)
            return gate(make_baseline(pair[0]), pair, policy, source=BaselineSource.CONCURRENT, measure_again=measured)

        self._conclude(self._judged(judged))
        return partial(candidate, *args, **kwargs)()

    def workload(self, name: str, **options: object) -> None:
        """Run a workload and judge its times and accuracy against the test's baseline file.

        Args:
            name: as ``lparbench run`` takes it.
            options: other fields of :class:`harness.record.spec.RunSpec`; ``blocks`` and where it runs are arguments of
                the marker.
        """
        self._begin({})
        settings = self._judged(lambda: Settings.of(self._item))
        spec = replace(
            self._judged(lambda: decode(RunSpec, {**options, "workloads": [name]}, "lparbench.workload")),
            cores=settings.cores,
            threads_per_core=settings.threads_per_core,
            node=settings.node,
        )
        measure = partial(runs.run_once, executor=ProcessExecutor(), progress=Silence())
        self._against_stored(lambda: side_of(repeated(spec, settings.blocks, measure)), settings)

    def _begin(self, functions: Mapping[str, Callable[[], object]]) -> None:
        """In a worker process, measure and end the test there; elsewhere, check that measuring makes sense."""
        directory = self._config.getoption(WORKER_OPTION)
        if directory is not None:
            measure(Path(directory), self._config.getoption(SIDE_OPTION), functions)
            pytest.skip("measured")
        if self._used:
            pytest.fail("lparbench was called twice; a test holds one gate.", pytrace=False)
        self._used = True
        if "PYTEST_XDIST_WORKER" in os.environ:
            self._inconclusive("tests that run at the same time would disturb the measurement: run it without -n")

    def _processes(self, settings: Settings, sides: tuple[str, ...]) -> Processes:
        return Processes(
            item=self._item,
            place=self._place(settings),
            sides=sides,
            seconds=settings.seconds,
            seed=int.from_bytes(os.urandom(4), "big"),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
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

    def _against_stored(self, measured: Callable[[], Side], settings: Settings) -> None:
        path = baselines_of(self._config) / _file_name(self._item.nodeid)
        if self._config.getoption("--lparbench-update"):
            updated = self._judged(lambda: update_baseline(path, measured()))
            sessions = len(updated.sessions)
            self.summary.append(
                f"{self._item.nodeid}: baseline written, {sessions} session{'s' if sessions != 1 else ''}"
            )
            return

        def judged() -> GateReport:
            if not path.exists():
                raise InputError(
                    f"{self._item.nodeid} has no baseline in {path.parent}.",
                    remedy="Write one with: pytest --lparbench-update",
                )
            baseline = read_baseline(path, this_machine().fingerprint)
            return gate(
                baseline,
                (baseline.side, measured()),
                Policy(margin=settings.margin),
                source=BaselineSource.STORED,
                measure_again=lambda: (baseline.side, measured()),
            )

        self._conclude(self._judged(judged))

    def _judged(self, judge: Callable[[], T]) -> T:
        """What ``judge`` gives; an error for users fails the test in one line, or leaves it inconclusive."""
        try:
            return judge()
        except LparbenchError as error:
            problem = error
        if problem.exit_code is ExitCode.INCONCLUSIVE:
            self._inconclusive(str(problem))
        pytest.fail(f"lparbench: {problem}", pytrace=False)

    def _conclude(self, report: GateReport) -> None:
        self.summary += [f"{result.verdict.value}: {result.subject}: {result.why}" for result in report.results]
        status, text = gate_verdict(report)
        if report.exit_code is ExitCode.REGRESSION:
            why = "; ".join(result.why for result in report.results if result.verdict is GateVerdict.REGRESSED)
            pytest.fail(f"lparbench: {text} {why}", pytrace=False)
        if report.exit_code is not ExitCode.GOOD:
            undecided = (result.why for result in report.results if result.verdict is not GateVerdict.PASSED)
            self._inconclusive("; ".join(undecided) or status.word)

    def _inconclusive(self, why: str) -> None:
        if self._config.getoption("--lparbench-strict"):
            pytest.fail(f"lparbench: inconclusive: {why}", pytrace=False)
        pytest.skip(f"lparbench: inconclusive: {why}")


def _file_name(nodeid: str) -> str:
    """A file name that can be read, and is another for another test."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", nodeid).strip("-.")[-100:]
    return f"{readable}-{hashlib.sha256(nodeid.encode('utf-8', 'replace')).hexdigest()[:8]}.json"
