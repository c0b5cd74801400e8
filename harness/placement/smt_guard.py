"""Puts SMT back when the process that switched it is killed outright and can no longer do so itself.

A small process of its own waits for the end of a pipe whose other end only the watched process holds. When that closes
without a farewell, the watched process is gone, and the state saved in ``run/lparbench/smt.json`` is put back.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from harness.errors import InputError, LparbenchError, one_line
from harness.interpreter import program
from harness.placement.smt import restore
from harness.placement.smt_state import load
from harness.platform.sysroot import SysRoot

_FAREWELL = b"."
_PATIENCE_S = 10.0
_POLL_S = 0.05


@contextmanager
def guarded(sysroot: SysRoot) -> Iterator[None]:
    """Inside, a process stands by that puts back the saved SMT state should this one be killed."""
    guard = subprocess.Popen(
        program("harness.placement.smt_guard", str(sysroot.path.absolute())),
        stdin=subprocess.PIPE,
        start_new_session=True,  # out of reach of the terminal's Ctrl-C
    )
    assert guard.stdin is not None
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # somebody ended the guard; this process puts the state back itself
            guard.stdin.write(_FAREWELL)
            guard.stdin.close()
        guard.wait()


def restore_after_kill(sysroot: SysRoot) -> bool:
    """Put back what a killed run left switched; waits for a guard that is doing so.

    Returns:
        Whether there was something to put back. A level that was set to stay (``lparbench smt set``) is left alone.

    Raises:
        InputError: another process keeps switching.
        LparbenchError: the kernel refused.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        saved = load(sysroot)
        if saved is None or saved.persistent:
            return False
        try:
            return restore(sysroot)
        except InputError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def main() -> None:
    """Entry point, with the tree whose SMT is watched as its argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whatever ends the watched process is not to end this one
    if sys.stdin.buffer.read():
        return
    try:
        restore_after_kill(SysRoot(sys.argv[1]))
    except InputError:
        return  # a living process has taken over: it restores what was before
    except LparbenchError as error:
        print(f"lparbench: error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
