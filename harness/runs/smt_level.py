"""A run at an SMT level of its own, and the machine afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import InputError
from harness.placement.smt import SmtMethod, Write, may_switch, not_permitted, smt_session, write_switch
from harness.placement.smt_guard import guarded, restore_after_kill
from harness.platform import limits
from harness.platform.probe import read_topology
from harness.platform.sysroot import SysRoot


@contextmanager
def at_level(threads: int | None, sysroot: SysRoot | None = None, write: Write = write_switch) -> Iterator[None]:
    """Inside, every core has so many threads online; whatever ends it, the state before is back. None changes nothing.

    Raises:
        InputError: the cores do not have that many threads, or SMT may not be switched and is at another level.
        LparbenchError: the kernel refused.
    """
    root = sysroot or SysRoot()
    if threads is None:
        yield
        return
    restore_after_kill(root)
    smt = read_topology(root).smt
    if smt.online == threads and not smt.mixed:
        yield
        return
    if not may_switch(root):
        raise InputError(
            f"--smt {threads}: the cores have {'mixed levels' if smt.mixed else f'SMT {smt.online}'}, and switching is "
            f"not permitted {not_permitted(root, limits.collect(root))}.",
            remedy="Run it as root, or leave threads idle by --threads-per-core.",
        )
    with guarded(root), smt_session(root, write) as session:
        assert session.method is SmtMethod.SWITCHED
        session.switch(threads)
        yield
