"""Shared by all tests: the helpers in tests/support, and the real data and dumps that are used when present."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

_CHECKOUT = Path(__file__).resolve().parent.parent

# How long an example takes on a busy machine says nothing about the code. A profile chosen elsewhere stays.
if hypothesis.settings().deadline is not None:
    hypothesis.settings.register_profile("timeless", deadline=None)
    hypothesis.settings.load_profile("timeless")

# The modules under test live as long as the process: walking their objects time and again takes a tenth of it.
gc.set_threshold(100_000)

# A background job of a script is started with SIGINT ignored, and hands that on to the processes that are tested here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _outside(variable: str, folder: str) -> Path:
    """A folder that is never part of the project: named by a variable, else beside the checkout."""
    named = os.environ.get(variable)
    path = Path(named) if named else _CHECKOUT.parent / "shared" / folder
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder that has the real {folder}")
    return path


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real data sets; the test is skipped when there is none."""
    return _outside("LPARBENCH_DATA", "data")


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Folder of real dumps from Power machines; the test is skipped when there is none."""
    return _outside("LPARBENCH_FIXTURES", "fixtures")


@pytest.fixture(autouse=True)
def _handlers_as_they_were() -> Iterator[None]:
    """A test that runs the program in this process leaves no handler of signals behind for the next one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
