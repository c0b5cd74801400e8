"""The clock every timing goes through: a real one, and one that only moves when a test advances it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

_COST_READS = 10_000
_SPIN_NS = 2_000_000


class Clock(Protocol):
    """A monotonic clock. ``now_ns`` has an arbitrary origin; only differences mean anything."""

    def now_ns(self) -> int:
        """Time now, in nanoseconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return no earlier than ``seconds`` from now."""
        ...

    def wait_until(self, when_ns: int) -> None:
        """Return no earlier than ``when_ns``, and as soon after it as the machine allows."""
        ...


class SystemClock:
    """``time.perf_counter_ns``, bound directly so that a reading costs one call and no more."""

    now_ns = staticmethod(time.perf_counter_ns)
    sleep = staticmethod(time.sleep)

    def wait_until(self, when_ns: int) -> None:
        """Sleep up to the last stretch, then read the clock: a wake-up may come a timer tick late."""
        ahead = when_ns - time.perf_counter_ns()
        if ahead > _SPIN_NS:
            time.sleep((ahead - _SPIN_NS) * 1e-9)
        while time.perf_counter_ns() < when_ns:
            pass


class FakeClock:
    """A clock that stands still except for ``sleep``, ``advance``, and the cost given to each reading.

    Schedules, calibration and statistics are exact on it, so they can be tested, and a run planned, without waiting.

    Args:
        read_cost_ns: how far each ``now_ns`` moves the clock after reading it.
    """

    def __init__(self, *, read_cost_ns: int = 0) -> None:
        self._now = 0
        self._read_cost = read_cost_ns

    def now_ns(self) -> int:
        """Time now, in nanoseconds; then the cost of reading passes."""
        now = self._now
        self._now += self._read_cost
        return now

    def sleep(self, seconds: float) -> None:
        """Let exactly ``seconds`` pass (rounded to nanoseconds)."""
        self.advance(round(seconds * 1e9))

    def wait_until(self, when_ns: int) -> None:
        """Move to ``when_ns``, unless that has passed."""
        self._now = max(self._now, when_ns)

    def advance(self, nanoseconds: int) -> None:
        """Let ``nanoseconds`` pass; negative spans are refused because the clock is monotonic."""
        if nanoseconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-nanoseconds} ns")
        self._now += nanoseconds

    def work(self, durations_ns: Iterable[int]) -> Callable[[], None]:
        """A callable that takes the next of ``durations_ns`` on this clock each time it is called."""
        script = iter(durations_ns)
        return lambda: self.advance(next(script))


def clock_cost_ns(clock: Clock) -> float:
    """Cost of one clock reading in nanoseconds: the median of 10^4 back-to-back differences."""
    now = clock.now_ns
    readings = np.fromiter((now() for _ in range(_COST_READS + 1)), dtype=np.int64, count=_COST_READS + 1)
    return float(np.median(np.diff(readings)))
