"""What the tests on emulated machines share, to be imported by their conftest.py: what ran is printed, and a test that
is skipped where the environment promises root and packages has failed."""

from __future__ import annotations

from collections.abc import Generator
from typing import NoReturn

import pytest
from support.debian import PROMISE, promised

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary", "transcript"]

_TRANSCRIPT: list[str] = []
_NOT_PROMISED = "not promised: "


def not_promised(reason: str) -> NoReturn:
    """Skip what takes longer than a check may, and is built once; it is named, and fails nothing."""
    pytest.skip(f"{_NOT_PROMISED}{reason}")


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
        if promised() and not reason.startswith(_NOT_PROMISED):
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
