"""Hooks of the plugin; nothing heavy is imported before a test asks for the ``lparbench`` fixture."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import PYTEST_OFFSET, ExitCode, LparbenchError
from harness.pytest_plugin.drop_in import DropIn, gate_class, gated, gates_key
from harness.pytest_plugin.options import (
    ASKING,
    BASE_OPTION,
    OUTCOME,
    Session,
    Verdict,
    add_options,
    closes,
    is_worker,
    one_after_another,
    session_key,
    unused_options,
)
from harness.pytest_plugin.originals import Originals, Patches, originals_key

if TYPE_CHECKING:
    from harness.platform.counters import StealMeter
    from harness.pytest_plugin.fixture import Lparbench

_MARKER = (
    "lparbench(margin=0.03, blocks=12, max_blocks=60, seconds=0.1, cores=1, threads_per_core=1, node=None): how the"
    " `lparbench` fixture measures and judges this test"
)

_RERUNS = ("rerunfailures", "pytest_rerunfailures")  # by their entry point, and by -p
_SHOWING = ("collectonly", "showfixtures", "show_fixtures_per_test")  # which run no test


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the gate."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; join pytest-benchmark where it is active."""
    config.addinivalue_line("markers", _MARKER)
    session = config.stash[session_key] = Session(cwd=config.invocation_params.dir)
    config.pluginmanager.register(Collecting(session), "lparbench-collecting")
    if is_worker(config):
        if not any(map(config.pluginmanager.hasplugin, _RERUNS)):
            config.addinivalue_line("markers", "flaky: of pytest-rerunfailures")
        for name in ("usepdb", "trace"):  # nobody is there to answer
            setattr(config.option, name, False)
    else:
        if config.getoption("--lparbench-accept") is not None and not config.getoption("--lparbench-update"):
            raise pytest.UsageError("--lparbench-accept goes with --lparbench-update: judging accepts nothing.")
        session.unused |= unused_options(config)
        if one_after_another(config):
            session.summary.append("tests run one after another: the -n of the configuration is set aside")
        config.pluginmanager.register(Ending(config), "lparbench-ending")
        if hasattr(config.hook, "pytest_benchmark_update_json"):
            config.pluginmanager.register(BenchmarkHooks(), "lparbench-benchmark")


