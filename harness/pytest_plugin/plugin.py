"""Hooks of the plugin; nothing heavy is imported before a test asks for the ``lparbench`` fixture."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from harness.pytest_plugin.options import WORKER_OPTION, add_options, plugin_name_key, summary_key

if TYPE_CHECKING:
    from harness.platform.counters import StealMeter
    from harness.pytest_plugin.fixture import Lparbench

_MARKER = (
    "lparbench(margin=0.03, blocks=12, max_blocks=30, seconds=0.5, cores=1, threads_per_core=1, node=None): how the"
    " `lparbench` fixture measures and judges this test"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the gate."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; join pytest-benchmark where it is active; tie a worker process to its parent."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[summary_key] = []
    config.stash[plugin_name_key] = config.pluginmanager.get_name(sys.modules[__name__]) or __name__
    if hasattr(config.hook, "pytest_benchmark_update_json"):
        config.pluginmanager.register(BenchmarkHooks(), "lparbench-benchmark")
    if config.getoption(WORKER_OPTION) is not None:
        from harness.workers.process import die_with_parent

        die_with_parent()


class BenchmarkHooks:
    """Hooks of pytest-benchmark, registered only where it is active; its objects and its JSON are foreign."""

    def __init__(self) -> None:
        self._steal: StealMeter | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin to count stolen time, where something is saved in the end."""
        if any(session.config.getoption(name, None) for name in ("benchmark_json", "benchmark_save")):
            from harness.platform.counters import StealMeter
            from harness.platform.sysroot import SysRoot

            self._steal = StealMeter(SysRoot("/"), os.sched_getaffinity(0))

    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """See :func:`harness.pytest_plugin.benchmark.add_machine`."""
        from harness.pytest_plugin.benchmark import add_machine

        add_machine(machine_info)

    def pytest_benchmark_update_json(self, benchmarks: Sequence[Any], output_json: dict[str, Any]) -> None:
        """See :func:`harness.pytest_plugin.benchmark.add_session`."""
        from harness.pytest_plugin.benchmark import add_session

        add_session(benchmarks, output_json, None if self._steal is None else self._steal.share())


@pytest.fixture
def lparbench(request: pytest.FixtureRequest) -> Iterator[Lparbench]:
    """Measures a function in fresh pinned processes and fails the test when it surely got slower.

    ``lparbench(function, *args, **kwargs)`` judges against the test's baseline file;
    ``lparbench.against(baseline, candidate, *args, **kwargs)`` against another function, measured in the same blocks;
    ``lparbench.workload(name, **options)`` runs a workload and judges it against the test's baseline file.
    """
    from harness.pytest_plugin.fixture import Lparbench

    gate = Lparbench(request.node, request.config)
    yield gate
    request.config.stash[summary_key] += gate.summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line per gated metric, with its figures."""
    lines = config.stash[summary_key]
    if lines:
        terminalreporter.section("lparbench")
        for line in lines:
            terminalreporter.write_line(line)
