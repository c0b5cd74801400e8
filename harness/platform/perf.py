"""Counters of the processor and the kernel over a piece of work, by ``perf_event_open(2)``; of user code only.

The generic events are mapped by the kernel to those of the processor, on x86 and on POWER8 to POWER11 alike.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.platform.sysroot import SysRoot

_CALL = {"x86_64": 298, "ppc64le": 319, "ppc64": 319, "aarch64": 241}  # number of the system call
_HARDWARE, _SOFTWARE, _CACHE = 0, 1, 3  # types of events, linux/perf_event.h
_NODE, _MISS = 6, 1 << 16  # of the cache events: accesses to the memory of a node, and those that another node answers
EVENTS: Mapping[str, tuple[int, int]] = {
    "instructions": (_HARDWARE, 1),
    "cycles": (_HARDWARE, 0),
    "cache_misses": (_HARDWARE, 3),
    "node_loads": (_CACHE, _NODE),
    "node_load_misses": (_CACHE, _NODE | _MISS),
    "page_faults": (_SOFTWARE, 2),
    "migrations": (_SOFTWARE, 4),
}
_ATTRIBUTE = struct.Struct("=IIQQQQQIIQ")  # struct perf_event_attr, PERF_ATTR_SIZE_VER0
_TIMES = 1 | 2  # read_format: time enabled and time running, for events that took turns on the counters
_INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_READING = struct.Struct("=QQQ")
_CLOSE_ON_EXEC = 8
_PARANOID = "proc/sys/kernel/perf_event_paranoid"
Open = Callable[[int, int], int]
"""From type and config of an event to a descriptor that counts it.

Raises:
    OSError: the kernel refuses.
"""


@dataclass(frozen=True)
class Counts:
    """What was counted by name, and why what is not there is not."""

    values: Mapping[str, float]
    missing: Mapping[str, str]


def open_event(kind: int, config: int) -> int:
    """A descriptor that counts an event of the calling thread and of all threads that it starts from now on.

    Raises:
        OSError: the kernel refuses, or this architecture's system call is not known here.
    """
    number = _CALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    flags = _INHERIT | _NO_HYPERVISOR | (_NO_KERNEL if kind != _SOFTWARE else 0)
    attribute = _ATTRIBUTE.pack(kind, _ATTRIBUTE.size, config, 0, 0, _TIMES, flags, 0, 0, 0)
    call = ctypes.CDLL(None, use_errno=True).syscall
    descriptor = call(ctypes.c_long(number), attribute, 0, -1, -1, ctypes.c_ulong(_CLOSE_ON_EXEC))
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


class Counters:
    """Counts from its making on; to be made before the threads start that are to be counted."""

    def __init__(self, events: Mapping[str, tuple[int, int]] = EVENTS, open_: Open = open_event) -> None:
        self._open: dict[str, int] = {}
        self._missing: dict[str, str] = {}
        for name, (kind, config) in events.items():
            try:
                self._open[name] = open_(kind, config)
            except OSError as error:
                self._missing[name] = _reason(error)

    def read(self) -> Mapping[str, tuple[int, int, int]]:
        """Count, nanoseconds enabled and nanoseconds on a counter, by event."""
        return {name: _READING.unpack(os.read(file, _READING.size)) for name, file in self._open.items()}

    def since(self, before: Mapping[str, tuple[int, int, int]]) -> Counts:
        """What was counted since a reading; an event that had its counter for a part of the time is extrapolated."""
        values: dict[str, float] = {}
        missing = dict(self._missing)
        for name, reading in self.read().items():
            count, enabled, running = (now - then for now, then in zip(reading, before[name], strict=True))
            if running > 0:
                values[name] = count * (enabled / running)
            else:
                missing[name] = "no counter was free: the processor has fewer counters than events"
        return Counts(values, missing)

    def close(self) -> None:
        """Give the counters back."""
        for file in self._open.values():
            os.close(file)
        self._open = {}


def not_permitted(sysroot: SysRoot, container: str | None, open_: Open = open_event) -> str | None:
    """What keeps this process from counting instructions, and what would permit it; None where it may."""
    try:
        os.close(open_(*EVENTS["instructions"]))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return _permission(sysroot.read_int(_PARANOID), container)
        return f"{_reason(error)[:1].upper()}{_reason(error)[1:]}."
    return None


def _permission(paranoid: int | None, container: str | None) -> str:
    inside = container not in (None, "none")
    if paranoid is not None and paranoid > 2:
        where = " on the host" if inside else ""
        return (
            f"The kernel permits them to root only: kernel.perf_event_paranoid is {paranoid}, and 2 or less is needed. "
            f"As root{where}: sysctl kernel.perf_event_paranoid=2; or give the process the capability CAP_PERFMON."
        )
    if inside:
        return (
            f"The container ({container}) does not permit them: its seccomp profile refuses perf_event_open. Start it "
            "with the capability PERFMON (podman run --cap-add PERFMON), or with a profile that has the call."
        )
    return "The kernel refuses them: the process needs the capability CAP_PERFMON, or a security module allows none."


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return "this processor, or the virtual machine's, does not count it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "the kernel does not permit it to this process"
    return f"the kernel cannot count it: {error.strerror}"
