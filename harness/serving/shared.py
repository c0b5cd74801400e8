"""What the processes of a server know of each other: a file each, in the directory that they share.

A process writes its counts there a few times a second, and one that takes the place of a dead one goes on from its
counts; so any of them can say what the whole server has done, and no count is lost with a process.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from zlib import crc32

from harness import decode
from harness.serving.drift import DriftState, together
from harness.serving.metrics import Counts, Metrics
from harness.serving.quota import Quota

PUBLISHED_S = 0.2
FRONT, SCORER, READY, TABLE = "front", "scorer", "ready", "quota"
_SLOTS = 1 << 20  # of clients


@dataclass(frozen=True)
class Published:
    """What a process says of itself."""

    counts: Counts
    drift: DriftState | None = None  # of a scorer


def name_of(role: str, number: int) -> str:
    """Of a process, in the directory."""
    return f"{role}-{number}"


class Shared:
    """One process's view of the directory.

    Args:
        directory: that all share.
        own: name of this process.
    """

    def __init__(self, directory: Path, own: str) -> None:
        self._directory, self._own = directory, own
        self._written: Published | None = None

    def go_on(self, metrics: Metrics, kept: int = 0) -> DriftState | None:
        """Count on from what the process counted whose place this one takes; but those ``kept`` its cards are lost.

        What that process said of drift is for the caller.
        """
        before = self._read(self._own)
        if before is None:
            return None
        metrics.add(replace(before.counts, connections=0, in_flight=0, cards=0))
        if before.counts.cards > kept and metrics.streams is not None:
            metrics.streams.evicted["lost"] += before.counts.cards - kept
        return before.drift

    def publish(self, metrics: Metrics, drift: DriftState | None = None) -> None:
        """Write what is new."""
        published = Published(metrics.counts(), drift)
        if published != self._written:
            aside = self._directory / f".{self._own}"
            aside.write_text(json.dumps(decode.encode(published)), encoding="utf-8")
            aside.replace(self._directory / f"{self._own}.json")
            self._written = published

    def total(self, own: Metrics) -> Metrics:
        """What all have counted, this process ``own``."""
        metrics = Metrics(score_bounds=() if own.scores is None else own.scores.bounds)
        metrics.add(own.counts())
        for role in (FRONT, SCORER):
            for path in self._directory.glob(f"{role}-*.json"):
                if path.stem != self._own and (published := self._read(path.stem)) is not None:
                    metrics.add(published.counts)
        return metrics

    def drift(self, scorers: int) -> DriftState:
        """As the scorers see it."""
        known = [self._read(name_of(SCORER, number)) for number in range(scorers)]
        states = [each.drift for each in known if each is not None and each.drift is not None]
        return together(states) if states else DriftState(0, 0, 0, (), {})

    def _read(self, name: str) -> Published | None:
        path = self._directory / f"{name}.json"
        return decode.decode_json_file(Published, path) if path.is_file() else None


class SharedQuota(Quota):
    """A quota that holds for all fronts together: when a client's bucket is full again stands in memory they share.

    Two fronts that ask in the same microsecond may both see the older time; then a client gets a request more. Clients
    whose names fall on the same of a million places share a bucket.
    """

    def __init__(self, per_s: float, path: Path, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(per_s, clock)
        with path.open("r+b") as file:
            os.truncate(file.fileno(), 8 * _SLOTS)
            self._map = mmap.mmap(file.fileno(), 8 * _SLOTS)
        self._table = memoryview(self._map).cast("d")

    def full_at(self, client: str) -> float:
        """Of `Quota`."""
        return self._table[crc32(client.encode()) % _SLOTS]

    def keep(self, client: str, full: float, now: float) -> None:  # noqa: ARG002 - nothing is dropped here
        """Of `Quota`."""
        self._table[crc32(client.encode()) % _SLOTS] = full


def socket_of(directory: Path, scorer: int) -> Path:
    """Where a scorer listens."""
    return directory / f"{name_of(SCORER, scorer)}.socket"


def made_anew(path: Path) -> Path:
    """A path that nothing is at."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return path
