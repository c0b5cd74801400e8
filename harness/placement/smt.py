"""Switching SMT, with the exact state before it put back afterwards.

The kernel's own switch is ``smt/control`` (``on``, ``off``, and on Power since Linux 6.6 the number of threads); every
thread has a switch of its own in ``cpuN/online``. A level is set through the first where there is one, and through the
second for what that left undone, so that mixed states and old kernels come out right. Wholly offline cores stay so.

Under control groups of version 1 a CPU that goes offline leaves every cpuset but the root's and does not come back by
itself, so cpusets are part of the state. The state found is written to ``run/lparbench/smt.json`` before anything
changes, and removed once it is back. A process that is killed leaves the file behind, and :func:`restore`
works from it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import FrameType

from harness.errors import InputError, LparbenchError
from harness.placement.smt_state import (
    CONTROL,
    CPUS,
    CPUSETS,
    SavedState,
    SmtState,
    forget,
    load,
    read_state,
    save,
    whole_state,
)
from harness.platform import limits
from harness.platform.facts import LimitFacts, Topology
from harness.platform.parse import format_cpulist
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot

_LOCK = "run/lparbench/smt.lock"
_NO_CONTROL = (None, "notsupported", "notimplemented", "forceoff")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RESTORE = "Run: lparbench smt restore"

Write = Callable[[Path, str], None]


class SmtMethod(str, Enum):
    """How an SMT level is obtained."""

    SWITCHED = "switched"
    AFFINITY = "affinity"  # the other threads stay online and idle; what the core sets aside for them is not freed


def write_switch(path: Path, text: str) -> None:
    """Write one file of sysfs.

    Raises:
        OSError: the kernel refused.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def may_switch(sysroot: SysRoot) -> bool:
    """Whether this process may change any switch; reading is all that is done to find out."""
    switches = [sysroot.path / CPUS / f"cpu{cpu}/online" for cpu in read_state(sysroot).online]
    writable = any(os.access(path, os.W_OK) for path in (sysroot.path / CONTROL, *switches))
    return writable and not limits.sysfs_read_only(sysroot)


def not_permitted(sysroot: SysRoot, here: LimitFacts) -> str:
    """To whom SMT is not permitted, where it is not: to a user, or to anybody in a container."""
    if here.container not in (None, "none"):
        return f"in a container ({here.container}): it is a setting of the host"
    return "to anybody: /sys is mounted read-only" if limits.sysfs_read_only(sysroot) else "to this user"


def _who_may(sysroot: SysRoot, here: LimitFacts, threads: int) -> str:
    match here.container:
        case None | "none":
            return "As root: mount -o remount,rw /sys." if limits.sysfs_read_only(sysroot) else "Run it as root."
        case "kubernetes":
            return (
                f"OpenShift, as cluster administrator: oc debug node/NODE -- chroot /host ppc64_cpu --smt={threads}; "
                f"to stay, a MachineConfig with the kernel argument smt-enabled={threads}."
            )
        case _:
            return f"As root on the host: ppc64_cpu --smt={threads}."


class SmtSession:
    """Changes of the SMT level, all undone when :func:`smt_session` ends."""

    def __init__(self, sysroot: SysRoot, method: SmtMethod, write: Write, saved: SavedState) -> None:
        self.method = method
        self.saved = saved  # what to go back to, and what the last switch left
        self._sysroot = sysroot
        self._write = write

    def switch(self, threads: int) -> SmtMethod:
        """Bring every core that is in use to ``threads`` threads online.

        Returns:
            ``SWITCHED``, or ``AFFINITY`` when nothing may be changed and the caller has to leave threads idle.

        Raises:
            InputError: the cores do not have that many threads.
            LparbenchError: the kernel refused, or somebody else has switched since the last time.
        """
        topology = read_topology(self._sysroot)
        _check_level(topology, threads)
        if self.method is SmtMethod.SWITCHED:
            _refuse_changed(self.saved, read_state(self._sysroot))
            self.saved = _switched(self._sysroot, topology, threads, self._write, self.saved)
        return self.method


@contextmanager
def smt_session(sysroot: SysRoot, write: Write = write_switch) -> Iterator[SmtSession]:
    """Switch SMT inside, and find the exact state before it afterwards: on success, error, SIGINT, SIGTERM and SIGHUP.

    Raises:
        InputError: another process is switching, or one that was killed left a state to restore.
        LparbenchError: the state before could not be put back; the state file is kept.
    """
    if not may_switch(sysroot):
        yield SmtSession(sysroot, SmtMethod.AFFINITY, write, SavedState(read_state(sysroot), persistent=False))
        return
    with _locked(sysroot), _first_signal_raises() as hold_signals:
        kept = _kept(sysroot)
        before = whole_state(sysroot)
        session = SmtSession(sysroot, SmtMethod.SWITCHED, write, SavedState(before, persistent=False, outer=kept))
        try:
            try:
                save(sysroot, session.saved)
                yield session
            finally:
                hold_signals()
        finally:  # reached even when a signal arrived in the block above
            hold_signals()
            _go_back(sysroot, session.saved, write)


