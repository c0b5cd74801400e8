"""How a process that is tested is to start: with signals that do not depend on what started the tests."""

from __future__ import annotations

import signal

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heeded() -> None:
    """For ``preexec_fn``: as from a terminal, also where ``nohup`` or a background job has some of them ignored."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def without_hangup() -> None:
    """For ``preexec_fn``: as below ``nohup``."""
    heeded()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