@pytest.hookimpl(trylast=True)
def pytest_plugin_registered(plugin: object, manager: pytest.PytestPluginManager) -> None:
    """Put ``benchmark`` in the place of pytest-benchmark's, once every other plugin has given its fixtures."""
    if type(plugin).__name__ == "FixtureManager":
        config: pytest.Config = plugin.config  # type: ignore[attr-defined]
        if config.getoption("--lparbench-gate"):
            manager.register(DropIn(), "lparbench-gate")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A worker runs nothing again, and pytest-rerunfailures would start a thread, beside which nothing is forked."""
    for plugin in map(config.pluginmanager.get_plugin, _RERUNS) if is_worker(config) else ():
        if plugin is not None:
            config.pluginmanager.unregister(plugin)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """In a worker, serve; elsewhere, know which tests there are."""
    if is_worker(session.config):
        from harness.pytest_plugin.serve import serve

        gate_class()  # imported once here, and not in every fork
        _learn(session.config)
        serve(session)
    fixtures = {"lparbench", "benchmark"} if session.config.getoption("--lparbench-gate") else {"lparbench"}
    if any(not fixtures.isdisjoint(getattr(item, "fixturenames", ())) for item in session.items):
        from harness.pytest_plugin import judge  # noqa: F401 - before a test replaces what it imports

        gate_class()
        _learn(session.config)
    session.config.stash[session_key].collected |= {item.nodeid for item in session.items}


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that a plugin leaves out afterwards, whether it says so or not, is not gone."""
    item.config.stash[session_key].collected.add(item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that is run again has not been judged yet."""
    item.stash[gates_key] = []
    if originals_key in item.config.stash:
        item.config.stash[originals_key].learn()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The verdict comes after the test's own assertions."""
    result, ended = None, None
    try:
        result = yield
    except (pytest.skip.Exception, pytest.xfail.Exception) as error:  # which undoes nothing that was judged before
        ended = error
    if ended is None or any(gate.called for gate in item.stash.get(gates_key, [])):
        _finish(item)
    if ended is not None:
        raise ended
    return result


def _learn(config: pytest.Config) -> None:
    originals = config.stash[originals_key] = Originals()
    originals.learn()


def _finish(item: pytest.Item) -> None:
    for gate in [] if is_worker(item.config) else item.stash.get(gates_key, []):
        try:
            with gate.patches.aside():
                gate.finish()
        finally:
            item.user_properties.extend(("lparbench", line) for line in gate.summary)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Mark what has no verdict; keep what fails in a worker."""
    gates = item.stash.get(gates_key, [])
    with (gates[-1].patches if gates else Patches()).aside():  # a report quotes source files
        report = yield
        if is_worker(item.config):
            from harness.pytest_plugin.serve import note_failure

            note_failure(item.config, report)
            return report
    error = None if call.excinfo is None else call.excinfo.value
    if report.skipped and any(error in gate.problems for gate in gates):
        report.outcome = "failed"  # pytest.mark.xfail is about the test's own assertions
        del report.wasxfail
    if type(error).__name__ == "NoVerdict":
        report.lparbench = OUTCOME  # type: ignore[attr-defined]
    elif report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        lines = (report.longreprtext if crash is None else crash.message).strip().splitlines() or ["it failed"]
        item.config.stash[session_key].failed.setdefault(item.nodeid, lines[0])
    elif report.when == "call" and report.passed:
        item.config.stash[session_key].passed.add(item.nodeid)
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """An outcome of its own for what has no verdict."""
    outcome = getattr(report, "lparbench", None)
    return None if outcome is None else (outcome, "I", (outcome.upper(), {"yellow": True}))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the workers."""
    session = config.stash.get(session_key, None)
    for end in session.at_end if session is not None else ():
        end()


class Collecting:
    """What cannot be collected, which cannot be judged, and what is left out as a whole."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep its name, and why."""
        if report.failed:
            lines = report.longreprtext.strip().splitlines() or ["it cannot be collected"]
            self._session.failed[report.nodeid] = lines[-1].removeprefix("E ").strip()
        elif report.skipped:
            self._session.skipped.add(report.nodeid)


class Ending:
    """What the whole session must say; not loaded in a worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._failed = config.stash[session_key].failed
        self._open: list[Verdict] = []
        self._interrupted = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Know a user who interrupts from pytest, which ends in the same way when it cannot collect."""
        self._interrupted = isinstance(excinfo.value, KeyboardInterrupt) and not isinstance(
            excinfo.value, pytest.Session.Interrupted
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A baseline without a test, or a gate that judged nothing, is not green."""
        config = session.config
        if hasattr(config, "workerinput") or any(getattr(config.option, name, False) for name in _SHOWING):
            return
        if getattr(config.option, "dist", "no") != "no" and config.option.tx:
            if any(map(config.getoption, (*ASKING, "--lparbench-report"))):
                self._open = [Verdict("", "the session", OUTCOME, "nothing is measured with -n: run it without.")]
        elif not session.shouldstop and session.exitstatus != pytest.ExitCode.INTERRUPTED:
            from harness.pytest_plugin.outcomes import open_at_the_end

            self._open = list(open_at_the_end(session))
        for to, path in config.getoption("--lparbench-report") or ():
            from harness.pytest_plugin.report import write_report

            try:
                write_report(config, self._open, to, config.invocation_params.dir / path)
            except LparbenchError as error:
                pytest.exit(f"lparbench: {error}", returncode=ExitCode.TOOL_FAILED)
        updating = config.getoption("--lparbench-update") and config.stash[session_key].judged
        if self._open and closes(config) and not updating and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if config.getoption(BASE_OPTION) is not None:
            session.exitstatus = self._code(session)

    def _code(self, session: pytest.Session) -> int:
        """What pytest ends with for ``lparbench gate --base``, which tells apart what pytest does not."""
        status, kept = session.exitstatus, session.config.stash[session_key]
        stopped = status == pytest.ExitCode.INTERRUPTED
        nothing = status == pytest.ExitCode.NO_TESTS_COLLECTED and not session.testscollected
        if stopped and self._interrupted:
            return PYTEST_OFFSET + ExitCode.INTERRUPTED
        if nothing:
            return PYTEST_OFFSET + ExitCode.USAGE
        if self._failed and (stopped or status == pytest.ExitCode.TESTS_FAILED):
            return PYTEST_OFFSET + ExitCode.REGRESSION
        verdicts = {verdict.outcome for verdict in (*kept.verdicts, *self._open)} - {"passed"}
        if stopped or (status == pytest.ExitCode.TESTS_FAILED and verdicts):
            return PYTEST_OFFSET + ExitCode.INCONCLUSIVE
        return int(status)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """One line per gated metric, with its figures, and what stayed open."""
        kept = config.stash[session_key]
        lines = [*kept.summary, *(f"{late.outcome}: {late.subject}: {late.why}" for late in self._open)]
        if kept.unused:
            names = ", ".join(sorted(kept.unused))
            lines.append(f"not used: {names} of pytest-benchmark; every process is timed as the lparbench marker says")
        if lines:
            terminalreporter.section("lparbench")
            for line in lines:
                terminalreporter.write_line(line)


class BenchmarkHooks:
    """Hooks of pytest-benchmark, registered only where it is active; its objects and its JSON are foreign."""

    def __init__(self) -> None:
        self._steal: StealMeter | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin to count stolen time, where something is saved in the end."""
        if any(session.config.getoption(name, None) for name in ("benchmark_json", "benchmark_save")):
            from harness.platform.counters import StealMeter
            from harness.platform.sysroot import SysRoot

            self._steal = StealMeter(SysRoot(), os.sched_getaffinity(0))

    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """See :func:`harness.pytest_plugin.benchmark.add_machine`."""
        from harness.pytest_plugin.benchmark import add_machine

        add_machine(machine_info)

    def pytest_benchmark_update_json(self, benchmarks: Sequence[Any], output_json: dict[str, Any]) -> None:
        """See :func:`harness.pytest_plugin.benchmark.add_session`."""
        from harness.pytest_plugin.benchmark import add_session

        add_session(benchmarks, output_json, None if self._steal is None else self._steal.share())


@pytest.fixture
def lparbench(request: pytest.FixtureRequest) -> Generator[Lparbench, None, None]:
    """Measures a function in pinned processes of its own and fails the test when it surely got slower.

    ``lparbench(function, *args, **kwargs)`` judges against the test's baseline file, as ``lparbench.pedantic(...)``
    does; ``lparbench.against(baseline, candidate, *args, **kwargs)`` against another function, measured in the same
    blocks; ``lparbench.workload(name, **options)`` runs a workload and judges it against the test's baseline file.
    """
    yield from gated(request)