def set_level(sysroot: SysRoot, threads: int, write: Write = write_switch) -> None:
    """Switch SMT and leave it so; the state before the first of several calls is what :func:`restore` goes back to.

    An error or a signal half way puts back what was there.

    Raises:
        InputError: the cores do not have that many threads, or a killed run's state is still to be restored.
        LparbenchError: not permitted, or the kernel refused.
    """
    topology = read_topology(sysroot)
    _check_level(topology, threads)
    if not may_switch(sysroot):
        here = limits.collect(sysroot)
        raise LparbenchError(
            f"Switching SMT is not permitted {not_permitted(sysroot, here)}.",
            remedy=f"{_who_may(sysroot, here, threads)} Or without switching: "
            f"lparbench run --threads-per-core {threads} (SMT by affinity).",
        )
    with _locked(sysroot), _first_signal_raises() as hold_signals:
        kept = _kept(sysroot)
        before = whole_state(sysroot)
        if kept is not None:
            _refuse_changed(kept, before)
        try:
            _switched(sysroot, topology, threads, write, kept or SavedState(before, persistent=True))
        except BaseException:
            hold_signals()
            _put_back(sysroot, before, write)
            forget(sysroot, kept)
            raise


def restore(sysroot: SysRoot, write: Write = write_switch, *, force: bool = False) -> bool:
    """Put back the saved state and remove it.

    Args:
        sysroot: the machine.
        write: writes a switch.
        force: put it back although somebody else has changed SMT since.

    Returns:
        False when there was nothing to restore, or it was of an earlier boot, which the kernel has forgotten.

    Raises:
        InputError: another process is switching, or the state file is damaged.
        LparbenchError: the kernel refused, or somebody else has changed SMT since; nothing was touched then.
    """
    with _locked(sysroot), _first_signal_raises() as hold_signals:
        kept = load(sysroot)
        if kept is None:
            return False
        hold_signals()
        same_boot = kept.state.boot_id == read_state(sysroot).boot_id
        if same_boot:
            _go_back(sysroot, replace(kept, left=None) if force else kept, write)
        else:
            forget(sysroot)
        return same_boot


def leave(sysroot: SysRoot) -> bool:
    """Leave SMT as it is and remove the saved state.

    Returns:
        False when there was none.

    Raises:
        InputError: another process is switching, or the state file is damaged.
    """
    with _locked(sysroot):
        kept = load(sysroot)
        forget(sysroot)
        return kept is not None


def _kept(sysroot: SysRoot) -> SavedState | None:
    """A state that was saved in this boot because a level was set to stay."""
    kept = load(sysroot)
    if kept is None or kept.state.boot_id != read_state(sysroot).boot_id:
        return None
    if not kept.persistent:
        raise InputError("A run that switched SMT was killed, and its state was not put back.", remedy=_RESTORE)
    return kept


def _go_back(sysroot: SysRoot, saved: SavedState, write: Write) -> None:
    _refuse_changed(saved, read_state(sysroot))
    _put_back(sysroot, saved.state, write)
    forget(sysroot, saved.outer)


def _refuse_changed(saved: SavedState, now: SmtState) -> None:
    """What somebody else has switched is theirs."""
    changed = saved.changed_by_others(now)
    if changed is not None:
        raise LparbenchError(
            f"SMT was changed by another program after lparbench switched it, and was not restored: {changed}.",
            remedy="To restore the earlier state anyway: lparbench smt restore --force. To keep the present one: "
            "lparbench smt restore --leave.",
        )


def _switched(sysroot: SysRoot, topology: Topology, threads: int, write: Write, saved: SavedState) -> SavedState:
    """Switch; at every moment the state file says what to go back to, and when it is done what was left."""
    save(sysroot, replace(saved, left=None))
    _switch(sysroot, topology, threads, write)
    saved = replace(saved, left=read_state(sysroot))
    save(sysroot, saved)
    return saved


