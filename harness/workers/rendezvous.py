"""How instances start together: each says that it is ready, and one file tells all of them when to work.

Times are of ``CLOCK_MONOTONIC``, which every process of a machine reads the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.measure.steady import PILOT_SAMPLES

_READY_FILE = "ready.json"
_LEAD_NS = 50_000_000  # from the signal to the first window: time to read it
_GAP_NS = 10_000_000  # between windows, beside the time of the sample that is still under way
_POLL_S = 0.002


@dataclass(frozen=True)
class Window:
    """When all instances are to work on one batch size."""

    begin_ns: int
    end_ns: int


def announce(directory: Path, sample_s: Sequence[float]) -> None:
    """Say that the instance of this directory is ready, and how long a sample of each batch size takes."""
    _write(directory / _READY_FILE, list(sample_s))


def await_signal(start_file: Path) -> tuple[Window, ...]:
    """Wait for the common signal; whoever gives it also ends those that wait in vain."""
    while not start_file.exists():
        time.sleep(_POLL_S)
    return tuple(Window(**window) for window in json.loads(start_file.read_text(encoding="utf-8")))


def announced(directories: Sequence[Path]) -> list[list[float]] | None:
    """What all instances announced; None while one of them is not ready."""
    files = [directory / _READY_FILE for directory in directories]
    if not all(file.exists() for file in files):
        return None
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def give_signal(start_file: Path, windows: Sequence[Window]) -> None:
    """Let all instances work in these windows."""
    _write(start_file, [asdict(window) for window in windows])


def windows(now_ns: int, seconds: float, sample_s: Sequence[Sequence[float]]) -> tuple[Window, ...]:
    """One window per batch size, one after the other, each with room for enough samples of the slowest instance.

    Args:
        now_ns: present time.
        seconds: least length of a window.
        sample_s: per instance, time of a sample of each batch size.
    """
    found = []
    begin = now_ns + _LEAD_NS
    for of_batch in zip(*sample_s, strict=True):
        slowest = max(of_batch)
        end = begin + round(1e9 * max(seconds, PILOT_SAMPLES * slowest))
        found.append(Window(begin, end))
        begin = end + round(2e9 * slowest) + _GAP_NS
    return tuple(found)


def _write(path: Path, content: Any) -> None:
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content), encoding="utf-8")
    aside.replace(path)
