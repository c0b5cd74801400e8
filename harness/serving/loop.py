"""The event loop, and what every front gives to the process that runs it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Protocol

from harness.errors import ExitCode, LparbenchError, cause_of, one_line

BACKLOG = 1024
READ = 64 << 10  # bytes read at once
PIPELINED = 64  # requests of a connection that are taken at once, so that others are served in between
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REQUEST_S = 10.0  # that a request may take from its first byte to its last
IDLE_S = 75.0  # that a connection may stay without a request, and a client without taking an answer
SWEEP_S = 1.0  # between looks at what connections wait for
GRACE_S = 0.5  # before connections without a request are closed by a server that drains
_UNCOLLECTED = 10_000  # objects that may be cycles, before that is looked at: a few MB
DRAIN, AT_ONCE = b"d", b"n"  # what a process of several is told


class Server(Protocol):
    """A front that listens."""

    parser: str
    """Name of what reads HTTP."""

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""

    async def drain(self, seconds: float) -> int:
        """Answer what was begun, refuse what is new, close; how many requests were not answered in time."""


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop


def settle() -> None:
    """Have the collector of cycles leave alone what is there, and look seldom at what comes.

    A request leaves no cycle. What it makes counts while it is in hand, so that under load the collector would look, in
    vain, for a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_UNCOLLECTED, 10, 10)


def makes_bytes(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop reads into bytes of its own at less cost than two calls for a buffer take, as uvloop does."""
    return type(loop).__module__.startswith("uvloop")


def on_signals(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Event, asyncio.Event]:
    """Events of the first signal that asks to end, and of the second."""
    stop, at_once = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, signalled)
    return stop, at_once


def on_commands(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Event, asyncio.Event]:
    """As `on_signals`, from the supervisor on standard input; a signal to all processes is its affair alone."""
    stop, at_once = asyncio.Event(), asyncio.Event()

    def commanded() -> None:
        commands = os.read(0, 64)
        stop.set()
        if AT_ONCE in commands or not commands:
            at_once.set()
            loop.remove_reader(0)

    loop.add_reader(0, commanded)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return stop, at_once


def say(text: str) -> None:
    """A line on standard error; a terminal that has gone does not keep the server from ending in order."""
    with contextlib.suppress(OSError):
        print(f"lparbench: {text}", file=sys.stderr, flush=True)


def ended(main: Callable[[], int]) -> int:
    """The exit code of a program, its errors printed."""
    try:
        return main()
    except LparbenchError as problem:
        say(f"error: {one_line(problem.message)}" + (f"\n  {one_line(problem.remedy)}" if problem.remedy else ""))
        return problem.exit_code
    except KeyboardInterrupt:  # before the loop has its handlers
        say("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort, as of every command: a bug is no result
        say(f"failed: {cause_of(error)}.")
        return ExitCode.TOOL_FAILED
