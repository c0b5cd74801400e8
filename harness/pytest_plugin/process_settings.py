"""What a test can set for its whole process and the gate would meet too: limits, signals, timers, the mask of modes."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import eq
from typing import Any

_Limit = tuple[int, int]  # soft, hard
_Time = tuple[float, float]  # until a timer goes off, and between two times


@dataclass(frozen=True)
class Setting:
    """One that can be read and written; ``same``: whether two values are, where time changes one by itself."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    same: Callable[[Any, Any], bool] = eq

    def put(self, value: object, instead_of: object) -> bool:
        """Put a value where another is; whether it was there."""
        with contextlib.suppress(OSError, ValueError, RecursionError):  # not in this thread, or not so deep in calls
            if self.same(self.read(), instead_of):
                self.write(value)
                return True
        return False


def settings() -> Iterator[Setting]:
    """All there are, in the order in which they are to be set aside: no timer goes off without its handler."""
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"):
        which = getattr(signal, name)
        yield Setting(f"signal.{name}", partial(signal.getitimer, which), partial(_arm, which), _both_armed)
    yield Setting("signal.pthread_sigmask", partial(signal.pthread_sigmask, signal.SIG_BLOCK, ()), _block)
    for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}):
        name = f"signal.{getattr(number, 'name', number)}"
        yield Setting(name, partial(signal.getsignal, number), partial(_handle, number))
    for name in sorted(name for name in vars(resource) if name.startswith("RLIMIT_")):
        which = getattr(resource, name)
        yield Setting(f"resource.{name}", partial(resource.getrlimit, which), partial(_limit, which), _soft_alike)
    yield Setting("os.umask", _umask, os.umask)
    yield Setting("sys.setrecursionlimit", sys.getrecursionlimit, sys.setrecursionlimit)


def _arm(which: signal.ITIMER_REAL, time: _Time) -> None:  # type: ignore[valid-type]
    signal.setitimer(which, *time)


def _both_armed(first: _Time, second: _Time) -> bool:
    return (first[0] > 0) == (second[0] > 0)


def _block(mask: set[signal.Signals]) -> None:
    """Block these, and leave what is pending to whoever blocked it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask | signal.sigpending())


def _handle(number: int, handler: Any) -> None:
    if handler is not None:  # it was not set by Python, and cannot be
        signal.signal(number, handler)


def _limit(which: int, limit: _Limit) -> None:
    """The soft limit, as far as the present hard one lets it: that cannot be raised again."""
    hard = resource.getrlimit(which)[1]
    soft = limit[0] if hard == resource.RLIM_INFINITY else hard if limit[0] == resource.RLIM_INFINITY else limit[0]
    resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _soft_alike(first: _Limit, second: _Limit) -> bool:
    return first[0] == second[0]


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
