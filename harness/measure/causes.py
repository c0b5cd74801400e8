"""What can disturb a sample, and which samples each disturbance overlapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from harness.measure.clock import Clock

NEVER_NS = 2**63 - 1

# Steal is counted by the kernel in ticks and reading it means generating all of /proc/stat, so it is read
# per chunk: long enough for the reading to stay below 0.1 % of the time, short enough to blame few samples.
_CHUNK_NS = 50_000_000
_CHUNK_READ_SHARE = 1000
_FREQUENCY_TOLERANCE = 0.02


class Cause(IntFlag):
    """What disturbed a sample. A sample with no bit set is clean."""

    PREEMPTED = 1  # an involuntary context switch
    MIGRATED = 2  # another CPU at the end than at the beginning
    FAULTED = 4  # a major page fault
    STOLEN = 8  # the hypervisor gave the CPU to someone else during the sample's chunk
    FREQUENCY = 16  # the clock frequency moved by more than 2 % during the sample's chunk


@dataclass(frozen=True)
class Watch:
    """What is read at chunk boundaries. Each reader returns None, or is None, when the machine does not tell.

    Attributes:
        steal_ns: time stolen so far from the CPUs the process may run on, in nanoseconds.
        frequency_hz: present clock frequency of the pinned CPUs.
        page_faults: minor page faults of the process so far, of all its threads; read at the ends alone.
    """

    steal_ns: Callable[[], int | None] | None = None
    frequency_hz: Callable[[], float | None] | None = None
    page_faults: Callable[[], int | None] | None = None


class Chunks:
    """Blames what is read at chunk boundaries on the samples in between."""

    def __init__(self, clock: Clock, watch: Watch, flags: NDArray[np.uint8]) -> None:
        self._clock = clock
        self._flags = flags
        self._steal = watch.steal_ns or _unknown
        self._frequency = watch.frequency_hz or _unknown
        self._read_faults = watch.page_faults or _unknown
        self._faults_before: int | None = None
        self._idle = watch.steal_ns is None and watch.frequency_hz is None
        self._begin = 0
        self._stolen_total: int | None = None

    def open(self, first: int) -> int:
        """Start the first chunk at sample ``first``; returns when the next boundary is due."""
        self._begin = first
        self._faults_before = self._read_faults()
        if self._idle:
            return NEVER_NS
        began = self._clock.now_ns()
        self._last_steal = self._steal()
        self._last_frequency = self._frequency()
        now = self._clock.now_ns()
        self._length = max(_CHUNK_NS, _CHUNK_READ_SHARE * (now - began))
        return now + self._length

    def next(self, end: int) -> int:
        """Close the chunk before sample ``end`` and start another; returns when that one is due."""
        steal, frequency = self._steal(), self._frequency()
        cause = Cause(0)
        if steal is not None and self._last_steal is not None:
            stolen = steal - self._last_steal
            self._stolen_total = (self._stolen_total or 0) + stolen
            if stolen > 0:
                cause |= Cause.STOLEN
        if frequency and self._last_frequency and abs(frequency / self._last_frequency - 1) > _FREQUENCY_TOLERANCE:
            cause |= Cause.FREQUENCY
        if cause:
            self._flags[self._begin : end] |= np.uint8(cause)
        self._begin, self._last_steal, self._last_frequency = end, steal, frequency
        return self._clock.now_ns() + self._length

    def close(self, end: int) -> int | None:
        """Close the last chunk; returns the total time stolen, None when unknown."""
        if not self._idle:
            self.next(end)
        return self._stolen_total

    def page_faults(self) -> int | None:
        """Minor page faults since the first chunk began, None when unknown."""
        now = self._read_faults()
        return None if now is None or self._faults_before is None else now - self._faults_before


def _unknown() -> None:
    return None