def _check_level(topology: Topology, threads: int) -> None:
    most = _threads_per_core(topology)
    if most is None or not topology.cores:
        raise LparbenchError("The threads of a core are not known here, so SMT cannot be switched.")
    if not 1 <= threads <= most:
        has = "1 thread" if most == 1 else f"{most} threads"
        remedy = "There is nothing to switch." if most == 1 else f"Expected 1 to {most}."
        raise InputError(f"SMT {threads}: the cores have {has}.", remedy=remedy)


def _threads_per_core(topology: Topology) -> int | None:
    """Threads a core has. With SMT off x86 does not tell whose siblings are offline; there they come in pairs."""
    switchable = topology.smt.control not in _NO_CONTROL
    return topology.smt.max or (2 if switchable else None)


def _switch(sysroot: SysRoot, topology: Topology, threads: int, write: Write) -> None:
    state = read_state(sysroot)
    if state.control not in _NO_CONTROL:
        level = {1: "off", _threads_per_core(topology): "on"}.get(threads, str(threads))
        if not _written(sysroot, CONTROL, level, write, tolerated=level.isdigit()):
            _written(
                sysroot, CONTROL, "on", write
            )  # a kernel without partial states; the rest is done thread by thread
        topology = read_topology(sysroot)  # on x86, siblings that were offline are only known now
    wanted = {cpu: position < threads for core in topology.cores for position, cpu in enumerate(core.cpus_present)}
    _reconcile(sysroot, wanted, write)


def _put_back(sysroot: SysRoot, before: SmtState, write: Write) -> None:
    now = read_state(sysroot)
    if before.control not in _NO_CONTROL and now.control != before.control:
        _written(sysroot, CONTROL, str(before.control), write)
    _reconcile(sysroot, before.online, write)
    _put_back_cpusets(sysroot, before.cpusets, write)
    now = read_state(sysroot)
    if now.control != before.control:
        raise LparbenchError(f"smt/control is {now.control}, was {before.control}.", remedy=_RESTORE)


def _put_back_cpusets(sysroot: SysRoot, cpusets: Mapping[str, str], write: Write) -> None:
    """Give control groups of version 1 their CPUs again, parents first: without this they never come back."""
    refused = []
    for group, cpus in cpusets.items():
        name = f"{CPUSETS}/{group}/cpuset.cpus"
        if sysroot.read_text(name) in (None, cpus):  # gone by now, or untouched
            continue
        try:
            write(sysroot.path / name, cpus)
        except OSError as error:
            refused.append(f"/{name} {cpus} ({error.strerror})")
    if refused:
        raise LparbenchError(f"Control groups did not get their CPUs back: {'; '.join(refused)}.", remedy=_RESTORE)


def _reconcile(sysroot: SysRoot, wanted: Mapping[int, bool], write: Write) -> None:
    """Set the switches that differ, threads to be added first, and look whether they took."""
    now = read_state(sysroot).online
    differing = sorted((not on, cpu) for cpu, on in wanted.items() if cpu in now and now[cpu] != on)
    for off, cpu in differing:
        _written(sysroot, f"{CPUS}/cpu{cpu}/online", "0" if off else "1", write)
    now = read_state(sysroot).online
    wrong = tuple(cpu for cpu, on in wanted.items() if cpu in now and now[cpu] != on)
    if wrong:
        raise LparbenchError(f"CPUs {format_cpulist(wrong)} did not follow their switch.", remedy=_RESTORE)


def _written(sysroot: SysRoot, name: str, text: str, write: Write, *, tolerated: bool = False) -> bool:
    try:
        write(sysroot.path / name, text)
    except OSError as error:
        if tolerated:
            return False
        raise LparbenchError(f"The kernel refused {text!r} for /{name}: {error.strerror}.", remedy=_RESTORE) from error
    return True


@contextmanager
def _locked(sysroot: SysRoot) -> Iterator[None]:
    path = sysroot.path / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        raise LparbenchError(f"{path}: {error.strerror}; the state before cannot be kept safe.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError("Another lparbench is switching SMT.", remedy="Wait until it is done.") from error
        yield


@contextmanager
def _first_signal_raises() -> Iterator[Callable[[], None]]:
    """Let the first of SIGINT, SIGTERM and SIGHUP raise, and the others pass, until the state is back.

    Yields:
        A function that makes all of them pass from now on.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield lambda: None
        return
    passing = False

    def hold() -> None:
        nonlocal passing
        passing = True

    def handler(number: int, frame: FrameType | None) -> None:
        if passing:
            return
        hold()
        earlier = previous[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)  # Python's own for SIGINT, or one that the command line set: it raises
        raise SystemExit(128 + number)

    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = [number for number in _SIGNALS if previous[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield hold
    finally:
        for number in heeded:
            signal.signal(number, previous[number])
