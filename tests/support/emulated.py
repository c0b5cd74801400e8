"""What the tests on emulated machines share, to be imported by their conftest.py: what ran is printed, and a test that
is skipped where the environment promises root and packages has failed."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from support.debian import PROMISE, promised

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary", "transcript"]

_TRANSCRIPT: list[str] = []


def copy_project(target: Path) -> None:
    """The project without what was compiled for this machine, and without the runs that were made in it."""
    checkout = Path(__file__).resolve().parents[2]
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("harness", "kernels", "reports", "sysconfig", "tests", "workloads", "results/schema"):
        shutil.copytree(checkout / name, target / name, ignore=left_out)
    shutil.copy2(checkout / "pyproject.toml", target)


@pytest.fixture(scope="session")
def transcript() -> list[str]:
    """Lines to be printed at the end: what ran on which emulated machine, and what came of it."""
    return _TRANSCRIPT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing is skipped in silence."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if promised():
            report.outcome = "failed"
            report.longrepr = f"{PROMISE}=required promises root and packages, but this did not run: {reason}"
        if (line := f"NOT RUN: {reason}") not in _TRANSCRIPT:
            _TRANSCRIPT.append(line)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What ran on the emulated machines."""
    terminalreporter.section("emulated")
    for line in _TRANSCRIPT or ["NOT RUN: no emulated machine was asked for"]:
        terminalreporter.line(line)
