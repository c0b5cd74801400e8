"""How instances start together: each says that it is ready, and one file tells all of them when to work.

Times are of ``CLOCK_MONOTONIC``, which every process of a machine reads the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.decode import decode_json_file, encode
from harness.errors import MeasurementError
from harness.measure.steady import PILOT_SAMPLES
from harness.record.files import write_file

_READY_FILE = "ready.json"
_LEAD_NS = 50_000_000  # from the signal to the first window: time to read it
_GAP_NS = 10_000_000  # between windows, besides the time of the sample that is still under way
_POLL_S = 0.002
_ANSWER_S = 60.0  # beyond it an instance that serves together with others is taken to be gone


@dataclass(frozen=True)
class Window:
    """When all instances are to work on one batch size."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class _Ready:
    sample_s: tuple[float, ...]


@dataclass(frozen=True)
class _Signal:
    windows: tuple[Window, ...]


def announce(directory: Path, sample_s: Sequence[float]) -> None:
    """Say that the instance of this directory is ready, and how long a sample of each batch size takes."""
    _write(directory / _READY_FILE, _Ready(tuple(sample_s)))


def await_signal(start_file: Path) -> tuple[Window, ...]:
    """Wait for the common signal; whoever gives it also ends those that wait in vain."""
    while not start_file.exists():
        time.sleep(_POLL_S)
    return decode_json_file(_Signal, start_file).windows


def announced(directories: Sequence[Path]) -> list[tuple[float, ...]] | None:
    """What all instances announced; None while one of them is not ready."""
    files = [directory / _READY_FILE for directory in directories]
    if not all(file.exists() for file in files):
        return None
    return [decode_json_file(_Ready, file).sample_s for file in files]


def give_signal(start_file: Path, windows: Sequence[Window]) -> None:
    """Let all instances work in these windows."""
    _write(start_file, _Signal(tuple(windows)))


def windows(now_ns: int, seconds: float, sample_s: Sequence[Sequence[float]]) -> tuple[Window, ...]:
    """One window per batch size, one after the other, each with room for enough samples of the slowest instance.

    Args:
        now_ns: present time.
        seconds: least length of a window.
        sample_s: per instance, time of a sample of each batch size.
    """
    chosen = []
    begin = now_ns + _LEAD_NS
    for of_batch in zip(*sample_s, strict=True):
        slowest = max(of_batch)
        end = begin + round(1e9 * max(seconds, PILOT_SAMPLES * slowest))
        chosen.append(Window(begin, end))
        begin = end + round(2e9 * slowest) + _GAP_NS
    return tuple(chosen)


class FileGroup:
    """Instances that exchange what they measured through files of their common directory.

    Args:
        directory: common to all of them.
        index: of this instance.
        instances: how many they are.
    """

    def __init__(self, directory: Path, index: int, instances: int) -> None:
        self.instances = instances
        self._directory, self._index, self._round = directory, index, 0

    def exchange(self, values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Give ``values`` to the others and wait for theirs, in the order of the instances.

        Raises:
            MeasurementError: one of them is gone.
        """
        files = [self._directory / f"exchange-{self._round}-{index}.bin" for index in range(self.instances)]
        self._round += 1
        write_file(files[self._index], values.tobytes(), durable=False)
        until = time.monotonic() + _ANSWER_S
        while not all(file.exists() for file in files):
            if time.monotonic() > until:
                raise MeasurementError("another instance did not answer")
            time.sleep(_POLL_S)
        return [np.frombuffer(file.read_bytes(), dtype=np.int64) for file in files]


def _write(path: Path, content: _Ready | _Signal) -> None:
    write_file(path, json.dumps(encode(content)).encode(), durable=False)
