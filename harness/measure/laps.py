"""Samples of work that runs a loop of its own and only calls in between: a training loop, say."""

from __future__ import annotations

import numpy as np

from harness.measure.causes import Chunks, Watch
from harness.measure.clock import Clock
from harness.measure.sampling import CounterReading, Counters, Limits, Samples, cause_between


class Laps:
    """A stop-watch called at the end of every lap of ``inner`` steps; the first call starts it.

    What happens before the first call (set-up, the first steps) is not timed.
    """

    def __init__(self, clock: Clock, counters: Counters, watch: Watch, *, inner: int, limits: Limits) -> None:
        self._clock = clock
        self._counters = counters
        self._inner = inner
        self._limits = limits
        self._durations = np.zeros(limits.samples, dtype=np.int64)
        self._flags = np.zeros(limits.samples, dtype=np.uint8)
        self._chunks = Chunks(clock, watch, self._flags)
        self._taken = 0
        self._started: int | None = None
        self._due = 0
        self._before: CounterReading | None = None
        self._began = 0

    def lap(self, steps: int) -> bool:
        """End a lap of ``steps`` steps; laps of another length than ``inner`` are not counted. True to go on."""
        ended = self._clock.now_ns()
        reading = self._counters.read()
        if self._before is None:
            self._started = ended
            self._due = self._chunks.open(0)
        elif steps == self._inner:
            self._durations[self._taken] = ended - self._began
            self._flags[self._taken] = np.uint8(cause_between(self._before, reading))
            self._taken += 1
            if ended >= self._due:
                self._due = self._chunks.next(self._taken)
        self._before = self._counters.read()
        self._began = self._clock.now_ns()
        return not self._finished(ended)

    def samples(self) -> Samples:
        """The laps taken; empty when ``lap`` was called once or never."""
        stolen = None if self._started is None else self._chunks.close(self._taken)
        return Samples(
            durations_ns=self._durations[: self._taken],
            flags=self._flags[: self._taken],
            inner=self._inner,
            wall_ns=0 if self._started is None else self._clock.now_ns() - self._started,
            stolen_ns=stolen,
            page_faults=None if self._started is None else self._chunks.page_faults(),
        )

    def _finished(self, now: int) -> bool:
        limits = self._limits
        if self._taken >= limits.samples:
            return True
        if limits.budget_s is None or self._started is None:
            return False
        spent = (now - self._started) * 1e-9
        if self._taken < limits.at_least:
            return limits.most_s is not None and spent >= limits.most_s
        return spent >= limits.budget_s
