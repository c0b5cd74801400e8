"""Readings for the measuring loop: cheap enough to be taken with every sample."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Collection
from typing import NamedTuple

from harness.measure.clock import SystemClock
from harness.platform import parse
from harness.platform.sysroot import SysRoot


class CounterReading(NamedTuple):
    """What the kernel has counted so far for the calling thread, and the CPU it is on."""

    involuntary_switches: int
    cpu: int  # -1 when the C library does not tell
    major_faults: int


class ThreadCounters:
    """Reader for the calling thread, about 1 µs per reading."""

    def __init__(self) -> None:
        self._usage = resource.getrusage
        self._who = resource.RUSAGE_THREAD
        self._cpu = _sched_getcpu()

    def read(self) -> CounterReading:
        """The counters now."""
        usage = self._usage(self._who)
        return CounterReading(usage.ru_nivcsw, self._cpu(), usage.ru_majflt)


def page_faults() -> int:
    """Minor page faults of this process so far, of all its threads."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _sched_getcpu() -> Callable[[], int]:
    try:
        function = ctypes.CDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return lambda: -1
    function.argtypes, function.restype = [], ctypes.c_int
    return function


def steal_ns(sysroot: SysRoot, cpus: Collection[int]) -> int | None:
    """Time that the hypervisor took from ``cpus`` since boot, in nanoseconds.

    The kernel counts in ticks of 10 ms. ``None`` when it does not count, or a CPU is not online.
    """
    wanted = {f"cpu{cpu}" for cpu in cpus}
    ticks = 0
    for line in (sysroot.read_text("proc/stat") or "").splitlines():
        name, _, rest = line.partition(" ")
        if name in wanted:
            words = rest.split()
            stolen = parse.integer(words[7]) if len(words) > 7 else None
            if stolen is None:
                return None
            wanted.discard(name)
            ticks += stolen
        elif name == "intr":
            break  # the CPU lines are over, and this line alone can be longer than all of them
    return None if wanted else ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


class StealMeter:
    """Share of the wall time that the hypervisor took from CPUs since the meter was made."""

    def __init__(self, sysroot: SysRoot, cpus: Collection[int]) -> None:
        self._sysroot, self._cpus = sysroot, tuple(cpus)
        self._stolen_ns, self._began_ns = self.stolen_ns(), SystemClock.now_ns()

    def stolen_ns(self) -> int | None:
        """:func:`steal_ns` of the CPUs."""
        return steal_ns(self._sysroot, self._cpus)

    def share(self) -> float | None:
        """In [0, 1], a mean over the CPUs; None when the kernel does not count."""
        seconds, now_ns = self.seconds(), SystemClock.now_ns()
        if seconds is None:
            return None
        return seconds * 1e9 / max(1, now_ns - self._began_ns) / max(1, len(self._cpus))

    def seconds(self) -> float | None:
        """The time itself, of all CPUs together; None when the kernel does not count."""
        stolen_ns = self.stolen_ns()
        return None if stolen_ns is None or self._stolen_ns is None else (stolen_ns - self._stolen_ns) * 1e-9
