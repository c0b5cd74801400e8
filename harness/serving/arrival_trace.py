"""Arrivals that were recorded, as the schedule of a load: a file with the time of each request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.measure.arrivals import constant_schedule, poisson_schedule
from harness.parsing import read_content
from harness.record.load_model import TraceRecord

_MOST_BYTES = 1 << 28
_LEAST = 2
_LEAST_GAP_S, _MOST_GAP_S = 1e-9, 1e9  # between two requests, on average
_LATEST_S = 1e20  # also of times in nanoseconds, which are stretched as any others are
_EXPECTED = (
    "Expected a line per request, in order: seconds, or a time such as 2024-08-01T09:00:00.250; a header may be."
)


@dataclass(frozen=True, eq=False)
class Trace:
    """Recorded arrivals: the seconds before each request, the first of them the mean."""

    gaps_s: NDArray[np.float64]
    record: TraceRecord

    def schedule(self, rate: float, count: int) -> NDArray[np.int64]:
        """Nanoseconds from the start of ``count`` requests at ``rate``: stretched alike, then over again."""
        gaps = np.resize(self.gaps_s, count) * (self.record.rate_per_s / rate)
        return (np.cumsum(gaps) * 1e9).astype(np.int64)


Draw = Callable[[float, int, int], NDArray[np.int64]]
"""From a rate, a number of requests and a seed to the nanoseconds from the start at which they come."""


@dataclass(frozen=True)
class Arrivals:
    """How requests of a search for a rate come.

    Attributes:
        draw: the schedule of a trial.
        least: requests of a trial, so that a recorded busy time is in it.
    """

    draw: Draw
    least: int = 0


def arrivals_of(name: str) -> Arrivals:
    """Poisson arrivals, constant ones, or those recorded in a file, stretched to each rate.

    Raises:
        InputError: the file cannot be read or holds no arrivals.
    """
    if name == "poisson":
        return POISSON
    if name == "constant":
        return Arrivals(lambda rate, count, seed: constant_schedule(rate, count))  # noqa: ARG005 - nothing is drawn
    trace = read_trace(Path(name))
    return Arrivals(lambda rate, count, seed: trace.schedule(rate, count), len(trace.gaps_s))  # noqa: ARG005


POISSON = Arrivals(lambda rate, count, seed: poisson_schedule(rate, count, seed=seed))


def read_trace(path: Path) -> Trace:
    """The arrivals in a file.

    Raises:
        InputError: it cannot be read, or holds no arrivals.
    """
    return _trace_of(read_content(path, _MOST_BYTES), str(path))


def trace_content(path: Path) -> bytes:
    """What a file of arrivals holds, to be kept; it is read once, for a pipe can be read once.

    Raises:
        InputError: it cannot be read, or holds no arrivals.
    """
    content = read_content(path, _MOST_BYTES)
    _trace_of(content, str(path))
    return content


def _trace_of(content: bytes, where: str) -> Trace:
    """The arrivals in what a file holds; the first field of each line is the time.

    Raises:
        InputError: a line is no time or is earlier than the one before, or all come at once.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start} is not UTF-8.", remedy=_EXPECTED) from None
    times: list[float] = []
    for number, line in enumerate(lines, 1):
        word = re.split(r"[,;\t ]", line.strip(), maxsplit=1)[0]
        if not word or word.startswith("#"):
            continue
        value = _seconds(word)
        if value is None:
            if number == 1:
                continue  # a header
            raise InputError(f"{where}, line {number}: {word[:40]!r} is no time.", remedy=_EXPECTED)
        if times and value < times[-1]:
            raise InputError(f"{where}, line {number}: earlier than the line before.", remedy="Sort the file by time.")
        times.append(value)
    if len(times) < _LEAST or times[-1] == times[0]:
        raise InputError(f"{where} has no two requests at different times.", remedy=_EXPECTED)
    gaps = np.diff(np.array(times))
    mean = (times[-1] - times[0]) / len(gaps)
    if not _LEAST_GAP_S <= mean <= _MOST_GAP_S:
        raise InputError(f"{where}: a request every {mean:.3g} s is no load.", remedy=_EXPECTED)
    seconds = np.bincount((np.array(times) - times[0]).astype(np.int64)) if times[-1] - times[0] < 1e7 else np.ones(1)
    record = TraceRecord(
        where, hashlib.sha256(content).hexdigest(), len(times), 1 / mean, max(1.0, float(seconds.max()) * mean)
    )
    return Trace(np.concatenate([[mean], gaps]), record)


def _seconds(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        try:
            moment = datetime.fromisoformat(word.replace("Z", "+00:00"))
        except ValueError:
            return None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return value if abs(value) <= _LATEST_S else None
