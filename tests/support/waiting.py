"""Waiting for what other processes do, and ending those that a test has started."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from harness.errors import InputError

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 60.0, why: Callable[[], str] = str) -> T:
    """What the condition gives, once it gives something; ``why`` says what there is instead."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError, InputError):  # what is waited for is not there yet
            if value := condition():
                return value
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def end(processes: Sequence[subprocess.Popen[Any]], patience_s: float = 5.0) -> None:
    """End processes, the last that was started first; what does not go is killed."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        process.kill()
        process.wait()
