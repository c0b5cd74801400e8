"""Processes that this one starts and that must not outlive it, however it ends: by HUP, TERM, INT or KILL.

Every process of the tree carries a word in its environment. A small process of its own, the keeper, sleeps until this
one is gone and then kills all that carry the word; what ends in order is ended here.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.interpreter import program

TREE_VARIABLE = "LPARBENCH_TREE"

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GRACE_S = 0.5  # between being asked to end and SIGKILL, for programs of the user: all is to be gone within 2 s
_SETTLED_S = 1.0  # for which a tree is looked through again while its processes start others
_WAKE_S = 5.0  # the kernel says when a parent is gone; this is for where its signal does not come
_POLL_S = 0.01
_START_FIELD = 19  # of /proc/PID/stat behind the name: ticks from the boot to the start

_ENTRY = f"{TREE_VARIABLE}=".encode()


@dataclass(frozen=True)
class _Tree:
    word: str
    keeper: subprocess.Popen[bytes]


_trees: dict[int, _Tree] = {}  # by process id: a fork has a tree of its own


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when ``parent`` dies without a chance to clean up."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was made
        os.kill(os.getpid(), signal.SIGKILL)


def process_age_s() -> float:
    """Seconds since this process was started, imports included; to a tick, while psutil's are off by up to a second."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    ticks = int(after_name[_START_FIELD])
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def in_tree(given: Mapping[str, str]) -> dict[str, str]:
    """``given`` as the environment of a process that ends with this one, as do those that it starts."""
    outer = [word for word in given.get(TREE_VARIABLE, "").split(":") if word]
    word = _word()
    return {**given, TREE_VARIABLE: ":".join([*outer, word] if word not in outer else outer)}


@contextlib.contextmanager
def child(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[str] | None = None,
    ask: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of the user at work; it and what it started are gone afterwards, asked to end before they are killed.

    Args:
        ask: the signal by which it is asked.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(command, cwd=cwd, env=in_tree(os.environ if env is None else env), stdout=stdout)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(ask)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            kill_tree(_word())
            process.wait()


def ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a program and give its status; without the quarter of a second that ``Popen.wait`` adds to Ctrl-C."""
    with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process.wait()


def kill_tree(word: str) -> None:
    """Kill every process that carries the word, but not this one."""
    deadline = time.monotonic() + _SETTLED_S
    while members := _members(word):
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def _word() -> str:
    """The word of this process's tree, with a keeper that watches it."""
    own = os.getpid()
    if own not in _trees:
        word = secrets.token_hex(8)
        free = {key: value for key, value in os.environ.items() if key != TREE_VARIABLE}  # of no tree, so that it acts
        keeper = subprocess.Popen(
            program("harness.process_tree", str(own), word),
            env=free,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C and hang-up
            cwd="/",
        )
        _trees[own] = _Tree(word, keeper)
    return _trees[own].word


@atexit.register
def _end_in_order() -> None:
    tree = _trees.pop(os.getpid(), None)
    if tree is not None:
        kill_tree(tree.word)
        tree.keeper.kill()
        tree.keeper.wait()


def _members(word: str) -> list[int]:
    """Processes that live and carry the word."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes()  # empty of one that ended
        except OSError:  # it is gone, or somebody else's
            continue
        if any(word.encode() in each for each in variables.split(b"\0") if each.startswith(_ENTRY)):
            members.append(int(entry.name))
    return members


def _keep(parent: int, word: str) -> None:
    """Sleep until ``parent`` is gone, then end its tree."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
    while os.getppid() == parent:
        signal.sigtimedwait({signal.SIGUSR1}, _WAKE_S)
    kill_tree(word)


if __name__ == "__main__":
    _keep(int(sys.argv[1]), sys.argv[2])
