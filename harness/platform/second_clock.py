"""A second clock that watches the one that times: the kernel's uptime, which is read from a file.

A clock that a preloaded library, a debugger or a checkpoint has changed makes every time wrong by the same factor,
which no statistic of the samples can show. The uptime has a resolution of 10 ms, which is enough over a whole process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from harness.measure.clock import SystemClock
from harness.platform import parse
from harness.platform.sysroot import SysRoot

_RELATIVE, _ABSOLUTE_S = 0.05, 0.05  # more than the resolution at both ends
_ATTEMPTS, _NEAR_S = 5, 0.005


@dataclass(frozen=True)
class Elapsed:
    """What passed by either clock, in seconds."""

    timing_s: float
    kernel_s: float

    @property
    def disagreement(self) -> str | None:
        """How they disagree, in words; None where they do not."""
        if abs(self.timing_s - self.kernel_s) <= _ABSOLUTE_S + _RELATIVE * self.kernel_s:
            return None
        return f"the clock that times says that {self.timing_s:.2f} s passed, the kernel's uptime {self.kernel_s:.2f} s"


@dataclass(frozen=True)
class _Reading:
    timing_s: float
    kernel_s: float | None  # None where it is hidden, as in some containers


def _reading(root: SysRoot) -> _Reading:
    """Both clocks, as nearly at once as a few attempts give: the process may lose its CPU in between."""
    gap_s, best = math.inf, _Reading(0.0, None)
    for _ in range(_ATTEMPTS):
        before = SystemClock.now_ns() * 1e-9
        words = (root.read_text("proc/uptime") or "").split()
        after = SystemClock.now_ns() * 1e-9
        if after - before < gap_s:
            gap_s, best = after - before, _Reading(before, parse.number(words[0]) if words else None)
        if gap_s < _NEAR_S:
            break
    return best


@dataclass(frozen=True)
class ClockWatch:
    """Both clocks as they are now."""

    root: SysRoot = field(default_factory=SysRoot)
    _began: _Reading = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_began", _reading(self.root))

    def elapsed(self) -> Elapsed | None:
        """What has passed since; None where the kernel does not tell."""
        began, ended = self._began, _reading(self.root)
        if began.kernel_s is None or ended.kernel_s is None:
            return None
        return Elapsed(ended.timing_s - began.timing_s, ended.kernel_s - began.kernel_s)

    def disagreement(self) -> str | None:
        """How the clocks have disagreed since, in words; None where they have not, or the kernel does not tell."""
        elapsed = self.elapsed()
        return None if elapsed is None else elapsed.disagreement
