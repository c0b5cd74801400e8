"""Hooks of the plugin; nothing heavy is imported before a test asks for the ``lparbench`` fixture."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.pytest_plugin.fixture import Lparbench

WORKER_OPTION = "--lparbench-worker"
SIDE_OPTION = "--lparbench-side"

_MARKER = (
    "lparbench(margin=0.03, blocks=12, max_blocks=30, seconds=0.5, cores=1, threads_per_core=1, node=None): how the"
    " `lparbench` fixture measures and judges this test"
)
_summary_key = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the gate, and those by which a worker process is told what to do."""
    group = parser.getgroup("lparbench", "gates on time, by lparbench")
    group.addoption(
        "--lparbench-baselines",
        metavar="DIR",
        default=None,
        help="Folder of baseline files, one per test. Default: .lparbench in the root directory.",
    )
    group.addoption(
        "--lparbench-update",
        action="store_true",
        help="Measure and write the baselines instead of judging; a shared machine needs three sessions.",
    )
    group.addoption(
        "--lparbench-strict",
        action="store_true",
        help="Fail a test whose verdict is inconclusive instead of skipping it.",
    )
    group.addoption(WORKER_OPTION, default=None, help=argparse.SUPPRESS)
    group.addoption(SIDE_OPTION, default=None, help=argparse.SUPPRESS)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[_summary_key] = []


@pytest.fixture
def lparbench(request: pytest.FixtureRequest) -> Iterator[Lparbench]:
    """Measures a function in fresh pinned processes and fails the test when it surely got slower.

    ``lparbench(function, *args, **kwargs)`` judges against the test's baseline file;
    ``lparbench.against(reference, candidate, *args, **kwargs)`` against another function, measured beside it;
    ``lparbench.workload(name, *options)`` runs a workload and judges it against the test's baseline file.
    """
    from harness.pytest_plugin.fixture import Lparbench

    gate = Lparbench(request.node, request.config)
    yield gate
    request.config.stash[_summary_key] += gate.said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One line per gated thing, with its figures."""
    lines = config.stash[_summary_key]
    if lines:
        terminalreporter.section("lparbench")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:  # noqa: ARG001
    """Add what ``lparbench compare`` needs to know of the machine to what pytest-benchmark saves."""
    from harness.compare.pytest_benchmark import OWN
    from harness.pytest_plugin.fixture import here

    machine_info[OWN] = dict(here().fingerprint)


def baselines_of(config: pytest.Config) -> Path:
    """The folder of baseline files."""
    chosen = config.getoption("--lparbench-baselines")
    return Path(chosen) if chosen else config.rootpath / ".lparbench"
